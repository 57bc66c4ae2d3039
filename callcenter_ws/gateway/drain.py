"""Drain: the graceful stop of a gateway, from the signal until its store may be closed.

While the node stops, its web ports stay open: probes are answered, and everything else is refused, so that balancers
and clients learn at once that this node does not serve. A worker that is replaced closes its ports instead: the other
workers accept what arrives there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger

from callcenter_ws.delivery.drain import ClientDrain, longest_timeout
from callcenter_ws.gateway.assembly import GatewayParts
from callcenter_ws.runtime.listener import Listener
from callcenter_ws.runtime.reactor import Reactor

_log = Logger()

MIN_TIMEOUT_SECONDS = 2.0
"""The least time for a drain, whatever ``limits.drain_timeout``: the last answers and close frames need some."""

LATE_CONNECTIONS_TIMEOUT_SECONDS = 2.0
"""Seconds for which a replaced worker still serves connections that it accepted just before it closed its ports."""

AMP_TIMEOUT_SECONDS = 6.0
"""Seconds within which what daemons have sent must be answered; then their connections are aborted."""

CLOSE_TIMEOUT_SECONDS = 3.0
"""Seconds for which the gateway waits until its peers have closed their sockets."""

TAKE_OVER_TIMEOUT_SECONDS = 2.0
"""Seconds for finding out whether other nodes take over; a Redis that does not answer must not delay the drain."""

STOP_NOW_SECONDS = 2.0
"""Seconds within which everything is closed after a second signal."""

_POLL_INTERVAL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class GatewayListeners:
    """The listeners of a gateway.

    Attributes:
        web: serve HTTP and WebSockets, and metrics on a port of their own.
        amp: serve daemons.
    """

    web: Sequence[Listener]
    amp: Sequence[Listener]


class Drain:
    """Stops everything that peers can notice: connections, requests, ports. It runs once.

    Args:
        siblings_take_over: returns whether other processes accept connections at the same ports.
    """

    def __init__(
        self,
        reactor: Reactor,
        parts: GatewayParts,
        listeners: GatewayListeners,
        siblings_take_over: Callable[[], bool],
    ) -> None:
        self._reactor = reactor
        self._parts = parts
        self._clock = parts.core.clock
        self._listeners = listeners
        self._timeout = 0.0
        self._siblings_take_over = siblings_take_over
        self._clients = ClientDrain(parts.core.hub)
        self._deadline = 0.0
        self._is_hurried = False
        self._others: Deferred[bool] | None = None

    async def run(self, drain_timeout: float) -> None:
        """Close every connection with a reason, then the ports.

        Args:
            drain_timeout: ``limits.drain_timeout``, within which this ends.
        """
        self._timeout = drain_timeout
        self._set_deadline(max(drain_timeout, MIN_TIMEOUT_SECONDS))
        is_replaced = self._siblings_take_over()
        if is_replaced:
            await self._leave_new_connections()
            self._timeout = min(self._timeout, self._seconds_left())
        await self._refuse(is_replaced)
        amp = self._drain_amp()
        others_take_over = is_replaced or await self._others_take_over()
        # Not by the moments that finding this out usually takes: the stated rate of reconnects depends on the timeout.
        self._timeout = min(self._timeout, longest_timeout(self._seconds_left()))
        self._close_clients(others_take_over)
        await self._wait_until(lambda: not self._clients.remaining, math.inf)
        await amp
        await self._wait_until(self._is_done, CLOSE_TIMEOUT_SECONDS)
        for listener in self._listeners.web:
            await listener.close()

    def stop_now(self) -> None:
        """Close what remains at once; ``run``, which may begin after this, then ends within ``STOP_NOW_SECONDS``."""
        if self._is_hurried:
            return
        _log.warn(
            "a second signal: closing {clients} clients and {daemons} daemons at once",
            clients=self._parts.core.hub.connections(),
            daemons=len(self._parts.amp_factory.sessions),
        )
        self._is_hurried = True
        self._set_deadline(STOP_NOW_SECONDS)
        self._clients.hurry()
        self._parts.amp_factory.abort()
        if self._others is not None:
            self._others.cancel()

    def _set_deadline(self, seconds: float) -> None:
        deadline = self._clock.monotonic() + (STOP_NOW_SECONDS if self._is_hurried else seconds)
        self._deadline = min(deadline, self._deadline) if self._deadline else deadline

    async def _leave_new_connections(self) -> None:
        """Leave new connections to the other workers, and serve those that this worker has accepted already.

        Without this a client would be refused although another worker could serve it.
        """
        if self._parts.node_metrics is not None:
            await self._parts.node_metrics.close()
        for listener in (*self._listeners.web, *self._listeners.amp):
            await listener.close()
        deadline = self._parts.site.first_bytes_deadline
        await self._wait_until(lambda: deadline.is_empty, LATE_CONNECTIONS_TIMEOUT_SECONDS)

    async def _refuse(self, is_replaced: bool) -> None:
        """Refuse connections and requests from now on."""
        parts = self._parts
        if not is_replaced:
            # A request on a connection that stays open must not find the node unfit because a worker is replaced.
            parts.health.drain()
            parts.core.store.sources.drain(self._timeout)
        parts.core.commands.drain()
        parts.site.drain(refuses_requests=not is_replaced)
        parts.admission.draining = True
        parts.websocket_factory.drain()
        for listener in self._listeners.amp:
            await listener.close()

    def _drain_amp(self) -> Deferred[None]:
        factory = self._parts.amp_factory
        drained = factory.drain()
        if self._is_hurried:
            factory.abort()
        seconds = min(AMP_TIMEOUT_SECONDS, self._seconds_left())
        return drained.addTimeout(seconds, self._reactor, onTimeoutCancel=lambda *_: factory.abort())

    async def _others_take_over(self) -> bool:
        """Return whether other nodes take over, as far as that is known in time; the clients wait for it."""
        if self._is_hurried:
            return False
        seconds = min(TAKE_OVER_TIMEOUT_SECONDS, self._seconds_left())
        self._others = Deferred.fromCoroutine(self._parts.core.store.others_take_over())
        self._others.addTimeout(seconds, self._reactor)
        try:
            return await self._others
        except (CancelledError, TimeoutError):
            # The store knows nothing without an answer of its server, or a second signal has come.
            return False

    def _close_clients(self, others_take_over: bool) -> None:
        plan = self._clients.start(self._timeout, others_take_over=others_take_over)
        _log.info(
            "draining: {clients} clients are closed within {seconds:.1f} s, {who}; they are asked to reconnect within "
            "{window:.1f} s, at most {rate} in 100 ms",
            clients=plan.clients,
            seconds=plan.close_window,
            who="other processes take over" if others_take_over else "no other node takes over",
            window=plan.first_reconnect + plan.reconnect_window,
            rate=plan.max_connects(),
        )
        if self._is_hurried:
            self._clients.hurry()

    def _is_done(self) -> bool:
        """Return whether every WebSocket is closed, and every complete HTTP request is answered."""
        return not (self._parts.admission.sockets or self._parts.site.state.requests_in_progress)

    def _seconds_left(self) -> float:
        return max(0.0, self._deadline - self._clock.monotonic())

    async def _wait_until(self, condition: Callable[[], bool], timeout_seconds: float) -> None:
        until = self._clock.monotonic() + timeout_seconds
        while not condition() and self._clock.monotonic() < min(until, self._deadline):
            polled: Deferred[None] = Deferred()
            self._reactor.callLater(_POLL_INTERVAL_SECONDS, polled.callback, None)
            await polled
