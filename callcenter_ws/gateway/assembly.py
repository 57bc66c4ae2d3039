"""Builds the parts of a gateway from its settings and connects them; no part listens or connects to anything yet."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from twisted.web.client import Agent
from twisted.web.resource import Resource

from callcenter_ws import __version__
from callcenter_ws.amp.factory import AmpServerFactory
from callcenter_ws.auth.jwks import JwksSource
from callcenter_ws.auth.keys import KeyRing, read_secret
from callcenter_ws.auth.revocation import UnrevokedTokens
from callcenter_ws.auth.tokens import TokenVerifier
from callcenter_ws.auth.visitors import GatewayTokens, VisitorSessions
from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.config.settings import Settings
from callcenter_ws.config.verification import fixed_keys, token_rules
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.delivery.state_reader import StateReader
from callcenter_ws.events.deflate import Deflater
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.gateway.descriptors import Descriptors, divide_descriptors
from callcenter_ws.gateway.log import TwistedConnectionLog
from callcenter_ws.gateway.peer_limits import peer_limits
from callcenter_ws.gateway.stores import EventStore, event_store
from callcenter_ws.http.cors import CorsPolicy
from callcenter_ws.http.events import EventsResource
from callcenter_ws.http.first_bytes import UpgradeHandler
from callcenter_ws.http.large_body import BodyWriting
from callcenter_ws.http.probes import LiveResource, MetricsResource, ReadyResource
from callcenter_ws.http.responses import JsonNotFound
from callcenter_ws.http.schemas import SchemasResource
from callcenter_ws.http.site import GatewaySite
from callcenter_ws.http.snapshot import SnapshotResource
from callcenter_ws.http.stats import StatsResource
from callcenter_ws.http.users import UsersResource
from callcenter_ws.interfaces import Directory
from callcenter_ws.ops.health import Health, Node
from callcenter_ws.ops.metrics import Metrics
from callcenter_ws.requests.admission import Admission, EndpointName
from callcenter_ws.requests.chat_sessions import ChatSessions
from callcenter_ws.requests.context import Context
from callcenter_ws.requests.handlers import all_handlers
from callcenter_ws.requests.quotas import Quotas
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.peer_limits import PeerLimits
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.sources.publishing import SourcePublisher
from callcenter_ws.workers.handoff import WorkerHandoff
from callcenter_ws.workers.metrics import NodeMetrics
from callcenter_ws.ws.authentication import HandshakeAuthenticator
from callcenter_ws.ws.endpoint import WebSocketEndpoint
from callcenter_ws.ws.factory import GatewayFactory
from callcenter_ws.ws.handshake import OptionalTokenSources
from callcenter_ws.ws.origin import OriginList, OriginPolicy, PublicTenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The parts that publish, store and deliver events, without the network protocols."""

    clock: ReactorClock
    metrics: Metrics
    store: EventStore
    broadcaster: EventBroadcaster
    hub: Hub
    directory: Directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Authentication:
    """The parts that decide which tokens are accepted.

    Attributes:
        visitors: issues and verifies the session tokens of anonymous visitors.
        jwks: fetches the JWK set; None if ``jwt.jwks_url`` is not set.
    """

    authenticator: UnrevokedTokens
    visitors: VisitorSessions
    jwks: JwksSource | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayParts:
    """The connected parts of one gateway process.

    Attributes:
        node_metrics: collects the metrics of all workers of the node; None in a gateway of one process.
        site: serves HTTP and WebSockets, for ``web.listen``.
        peer_limits: the limits of peers that have not authenticated, at all ports.
        descriptors: how many sockets there may be.
        metrics_site: serves ``/metrics``, for ``web.metrics_listen``; None if that is not set.
    """

    core: Core
    authentication: Authentication
    admission: Admission
    websocket_factory: GatewayFactory
    amp_factory: AmpServerFactory
    node_metrics: NodeMetrics | None
    health: Health
    site: GatewaySite
    metrics_site: GatewaySite | None
    peer_limits: PeerLimits
    descriptors: Descriptors


def assemble(
    reactor: Reactor, settings: Settings, handoff: WorkerHandoff | None, extra_resources: Mapping[bytes, Resource]
) -> GatewayParts:
    """Build the parts of a gateway.

    Args:
        handoff: what a worker received from its supervisor; None in a gateway of one process.
        extra_resources: further HTTP resources, by the path segment below the root of the site.

    Raises:
        OSError, ValueError: a file that the settings name cannot be used.
    """
    # The store is built first, and the AMP factory, which the store's callback needs, depends on it.
    clock = ReactorClock(reactor)
    descriptors = divide_descriptors(settings.limits)
    limits = peer_limits(settings, clock, descriptors)
    log = TwistedConnectionLog(limits, connections=settings.log.connections)
    core = _core(reactor, clock, settings, handoff, log, lambda: amp_factory.disconnect_revoked())
    authentication = _authentication(reactor, settings, handoff, core)
    admission_limits = replace(settings.limits, connections=descriptors.websockets)
    admission = Admission(core.hub, admission_limits, settings.policy.over_user_limit)
    core.metrics.watch_peers(limits)
    websocket_factory = _websocket_factory(reactor, settings, core, authentication, admission, limits, log)
    amp_factory = _amp_factory(settings, core, authentication.authenticator, limits)
    core.hub.outgoing.others.append(lambda: amp_factory.waiting_bytes)
    core.metrics.watch(
        core.hub.counters,
        core.broadcaster.counters,
        lambda: len(amp_factory.sessions),
        core.store.broker.state,
        core.store.sources.counters,
        lambda: core.hub.outgoing.total,
    )
    node_metrics = None if handoff is None else NodeMetrics(reactor, handoff, core.metrics.render)
    health = Health(core.store.broker.not_ready, lambda: _missing_keys(settings, authentication.jwks))
    endpoints = _websocket_endpoints(settings, websocket_factory)
    resources = {
        b"ws": _ws_resource(settings, handoff, core, authentication, endpoints),
        b"schemas": SchemasResource(),
        b"livez": LiveResource(),
        b"readyz": ReadyResource(health),
        **extra_resources,
    }
    metrics_text, metrics_site = (node_metrics or core.metrics).text, None
    if settings.web.metrics_listen is None:
        resources[b"metrics"] = MetricsResource(metrics_text, core.metrics.content_type, authentication.authenticator)
    else:
        metrics_resource = MetricsResource(metrics_text, core.metrics.content_type)
        metrics_site = _site(reactor, settings, core, authentication, limits, {b"metrics": metrics_resource})
    upgrade_handlers = {path: endpoint.open for path, endpoint in endpoints.items()}
    return GatewayParts(
        core=core,
        authentication=authentication,
        admission=admission,
        websocket_factory=websocket_factory,
        amp_factory=amp_factory,
        node_metrics=node_metrics,
        health=health,
        site=_site(reactor, settings, core, authentication, limits, resources, upgrade_handlers),
        peer_limits=limits,
        descriptors=descriptors,
        metrics_site=metrics_site,
    )


def instance_name(settings: Settings, handoff: WorkerHandoff | None) -> str:
    """Return the name of this process among those that share a store: the node's name, and a worker's number.

    An example is ``pbx1/2``. While a worker is being replaced, two processes have the same name.
    """
    node_id = settings.cluster.node_id
    return node_id if handoff is None else f"{node_id}/{handoff.number}"


def _core(
    reactor: Reactor,
    clock: ReactorClock,
    settings: Settings,
    handoff: WorkerHandoff | None,
    log: TwistedConnectionLog,
    close_revoked_sessions: Callable[[], int],
) -> Core:
    metrics = Metrics()
    store = event_store(reactor, clock, settings, instance_name(settings, handoff), close_revoked_sessions)
    hub = Hub(
        store.broker,
        store.presence,
        clock,
        log,
        limits=settings.limits,
        spawn=spawn,
        agent_calls=settings.policy.agent_calls,
        agent_chats=settings.policy.agent_chats,
        burst=max(1, settings.limits.outbox // 2),
        iat_tolerance=token_rules(settings.jwt).iat_tolerance,
        observe_latency=metrics.observe_latency,
    )
    return Core(
        clock=clock,
        metrics=metrics,
        store=store,
        broadcaster=EventBroadcaster(store.broker, clock),
        hub=hub,
        directory=store.directory(hub),
    )


# Authentication


def _authentication(reactor: Reactor, settings: Settings, handoff: WorkerHandoff | None, core: Core) -> Authentication:
    jwt, clock = settings.jwt, core.clock
    keys = KeyRing(fixed_keys(jwt), awaits_fetched=jwt.jwks_url is not None)
    jwks: JwksSource | None = None
    if jwt.jwks_url is not None:
        jwks = JwksSource(jwt.jwks_url, keys, Agent(reactor, connectTimeout=10), clock, interval=jwt.jwks_refresh)
    visitors = VisitorSessions(_session_key(settings, handoff), clock.time, lambda: secrets.token_urlsafe(16))
    tokens = GatewayTokens(visitors, TokenVerifier(keys, token_rules(jwt), clock.time))
    return Authentication(authenticator=UnrevokedTokens(tokens, core.hub.revocations), visitors=visitors, jwks=jwks)


def _session_key(settings: Settings, handoff: WorkerHandoff | None) -> bytes:
    """Return the key of visitors' session tokens; without a file the sessions end with the node's processes."""
    if settings.public.session_key_file is not None:
        return read_secret(settings.public.session_key_file)
    # Every worker must accept the session tokens that another worker signed.
    return secrets.token_bytes(32) if handoff is None else handoff.session_key.read_bytes()


def _missing_keys(settings: Settings, jwks: JwksSource | None) -> str | None:
    """Return why no token can be verified; None if there are keys."""
    if jwks is not None:
        return jwks.not_ready()
    jwt = settings.jwt
    return None if jwt.secret_file or jwt.public_key_files else "jwt: no key is configured, every token is refused"


# WebSocket, AMP and HTTP


def _websocket_factory(
    reactor: Reactor,
    settings: Settings,
    core: Core,
    authentication: Authentication,
    admission: Admission,
    limits: PeerLimits,
    log: TwistedConnectionLog,
) -> GatewayFactory:
    authenticator = authentication.authenticator
    quotas = Quotas(
        settings.limits,
        core.clock,
        history_events=settings.store.history_events,
        history_bytes=settings.store.history_bytes,
    )
    context = Context(
        hub=core.hub,
        broker=core.store.broker,
        broadcaster=core.broadcaster,
        authenticator=authenticator,
        handlers=all_handlers(
            _chat_sessions(settings, core, quotas), authenticator, core.hub.revocations, core.clock, quotas
        ),
        quotas=quotas,
        clock=core.clock,
        spawn=spawn,
        log=core.hub.log,
        limits=settings.limits,
        spend=limits.turns.spend,
    )
    compression = settings.compression
    return GatewayFactory(
        reactor,
        context,
        admission,
        HandshakeAuthenticator(
            authenticator, admission, _origin_policy(settings), authentication.visitors.open, quotas.open_session
        ),
        UlidFactory(core.clock.time),
        log.handshake_refused,
        Deflater(compression.level, compression.threshold) if compression.enabled else None,
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


def _origin_policy(settings: Settings) -> OriginPolicy:
    tenants = {
        name: PublicTenant(OriginList(tenant.origins), tenant.anonymous)
        for name, tenant in settings.public.tenants.items()
    }
    return OriginPolicy(OriginList(settings.web.allowed_origins), tenants)


def _websocket_endpoints(settings: Settings, factory: GatewayFactory) -> dict[bytes, WebSocketEndpoint]:
    """Return the WebSocket endpoints by path."""
    places = OptionalTokenSources(cookie=settings.jwt.cookie, query=settings.jwt.allow_query_token)
    proxies = factory.context.peer_limits.proxies
    kinds = {b"/ws": EndpointName.STAFF}
    if settings.public.enabled:
        kinds[b"/ws/public"] = EndpointName.PUBLIC
    return {path: WebSocketEndpoint(kind, factory, places, proxies, JsonNotFound()) for path, kind in kinds.items()}


def _amp_factory(
    settings: Settings, core: Core, authenticator: UnrevokedTokens, limits: PeerLimits
) -> AmpServerFactory:
    token_file = settings.amp.token_file
    return AmpServerFactory(
        core.broadcaster,
        core.directory,
        core.clock,
        node_id=settings.cluster.node_id,
        sources=core.store.sources,
        source_publisher=SourcePublisher(core.broadcaster, core.store.broker, core.clock),
        secret=None if token_file is None else token_file.read_bytes().strip(),
        authenticate=authenticator,
        revocations=core.hub.revocations,
        limits=limits,
    )


def _ws_resource(
    settings: Settings,
    handoff: WorkerHandoff | None,
    core: Core,
    authentication: Authentication,
    endpoints: Mapping[bytes, WebSocketEndpoint],
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
            node,
            core.clock,
        ),
        b"users": UsersResource(authenticator, core.directory),
        b"events": EventsResource(authenticator, core.broadcaster, core.clock),
        b"snapshot": SnapshotResource(authenticator, StateReader(core.hub), _body_writing(core)),
    }
    if b"/ws/public" in endpoints:
        children[b"public"] = endpoints[b"/ws/public"]
    return _with_children(endpoints[b"/ws"], children)


def _site(
    reactor: Reactor,
    settings: Settings,
    core: Core,
    authentication: Authentication,
    limits: PeerLimits,
    resources: Mapping[bytes, Resource],
    upgrade_handlers: Mapping[bytes, UpgradeHandler] | None = None,
) -> GatewaySite:
    return GatewaySite(
        _with_children(JsonNotFound(), resources),
        reactor,
        authenticator=authentication.authenticator,
        upgrade_handlers=upgrade_handlers,
        limits=limits,
        cors=CorsPolicy(OriginList(settings.web.allowed_origins)),
        handshake_timeout=settings.limits.handshake_timeout,
        body_writing=_body_writing(core),
    )


def _body_writing(core: Core) -> BodyWriting:
    hub = core.hub
    return BodyWriting(core.clock, hub.slicer, hub.outgoing, hub.limits)


def _with_children(resource: Resource, children: Mapping[bytes, Resource]) -> Resource:
    """Attach resources by path segment, and return ``resource``."""
    for segment, child in children.items():
        resource.putChild(segment, child)
    return resource
