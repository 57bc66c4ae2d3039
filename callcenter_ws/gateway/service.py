"""The one place where objects are wired: from the settings to a running gateway."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.client import Agent

from callcenter_ws import __version__
from callcenter_ws.amp.factory import AmpServerFactory
from callcenter_ws.auth.jwks import JwksSource
from callcenter_ws.auth.keys import KeyRing, hmac_key, read_public_key, read_secret
from callcenter_ws.auth.revocation import UnrevokedTokens
from callcenter_ws.auth.tokens import TokenRules, TokenVerifier
from callcenter_ws.auth.visitors import GatewayTokens, VisitorSessions
from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.config.settings import Settings
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.demo.page import demo_page
from callcenter_ws.demo.service import SimulatorProcess
from callcenter_ws.demo.settings import page_hosts
from callcenter_ws.demo.state import DemoState
from callcenter_ws.demo.tokens import DemoTokens
from callcenter_ws.events.deflate import Deflater
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.gateway.log import TwistedConnectionLog
from callcenter_ws.gateway.stores import store_of
from callcenter_ws.http.answers import JsonNotFound
from callcenter_ws.http.events import EventsResource
from callcenter_ws.http.first_bytes import UpgradeHandler
from callcenter_ws.http.probes import LiveResource, MetricsResource, ReadyResource
from callcenter_ws.http.site import GatewaySite
from callcenter_ws.http.stats import StatsResource
from callcenter_ws.http.users import UsersResource
from callcenter_ws.ops.health import Health, Node
from callcenter_ws.ops.metrics import Metrics
from callcenter_ws.requests.admission import Admission, Endpoint
from callcenter_ws.requests.context import Context
from callcenter_ws.requests.handlers import all_handlers
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.listener import Listener, private_unix
from callcenter_ws.workers.handoff import WorkerHandoff
from callcenter_ws.workers.metrics import NodeMetrics
from callcenter_ws.workers.worker import Worker
from callcenter_ws.ws.authentication import HandshakeAuthenticator
from callcenter_ws.ws.client_address import TrustedProxies
from callcenter_ws.ws.endpoint import WebSocketEndpoint
from callcenter_ws.ws.factory import GatewayFactory
from callcenter_ws.ws.handshake import TokenPlaces
from callcenter_ws.ws.origin import OriginList, OriginPolicy, PublicTenant

_log = Logger()

DRAIN_MARGIN = 20.0
"""Seconds that stopping may take longer than ``limits.drain_timeout`` before it counts as stuck."""

LAST_WORDS_TIMEOUT = 2.0
"""Seconds for which a stopping worker still serves who has just connected."""

FAREWELL_TIMEOUT = 6.0
"""Seconds for which a stopping gateway waits for its peers to close their sockets."""


class GatewayService(MultiService):
    """A gateway. Its parts are public attributes, for embedding and for tests.

    Args:
        inheritance: what a worker has from its supervisor; None: this is the only process.

    Attributes:
        instance: the node's name, and a worker's number, as ``pbx1/2``. Two processes have it while one replaces the
            other.
        web_listeners, amp_listeners: one Listener for each endpoint, whose ``port`` tells where it listens.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        *,
        demo: DemoState | None = None,
        handoff: WorkerHandoff | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self._handoff = handoff
        node_id = settings.cluster.node_id
        self.instance = node_id if handoff is None else f"{node_id}/{handoff.number}"
        self._reactor = reactor
        self._listeners: list[Listener] = []
        self.clock = ReactorClock(reactor)
        self._build_core()
        self._build_auth()
        self._build_websocket()
        self.amp_factory = self._amp_factory()
        self.metrics.watch(
            self.hub.counters, self.broadcaster.intake, lambda: len(self.amp_factory.sessions), self.broker.state
        )
        self.node_metrics = None if handoff is None else NodeMetrics(reactor, handoff, self.metrics.render)
        self._metrics_text = (self.node_metrics or self.metrics).text
        self.endpoints = self._endpoints()
        self.site = self._site(self._root(demo), {path: endpoint.open for path, endpoint in self.endpoints.items()})
        self.web_listeners = [self._listen("web.listen", where, self.site) for where in settings.web.listen]
        self.amp_listeners = [
            self._listen("amp.listen", private_unix(where), self.amp_factory) for where in settings.amp.listen
        ]
        if settings.web.metrics_listen is not None:
            self._listen("web.metrics_listen", settings.web.metrics_listen, self._site(self._metrics_root()))
        if handoff is not None:
            patience = settings.limits.drain_timeout + DRAIN_MARGIN
            worker = Worker(reactor, handoff, self.health.reasons, self._take_up_listeners, patience)
            worker.setServiceParent(self)
        if demo is not None:
            SimulatorProcess(reactor, demo.amp_endpoint, demo.tenant).setServiceParent(self)

    # Wiring

    def _build_core(self) -> None:
        settings, clock = self.settings, self.clock
        self.metrics = Metrics()
        self.store = store_of(self._reactor, clock, settings, self.instance, lambda: self.amp_factory.cut_off_revoked())
        self.broker = self.store.broker
        self.broadcaster = EventBroadcaster(self.broker, clock)
        self.hub = Hub(
            self.broker,
            self.store.presence,
            clock,
            TwistedConnectionLog(),
            agent_calls=settings.policy.agent_calls,
            burst=max(1, settings.limits.outbox // 2),
            observe_latency=self.metrics.observe_latency,
        )
        self.directory = self.store.directory(self.hub)

    def _build_auth(self) -> None:
        jwt = self.settings.jwt
        fixed = [read_public_key(path) for path in jwt.public_key_files]
        if jwt.secret_file is not None:
            fixed.append(hmac_key(read_secret(jwt.secret_file), jwt.algorithms))
        keys = KeyRing(fixed, awaits_fetched=jwt.jwks_url is not None)
        self.jwks: JwksSource | None = None
        if jwt.jwks_url is not None:
            agent = Agent(self._reactor, connectTimeout=10)
            self.jwks = JwksSource(jwt.jwks_url, keys, agent, self.clock, interval=jwt.jwks_refresh)
            self.jwks.setServiceParent(self)
        rules = TokenRules(jwt.algorithms, jwt.issuer, jwt.audience, jwt.leeway)
        session_key = self._session_key()
        self.visitors = VisitorSessions(session_key, self.clock.time, lambda: secrets.token_urlsafe(16))
        verifier = TokenVerifier(keys, rules, self.clock.time)
        self.authenticator = UnrevokedTokens(GatewayTokens(self.visitors, verifier), self.hub.revocations)

    def _session_key(self) -> bytes:
        """The key of the visitors' session tokens; without a file their sessions end with this node's process."""
        if (path := self.settings.public.session_key_file) is not None:
            return read_secret(path)
        # What one worker has signed another has to accept.
        return secrets.token_bytes(32) if self._handoff is None else self._handoff.session_key.read_bytes()

    def _keys_are_missing(self) -> str | None:
        if self.jwks is not None:
            return self.jwks.not_ready()
        jwt = self.settings.jwt
        return None if jwt.secret_file or jwt.public_key_files else "jwt: no key is configured, so everybody is refused"

    def _build_websocket(self) -> None:
        settings, log = self.settings, TwistedConnectionLog()
        self.gateway = Context(
            hub=self.hub,
            broker=self.broker,
            broadcaster=self.broadcaster,
            authenticator=self.authenticator,
            handlers=all_handlers(self.broadcaster, self.authenticator, self.hub.revocations, self.clock),
            clock=self.clock,
            spawn=spawn,
            log=log,
            limits=settings.limits,
        )
        self.admission = Admission(self.hub, settings.limits)
        public = {
            name: PublicTenant(OriginList(tenant.origins), tenant.anonymous)
            for name, tenant in settings.public.tenants.items()
        }
        origins = OriginPolicy(OriginList(settings.web.allowed_origins), public)
        handshake_authenticator = HandshakeAuthenticator(
            self.authenticator, self.admission, origins, self.visitors.open
        )
        self.websocket_factory = GatewayFactory(
            self._reactor,
            self.gateway,
            self.admission,
            handshake_authenticator,
            UlidFactory(self.clock.time),
            log.handshake_refused,
            self._deflater(),
        )

    def _deflater(self) -> Deflater | None:
        wanted = self.settings.compression
        return Deflater(wanted.level, wanted.threshold) if wanted.enabled else None

    def _amp_factory(self) -> AmpServerFactory:
        token_file = self.settings.amp.token_file
        return AmpServerFactory(
            self.broadcaster,
            self.directory,
            self.clock,
            node_id=self.settings.cluster.node_id,
            secret=None if token_file is None else token_file.read_bytes().strip(),
            authenticate=self.authenticator,
            revocations=self.hub.revocations,
        )

    def _root(self, demo: DemoState | None) -> Any:
        """The way of a path to its resource (PROTOCOL section 5)."""
        number = None if self._handoff is None else self._handoff.number
        node = Node(self.settings.cluster.node_id, __version__, self.clock.time(), number)
        self.health = Health(self.broker.not_ready, self._keys_are_missing)
        root: Any = JsonNotFound()  # Any: mypy cannot see that a Resource is an IResource
        ws: Any = self.endpoints[b"/ws"]
        root.putChild(b"ws", ws)
        if b"/ws/public" in self.endpoints:
            ws.putChild(b"public", self.endpoints[b"/ws/public"])
        ws.putChild(
            b"stats",
            StatsResource(self.authenticator, self.directory, self.broker, self.broadcaster.intake, node, self.clock),
        )
        ws.putChild(b"users", UsersResource(self.authenticator, self.directory))
        ws.putChild(b"events", EventsResource(self.authenticator, self.broadcaster))
        root.putChild(b"livez", LiveResource())
        root.putChild(b"readyz", ReadyResource(self.health))
        if self.settings.web.metrics_listen is None:
            metrics = MetricsResource(self._metrics_text, self.metrics.content_type, self.authenticator)
            root.putChild(b"metrics", metrics)
        if self.settings.web.demo:
            tokens = None if demo is None else DemoTokens(demo, self.clock.time)
            hosts = frozenset() if demo is None else page_hosts(demo.url)
            for name, resource in demo_page(tokens, hosts).items():
                root.putChild(name, resource)
        return root

    def _endpoints(self) -> dict[bytes, WebSocketEndpoint]:
        """The WebSocket endpoints by path."""
        endpoints = {b"/ws": self._endpoint(Endpoint.STAFF)}
        if self.settings.public.enabled:
            endpoints[b"/ws/public"] = self._endpoint(Endpoint.PUBLIC)
        return endpoints

    def _endpoint(self, endpoint: Endpoint) -> WebSocketEndpoint:
        jwt, web = self.settings.jwt, self.settings.web
        places = TokenPlaces(cookie=jwt.cookie, query=jwt.allow_query_token)
        proxies = TrustedProxies(web.trusted_proxies)
        return WebSocketEndpoint(endpoint, self.websocket_factory, places, proxies, JsonNotFound())

    def _metrics_root(self) -> Any:
        root: Any = JsonNotFound()
        root.putChild(b"metrics", MetricsResource(self._metrics_text, self.metrics.content_type))
        return root

    def _site(self, root: Any, upgrade_handlers: Mapping[bytes, UpgradeHandler] | None = None) -> GatewaySite:
        return GatewaySite(
            root,
            self._reactor,
            authenticator=self.authenticator,
            upgrade_handlers=upgrade_handlers,
            handshake_timeout=self.settings.limits.handshake_timeout,
        )

    def _listen(self, setting: str, description: str, factory: Any) -> Listener:
        inherited = None if self._handoff is None else self._handoff.descriptor(setting, description)
        listener = Listener(self._reactor, description, factory, inherited)
        listener.setServiceParent(self)
        self._listeners.append(listener)
        return listener

    def _take_up_listeners(self) -> None:
        for listener in self._listeners:
            listener.take_up()

    # Life

    def startService(self) -> None:
        """Open the store and everything else."""
        for warning in self.settings.warnings:
            _log.warn("settings: {warning}", warning=warning)
        self.store.open(self.hub)
        super().startService()
        if self.node_metrics is not None:
            self.node_metrics.open()
        _log.info(
            "callcenter-ws {version} serves {web} and takes events at {amp}",
            version=__version__,
            web=", ".join(self.settings.web.listen),
            amp=", ".join(self.settings.amp.listen),
        )

    def stopService(self) -> Deferred[None]:
        """Take no more connections, say goodbye to those that are open, then close the store."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self.node_metrics is not None:
            await self.node_metrics.close()
            await self._step_aside()
        self.health.drain()
        self.admission.draining = True
        for listener in (*self.web_listeners, *self.amp_listeners):
            await listener.close()
        amp_is_done = self.amp_factory.drain()
        amp_is_done.addTimeout(FAREWELL_TIMEOUT, self._reactor, onTimeoutCancel=lambda *_: self.amp_factory.abort())
        self.hub.drain(self.settings.limits.drain_timeout)
        self.websocket_factory.drain()
        await amp_is_done
        await self._peers_gone()
        await self.store.close()
        await _settled(super().stopService())

    async def _step_aside(self) -> None:
        """Leave new connections to the other workers; nobody is to be refused for having come here a moment before."""
        for listener in self._listeners:
            await listener.close()
        await self._until(lambda: self.site.waiting.is_empty, LAST_WORDS_TIMEOUT)

    async def _peers_gone(self) -> None:
        """Wait until the sockets are closed, but not for long."""
        await self._until(lambda: not self.admission.sockets, FAREWELL_TIMEOUT)

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = self.clock.monotonic() + seconds
        while not condition() and self.clock.monotonic() < deadline:
            turn: Deferred[None] = Deferred()
            self._reactor.callLater(0.05, turn.callback, None)
            await turn


async def _settled(result: Deferred[Any] | None) -> None:
    if result is not None:
        await result
