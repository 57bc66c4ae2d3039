"""The life of a gateway as a Twisted service: start, listeners, graceful stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IProtocolFactory
from twisted.logger import Logger

from callcenter_ws import __version__
from callcenter_ws.config.settings import Settings
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.gateway.assembly import assemble
from callcenter_ws.gateway.drain import Drain, GatewayListeners
from callcenter_ws.http.session import DemoSignIn
from callcenter_ws.ops.process_metrics import ProcessMetrics
from callcenter_ws.ops.reactor_monitor import ReactorMonitor
from callcenter_ws.ops.reload_outcome import ReloadOutcome
from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.listener import Listener, with_private_mode
from callcenter_ws.runtime.proxied_connections import ProxiedFactory
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.service_manager import ServiceStatus
from callcenter_ws.workers.handoff import WorkerHandoff
from callcenter_ws.workers.worker import Worker

_log = Logger()

STOP_MARGIN_SECONDS = 20.0
"""Seconds that stopping may take longer than ``limits.drain_timeout`` before the process counts as stuck."""

_READY_INTERVAL_SECONDS = 0.2


class GatewayService(MultiService):
    """A gateway.

    Args:
        demo: whom a click signs in at the pages; None without the demo.
        handoff: what a worker received from its supervisor; None in a gateway of one process.

    Attributes:
        is_stopping: whether the stop has begun.
        siblings_take_over: returns, when the stop begins, whether other processes accept connections at the same ports,
            as when a worker is replaced.
        parts: the connected parts, for embedding.
        worker: talks to the supervisor; None in a gateway of one process.
        settings: those that are in use; a reload replaces them.
        listeners: all of them.
        proxied_factories: those of endpoints with the PROXY protocol.
        reload_outcome: the outcome of the last reload, for the metrics.
        web_listeners, amp_listeners: one Listener for each endpoint; its ``port`` has the address.
    """

    def __init__(
        self,
        reactor: Reactor,
        settings: Settings,
        *,
        handoff: WorkerHandoff | None = None,
        demo: DemoSignIn | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.reactor = reactor
        self.handoff = handoff
        self.listeners: list[Listener] = []
        self.proxied_factories: list[ProxiedFactory] = []
        self._ready_check: IDelayedCall | None = None
        self.is_stopping = False
        self.siblings_take_over: Callable[[], bool] = lambda: handoff is not None
        self.worker: Worker | None = None
        self.parts = parts = assemble(reactor, settings, handoff, demo)
        if parts.authentication.jwks is not None:
            parts.authentication.jwks.setServiceParent(self)
        self.web_listeners = [self._listen("web.listen", endpoint, parts.site) for endpoint in settings.web.listen]
        self.amp_listeners = [
            self._listen("amp.listen", with_private_mode(endpoint), parts.amp_factory)
            for endpoint in settings.amp.listen
        ]
        web = list(self.web_listeners)
        if settings.web.metrics_listen is not None and parts.metrics_site is not None:
            web.append(self._listen("web.metrics_listen", settings.web.metrics_listen, parts.metrics_site))
        listeners = GatewayListeners(web, self.amp_listeners)
        self._drain = Drain(reactor, parts, listeners, lambda: self.siblings_take_over())
        self.reload_outcome = ReloadOutcome(parts.core.clock.time())
        monitor = ReactorMonitor(reactor, parts.core.clock)
        monitor.setServiceParent(self)
        parts.core.metrics.add(
            ProcessMetrics(__version__, parts.health, monitor, self.reload_outcome, self._certificates)
        )
        if handoff is not None:
            stop_timeout = settings.limits.drain_timeout + STOP_MARGIN_SECONDS
            self.worker = Worker(reactor, handoff, parts.health.reasons, self._accept_from_inherited, stop_timeout)
            self.worker.node_stops = self._node_stops
            self.worker.stop_now = self.stop_now
            self.worker.setServiceParent(self)

    def _listen(self, setting: str, endpoint: EndpointDescription, factory: IProtocolFactory) -> Listener:
        inherited = None if self.handoff is None else self.handoff.descriptor(setting, endpoint)
        limits = self.parts.peer_limits
        listener = Listener(self.reactor, endpoint, factory, inherited, setting, limits.turns, self._proxied)
        listener.setServiceParent(self)
        self.listeners.append(listener)
        return listener

    def _proxied(self, factory: IProtocolFactory) -> IProtocolFactory:
        """Return a factory of connections that begin with the header of the PROXY protocol."""
        timeout = self.settings.limits.handshake_timeout
        proxied = ProxiedFactory(factory, self.parts.peer_limits, self.reactor, timeout)
        self.proxied_factories.append(proxied)
        return proxied

    def _certificates(self) -> dict[str, float]:
        """Return the end of the validity of each certificate in use, in Unix seconds, by endpoint."""
        ends = {one.label: one.contexts.not_after for one in self.listeners if one.contexts is not None}
        return {name: end for name, end in ends.items() if end is not None}

    def change_stop_timeout(self, limits: Limits) -> None:
        """Count the process as stuck after another time from now on, if it is a worker."""
        if self.worker is not None:
            self.worker.stop_timeout = limits.drain_timeout + STOP_MARGIN_SECONDS

    def _accept_from_inherited(self) -> None:
        for listener in self.listeners:
            listener.accept_from_inherited()

    # Start

    def startService(self) -> None:
        """Open the store, then start everything else.

        Raises:
            StartFailed: the store or a port cannot be opened; the reason has been logged.
        """
        for warning in self.settings.warnings:
            _log.warn("settings: {warning}", warning=warning)
        core = self.parts.core
        core.store.open(core.hub, core.figures, core.commands.delivered, core.call_log)
        if self.settings.commands.enabled:
            self.parts.core.commands.start()
        core.idle_chats.start()
        core.left_messages.start()
        self.parts.core.figures.start()
        super().startService()
        if self.parts.node_metrics is not None:
            self.parts.node_metrics.open()
        web, amp = self.settings.web.listen, self.settings.amp.listen
        _log.info(
            "callcenter-ws {version} listens on {web}; events are accepted at {amp}",
            version=__version__,
            web=", ".join(map(str, web)),
            amp=", ".join(map(str, amp)) or "no endpoint: amp.listen is empty",
        )
        descriptors = self.parts.descriptors
        _log.info(
            "at most {websockets} WebSockets of {total} file descriptors",
            websockets=descriptors.websockets,
            total=descriptors.total,
        )
        # Not before signals are handled and the control socket is open: the line tells that all of it works.
        self.reactor.callWhenRunning(lambda: self._log_when_ready([]))

    def _log_when_ready(self, logged: Sequence[str]) -> None:
        """Log what the gateway waits for, whenever that changes, and at last that it serves."""
        reasons = self.parts.health.reasons()
        if not self.running or self.parts.health.draining:
            return
        if not reasons:
            _log.info("callcenter-ws serves")
            return
        if reasons != logged:
            _log.info("does not serve yet: {reasons}", reasons="; ".join(reasons))
        self._ready_check = self.reactor.callLater(_READY_INTERVAL_SECONDS, self._log_when_ready, reasons)

    def status(self) -> ServiceStatus:
        """Return the status for the service manager."""
        parts = self.parts
        clients, daemons = parts.admission.sockets, len(parts.amp_factory.sessions)
        connected = f"clients: {clients}, daemons: {daemons}"
        if parts.health.draining:
            return ServiceStatus(False, f"drains; {connected}")
        reasons = "; ".join(parts.health.reasons())
        return ServiceStatus(
            not reasons, f"does not serve: {reasons}; {connected}" if reasons else f"serves; {connected}"
        )

    # Stop

    def stopService(self) -> Deferred[None]:
        """Close every connection with a reason, and the ports, then close the store; see ``gateway.drain``."""
        self.is_stopping = True
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._ready_check is not None and self._ready_check.active():
            self._ready_check.cancel()
        try:
            await self._drain.run(self.settings.limits.drain_timeout)
        except Exception:
            # A bug in it must not keep the store from being closed.
            _log.failure("unhandled error in the drain")
        if self.parts.node_metrics is not None:
            await self.parts.node_metrics.close()
        try:
            await self.parts.core.figures.stop()
        except Exception:
            # The log has what was not written.
            _log.failure("unhandled error while the figures were written")
        await self.parts.core.commands.stop()
        await self.parts.core.idle_chats.stop()
        await self.parts.core.left_messages.stop()
        self.parts.core.call_log.stop()
        await self.parts.core.store.close()
        await self.parts.audit.close()
        # The minute does not end any more.
        self.parts.peer_limits.logs.report()
        await _completed(super().stopService())

    def _node_stops(self) -> None:
        """Record that the other workers stop, too, and take over no clients."""
        self.siblings_take_over = lambda: False

    def stop_now(self) -> None:
        """Close at once what a stop has not closed yet: its reason is a second signal.

        The stop may begin after this: both signals may have come in one turn of the reactor.
        """
        self._drain.stop_now()


async def _completed(result: Deferred[object] | None) -> None:
    if result is not None:
        await result
