"""Builds the parts of a gateway from its settings and connects them; no part listens or connects to anything yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypedDict

from twisted.web.resource import Resource

from callcenter_ws import __version__
from callcenter_ws.amp.factory import AmpServerFactory
from callcenter_ws.auth.account_operations import AccountOperations
from callcenter_ws.auth.revocation import UnrevokedTokens
from callcenter_ws.cluster.availability import AgentsThere
from callcenter_ws.config.settings import Settings
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.state_reader import StateReader
from callcenter_ws.events.deflate import Deflater
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.gateway.accounts import SigningIn, signing_in
from callcenter_ws.gateway.audit import AuditLog, audit_log
from callcenter_ws.gateway.authentication import (
    Authentication,
    amp_secret,
    authentication,
    origin_policy,
    token_sources,
)
from callcenter_ws.gateway.core import Core, core_of, instance_name
from callcenter_ws.gateway.descriptors import Descriptors, divide_descriptors
from callcenter_ws.gateway.endpoints import WebSocketEndpoints
from callcenter_ws.gateway.log import TwistedConnectionLog
from callcenter_ws.gateway.network_limits import peer_limits
from callcenter_ws.http.calls import CallsResource
from callcenter_ws.http.commands import CommandsResource
from callcenter_ws.http.cors import CorsPolicy
from callcenter_ws.http.events import EventsResource
from callcenter_ws.http.first_bytes import UpgradeHandler
from callcenter_ws.http.large_body import BodyWriting
from callcenter_ws.http.page_options import PageOptions, wallboards_of
from callcenter_ws.http.probes import LiveResource, MetricsResource, ReadyResource
from callcenter_ws.http.public_widget import PublicWidgetResource, WidgetOptions, widgets_of
from callcenter_ws.http.responses import JsonNotFound
from callcenter_ws.http.schemas import SchemasResource
from callcenter_ws.http.session import DemoSignIn, session_resources
from callcenter_ws.http.site import GatewaySite
from callcenter_ws.http.snapshot import SnapshotResource
from callcenter_ws.http.statistics import StatisticsResource
from callcenter_ws.http.stats import StatsResource
from callcenter_ws.http.users import UsersResource
from callcenter_ws.http.wallboards import WallboardsResource
from callcenter_ws.interfaces import Audit
from callcenter_ws.ops.account_metrics import AccountMetrics
from callcenter_ws.ops.audit_metrics import AuditMetrics
from callcenter_ws.ops.call_log_metrics import CallLogMetrics
from callcenter_ws.ops.command_metrics import CommandMetrics
from callcenter_ws.ops.delivery_metrics import DeliveryMetrics
from callcenter_ws.ops.event_metrics import EventMetrics
from callcenter_ws.ops.figure_metrics import FigureMetrics
from callcenter_ws.ops.health import Health, Node
from callcenter_ws.ops.peer_metrics import AmpMetrics, PeerMetrics
from callcenter_ws.ops.webhook_metrics import WebhookMetrics
from callcenter_ws.pages.resources import page_resources
from callcenter_ws.requests.admission import Admission
from callcenter_ws.requests.alert_ack import AlertAckHandler
from callcenter_ws.requests.chat_sessions import ChatSessions
from callcenter_ws.requests.command import CommandHandler
from callcenter_ws.requests.context import Context
from callcenter_ws.requests.handlers import all_handlers
from callcenter_ws.requests.quotas import Quotas
from callcenter_ws.requests.visitor_chats import visitor_chat_handlers
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.peer_limits import PeerLimits
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.web_origin import OriginList
from callcenter_ws.sources.publishing import SourcePublisher
from callcenter_ws.sources.syncing import StateSync
from callcenter_ws.workers.handoff import WorkerHandoff
from callcenter_ws.workers.metrics import NodeMetrics
from callcenter_ws.ws.authentication import HandshakeAuthenticator
from callcenter_ws.ws.endpoint import WebSocketEndpoint
from callcenter_ws.ws.factory import GatewayFactory


@dataclass(slots=True, kw_only=True)
class GatewayParts:
    """The connected parts of one gateway process. ``gateway.reload_steps`` changes them.

    Attributes:
        audit: the audit log.
        signing_in: signs people and screens in at the pages.
        page_options: what the pages that the gateway serves depend on.
        widget_options: the chat widgets of the tenants.
        chats: what clients write.
        endpoints: ``/ws`` and ``/ws/public``.
        cors, body_writing: of all sites.
        node_metrics: collects the metrics of all workers of the node; None in a gateway of one process.
        site: serves HTTP and WebSockets, for ``web.listen``.
        peer_limits: the limits of peers that have not authenticated, at all ports.
        descriptors: how many sockets there may be.
        metrics_site: serves ``/metrics``, for ``web.metrics_listen``; None if that is not set.
    """

    core: Core
    audit: AuditLog
    authentication: Authentication
    signing_in: SigningIn
    page_options: PageOptions
    widget_options: WidgetOptions
    admission: Admission
    chats: ChatSessions
    endpoints: WebSocketEndpoints
    cors: CorsPolicy
    body_writing: BodyWriting
    log: TwistedConnectionLog
    websocket_factory: GatewayFactory
    amp_factory: AmpServerFactory
    node_metrics: NodeMetrics | None
    health: Health
    site: GatewaySite
    metrics_site: GatewaySite | None
    peer_limits: PeerLimits
    descriptors: Descriptors


def assemble(
    reactor: Reactor,
    settings: Settings,
    handoff: WorkerHandoff | None,
    demo: DemoSignIn | None = None,
) -> GatewayParts:
    """Build the parts of a gateway.

    Args:
        handoff: what a worker received from its supervisor; None in a gateway of one process.
        demo: whom a click signs in; None without the demo.

    Raises:
        OSError, ValueError: a file that the settings name cannot be used.
    """
    # The store is built first, and the AMP factory, which the store's callback needs, depends on it.
    clock = ReactorClock(reactor)
    descriptors = divide_descriptors(settings.limits)
    limits = peer_limits(settings, clock, descriptors)
    log = TwistedConnectionLog(limits, connections=settings.log.connections)
    audit = audit_log(reactor, clock, settings.audit.file, instance_name(settings, handoff))
    core = core_of(reactor, clock, settings, handoff, log, audit, lambda: amp_factory.disconnect_revoked())
    accepted = authentication(reactor, clock, settings, handoff, core.hub.revocations)
    signing = signing_in(
        reactor, clock, settings, core.store.accounts, accepted.pages, core.directory, core.hub.revocations, audit
    )
    page_options = PageOptions(settings.web.embedders, wallboards_of(settings))
    widget_options = WidgetOptions(widgets_of(settings))
    admission = Admission(core.hub, admission_limits(settings, descriptors), settings.policy.over_user_limit)
    quotas = Quotas(settings.limits, clock, **history_limits(settings))
    chats = _chat_sessions(settings, core, quotas)
    websocket_factory = _websocket_factory(
        reactor, settings, core, accepted, admission, limits, log, quotas, chats, widget_options
    )
    amp_factory = _amp_factory(settings, core, accepted.authenticator, limits, signing.operations, audit)
    amp_factory.log.connections = settings.log.connections
    core.hub.outgoing.others.append(lambda: amp_factory.waiting_bytes)
    _add_metrics(core, limits, admission, amp_factory, signing, audit)
    node_metrics = None if handoff is None else NodeMetrics(reactor, handoff, core.metrics.render)
    health = Health(core.store.broker.not_ready, core.hub.revocations.not_ready, accepted.missing_keys)
    endpoints = WebSocketEndpoints(
        websocket_factory, token_sources(settings.jwt), limits.proxies, public=settings.public.enabled
    )
    endpoints.add_public(b"widget", _widget_resource(core, websocket_factory, widget_options))
    cors = CorsPolicy(OriginList(settings.web.allowed_origins))
    writing = BodyWriting(clock, core.hub.slicer, core.hub.outgoing, core.hub.limits)
    resources = {
        b"ws": _ws_resource(settings, handoff, core, accepted, endpoints.staff, writing, page_options),
        b"schemas": SchemasResource(),
        b"livez": LiveResource(),
        b"readyz": ReadyResource(health),
        **_page_resources(settings, signing, limits, page_options, demo),
    }
    site, metrics_site = _sites(
        reactor, settings, core, accepted, limits, cors, writing, resources, endpoints.upgrade_handlers, node_metrics
    )
    return GatewayParts(
        core=core,
        audit=audit,
        authentication=accepted,
        signing_in=signing,
        page_options=page_options,
        widget_options=widget_options,
        admission=admission,
        chats=chats,
        endpoints=endpoints,
        cors=cors,
        body_writing=writing,
        log=log,
        websocket_factory=websocket_factory,
        amp_factory=amp_factory,
        node_metrics=node_metrics,
        health=health,
        site=site,
        peer_limits=limits,
        descriptors=descriptors,
        metrics_site=metrics_site,
    )


def _sites(
    reactor: Reactor,
    settings: Settings,
    core: Core,
    accepted: Authentication,
    limits: PeerLimits,
    cors: CorsPolicy,
    writing: BodyWriting,
    resources: Mapping[bytes, Resource],
    handlers: Mapping[bytes, UpgradeHandler],
    node_metrics: NodeMetrics | None,
) -> tuple[GatewaySite, GatewaySite | None]:
    """Return the site for ``web.listen``, and the one for ``web.metrics_listen``, None if that is not set."""

    def site(children: Mapping[bytes, Resource], handlers: Mapping[bytes, UpgradeHandler] | None) -> GatewaySite:
        return GatewaySite(
            _with_children(JsonNotFound(), children),
            reactor,
            authenticator=accepted.authenticator,
            upgrade_handlers=handlers,
            limits=limits,
            cors=cors,
            handshake_timeout=settings.limits.handshake_timeout,
            body_writing=writing,
        )

    text, content_type = (node_metrics or core.metrics).text, core.metrics.content_type
    if settings.web.metrics_listen is None:
        metrics = MetricsResource(text, content_type, accepted.authenticator)
        return site({**resources, b"metrics": metrics}, handlers), None
    return site(resources, handlers), site({b"metrics": MetricsResource(text, content_type)}, None)


def _page_resources(
    settings: Settings, signing: SigningIn, limits: PeerLimits, options: PageOptions, demo: DemoSignIn | None
) -> Mapping[bytes, Resource]:
    """Return the resources of the pages, and of signing in at them; none if the settings say so."""
    if not settings.web.pages and not settings.web.demo:
        return {}
    session = session_resources(signing.accounts, limits.proxies, options, demo)
    return {**session, **page_resources(options, session[b"pages"], demo=demo is not None)}


def admission_limits(settings: Settings, descriptors: Descriptors) -> Limits:
    """Return the limits for ``requests.admission``."""
    return replace(settings.limits, connections=descriptors.websockets)


def history_limits(settings: Settings) -> HistoryLimits:
    """Return the limits of a tenant's history, for Quotas."""
    return HistoryLimits(history_events=settings.store.history_events, history_bytes=settings.store.history_bytes)


class HistoryLimits(TypedDict):
    """Arguments of Quotas."""

    history_events: int
    history_bytes: int


def deflater(settings: Settings) -> Deflater | None:
    """Return what compresses messages; None if they are not compressed."""
    compression = settings.compression
    return Deflater(compression.level, compression.threshold) if compression.enabled else None


def _add_metrics(
    core: Core,
    limits: PeerLimits,
    admission: Admission,
    amp_factory: AmpServerFactory,
    signing: SigningIn,
    audit: AuditLog,
) -> None:
    metrics, hub, store = core.metrics, core.hub, core.store
    metrics.add(
        DeliveryMetrics(
            hub.counters,
            lambda: hub.outgoing.total,
            lambda: hub.limits.outgoing_bytes,
            lambda: admission.limits.connections,
            metrics.latency,
        )
    )
    metrics.add(
        EventMetrics(
            core.broadcaster.counters,
            store.broker.state,
            store.counters,
            store.redis_counters,
            store.live_processes,
            store.sources.counters,
        )
    )
    metrics.add(FigureMetrics(core.figures.counters))
    metrics.add(WebhookMetrics(core.figures.counters.webhooks))
    metrics.add(PeerMetrics(limits))
    metrics.add(AmpMetrics(amp_factory.session_counts, amp_factory.refused, lambda: amp_factory.waiting_events))
    metrics.add(CommandMetrics(core.commands.counters))
    metrics.add(CallLogMetrics(core.call_log.counters))
    metrics.add(AccountMetrics(signing.accounts.outcomes))
    metrics.add(AuditMetrics(audit.counters, lambda: audit.waiting))


# WebSocket, AMP and HTTP


def _websocket_factory(
    reactor: Reactor,
    settings: Settings,
    core: Core,
    authentication: Authentication,
    admission: Admission,
    limits: PeerLimits,
    log: TwistedConnectionLog,
    quotas: Quotas,
    chats: ChatSessions,
    widgets: WidgetOptions,
) -> GatewayFactory:
    authenticator = authentication.authenticator
    context = Context(
        hub=core.hub,
        broker=core.store.broker,
        broadcaster=core.broadcaster,
        authenticator=authenticator,
        handlers=all_handlers(
            chats,
            authenticator,
            core.hub.revocations,
            core.clock,
            quotas,
            AlertAckHandler(core.store.broker, core.clock),
            CommandHandler(core.commands),
            *visitor_chat_handlers(chats, widgets, core.clock, quotas),
        ),
        quotas=quotas,
        clock=core.clock,
        spawn=spawn,
        log=core.hub.log,
        limits=settings.limits,
        spend=limits.turns.spend,
    )
    return GatewayFactory(
        reactor,
        context,
        admission,
        HandshakeAuthenticator(
            authenticator, admission, origin_policy(settings), authentication.visitors.open, quotas.open_session
        ),
        UlidFactory(core.clock.time),
        log.handshake_refused,
        deflater(settings),
        limits,
    )


def _chat_sessions(settings: Settings, core: Core, quotas: Quotas) -> ChatSessions:
    return ChatSessions(
        core.broadcaster,
        core.store.sources,
        quotas,
        core.clock,
        agent_chats=settings.policy.agent_chats,
        open_sessions=settings.public.open_sessions,
    )


def _amp_factory(
    settings: Settings,
    core: Core,
    authenticator: UnrevokedTokens,
    limits: PeerLimits,
    accounts: AccountOperations,
    audit: Audit,
) -> AmpServerFactory:
    return AmpServerFactory(
        core.broadcaster,
        core.directory,
        core.clock,
        node_id=settings.cluster.node_id,
        sources=core.store.sources,
        source_publisher=SourcePublisher(core.broadcaster, core.store.broker, core.clock, core.store.sources.counters),
        state_sync=StateSync(core.store.broker, core.clock, core.store.sources.counters, core.plan),
        accounts=accounts,
        commands=core.commands,
        secret=amp_secret(settings),
        authenticate=authenticator,
        revocations=core.hub.revocations,
        limits=limits,
        audit=audit,
    )


def _ws_resource(
    settings: Settings,
    handoff: WorkerHandoff | None,
    core: Core,
    authentication: Authentication,
    endpoint: WebSocketEndpoint,
    writing: BodyWriting,
    options: PageOptions,
) -> Resource:
    """Return the resource of ``/ws`` with those below it (docs/http.rst)."""
    authenticator = authentication.authenticator
    worker = None if handoff is None else handoff.number
    node = Node(settings.cluster.node_id, __version__, core.clock.time(), worker)
    children: dict[bytes, Resource] = {
        b"stats": StatsResource(
            authenticator,
            core.directory,
            core.store.broker,
            core.broadcaster.counters,
            core.store.sources.counters,
            core.figures,
            node,
            core.clock,
        ),
        b"statistics": StatisticsResource(authenticator, core.plan, core.store.figures, core.clock, writing),
        b"users": UsersResource(authenticator, core.directory),
        b"events": EventsResource(authenticator, core.broadcaster, core.clock),
        b"snapshot": SnapshotResource(authenticator, StateReader(core.hub), writing),
        b"calls": CallsResource(authenticator, core.call_log, lambda: core.hub.agent_calls),
        b"wallboards": WallboardsResource(authenticator, options),
        b"commands": CommandsResource(authenticator, core.commands, core.clock),
    }
    return _with_children(endpoint, children)


def _widget_resource(core: Core, factory: GatewayFactory, options: WidgetOptions) -> Resource:
    """Return the resource of ``/ws/public/widget``."""

    def check_origin(tenant_id: str, origin: str | None) -> None:
        factory.context.authenticator.origins.check_visitor(tenant_id, origin)

    return PublicWidgetResource(options, AgentsThere(core.store.broker, core.clock), check_origin)


def _with_children(resource: Resource, children: Mapping[bytes, Resource]) -> Resource:
    """Attach resources by path segment, and return ``resource``."""
    for segment, child in children.items():
        resource.putChild(segment, child)
    return resource
