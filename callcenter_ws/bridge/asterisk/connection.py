"""The connection to the manager interface of one exchange: connects, keeps a session, reconnects with back-off."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from typing import Protocol as Interface

from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory

from callcenter_ws.bridge.asterisk.login import Credentials
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.session import AmiSession, Machine
from callcenter_ws.bridge.asterisk.session_protocol import SessionProtocol
from callcenter_ws.bridge.exchange_connection import ExchangeListener
from callcenter_ws.bridge.loss import Loss, LostReason
from callcenter_ws.bridge.outgoing import Unit
from callcenter_ws.bridge.traffic import Traffic
from callcenter_ws.remote.reasons import connection_reason
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.client_service import QuietClientService, ReportingEndpoint
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.slicer import Slicer

FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.5, 10.0
FIRST_REFUSED_SECONDS, MAX_REFUSED_SECONDS = 20.0, 300.0
"""The delays after a refusal. It needs an operator, and programs like fail2ban lock out who tries often."""


class ExchangeMachine(Machine, Interface):
    """The state machine of the exchange."""

    def pass_time(self, arrived: float) -> None:
        """Do what is due at a Unix time, though no event has come."""

    def take(self) -> Unit:
        """Return what has to be sent since the last call."""


class SessionUser(Interface):
    """Sends actions of its own in the sessions: ``commands.runner.Runner``."""

    def connected(self, send: Callable[..., str], version: str) -> None:
        """Use a session, whose exchange is known."""

    def disconnected(self) -> None:
        """Note that there is no session any more."""

    def respond(self, message: AmiMessage) -> None:
        """Take the response to an action."""


class AmiConnection:
    """Maintains one session with an exchange.

    Args:
        endpoint: a Twisted client endpoint.
        credentials: called for each connection: the secret may have changed. May raise ``ValueError``, with a text
            that does not hold the secret.
        slicer: divides the work of all exchanges over turns of the reactor.
        wanted: the events that the machine wants; None: all.
        ping_interval, audit_interval: as in ``SourceSettings``.

    Attributes:
        user: sends actions of its own; None: nothing does.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        reactor: IReactorTime,
        clock: Clock,
        slicer: Slicer,
        credentials: Callable[[], Credentials],
        machine: ExchangeMachine,
        listener: ExchangeListener,
        *,
        wanted: frozenset[str] | None = None,
        ping_interval: float = 15.0,
        audit_interval: float = 3_600.0,
    ) -> None:
        self._credentials = credentials
        self._machine = machine
        self._wanted = wanted
        self._ping_interval = ping_interval
        self._audit_interval = audit_interval
        self.user: SessionUser | None = None
        self._used: AmiSession | None = None
        self.clock = clock
        self.slicer = slicer
        self.listener = listener
        self._ended_sessions = Traffic()
        self._over_limit: Counter[str] = Counter()
        self._backoff = Backoff(FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS)
        self._refused_backoff = Backoff(FIRST_REFUSED_SECONDS, MAX_REFUSED_SECONDS)
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._protocol: SessionProtocol | None = None
        # The protocol before it, while what it received is still being handled.
        self._draining: SessionProtocol | None = None
        factory = Factory.forProtocol(lambda: SessionProtocol(self))
        factory.noisy = False
        self._is_stopped = True
        self._service = QuietClientService(
            ReportingEndpoint(endpoint, self._unreachable), factory, retryPolicy=self._retry_delay, clock=reactor
        )

    def start(self) -> None:
        """Connect, and reconnect until ``stop``."""
        self._is_stopped = False
        self._service.startService()

    async def stop(self) -> None:
        """End the session, and do not reconnect. The listener is not told."""
        self._is_stopped = True
        self._disuse()
        if self._protocol is not None:
            self._protocol.stop()
        await self._service.stopService()

    def flush(self) -> None:
        """Send the actions of ``user`` that wait in the session."""
        if self._protocol is not None:
            self._protocol.flush()

    def audit(self) -> None:
        """Compare with the exchange's lists now, or as soon as there is a session."""
        if self._protocol is not None:
            self._protocol.audit()

    @property
    def traffic(self) -> Traffic:
        """What came from the exchange so far."""
        total = self._ended_sessions
        for session in self._sessions():
            total = total.plus(_traffic_of(session))
        return total

    @property
    def over_limit(self) -> Counter[str]:
        """What the framing dropped so far, by kind."""
        return sum((session.framing.over_limit for session in self._sessions()), start=self._over_limit)

    def _sessions(self) -> list[AmiSession]:
        """Return the sessions that have not ended."""
        found = [protocol.session for protocol in (self._draining, self._protocol) if protocol is not None]
        return list({id(session): session for session in found if session is not None}.values())

    def new_session(self) -> AmiSession:
        """Return a session that has not begun.

        Raises:
            ValueError: there are no usable credentials.
        """
        return AmiSession(
            self._credentials(),
            self._machine,
            f"ccws-{secrets.token_hex(8)}",
            wanted=self._wanted,
            ping_interval=self._ping_interval,
            audit_interval=self._audit_interval,
        )

    # What the protocol calls

    def opened(self, protocol: SessionProtocol) -> None:
        """Use a new connection."""
        self._protocol = protocol

    def may_work(self, protocol: SessionProtocol) -> bool:
        """Return whether a connection may handle what it has received: not before all of the last one is handled."""
        return self._draining is None or self._draining is protocol

    def closing(self, protocol: SessionProtocol) -> None:
        """Note that a connection is closed, but not all that it received is handled."""
        self._draining = protocol

    def pass_time(self) -> None:
        """Let the machine do what is due."""
        self._machine.pass_time(self.clock.time())

    def handled(self) -> None:
        """Pass on what the machine has made."""
        unit = self._machine.take()
        if (unit.events or unit.records) and not self._is_stopped:
            self.listener.handle_unit(unit)

    def logged_in(self) -> None:
        """Report an accepted login."""
        self.listener.logged_in()

    def synchronized(self, session: AmiSession) -> None:
        """Report complete lists; the next failure begins with a short delay again."""
        self._backoff.reset()
        self._refused_backoff.reset()
        self.listener.synchronized(session.version, session.boot)
        if self.user is not None and self._used is not session and not self._is_stopped:
            self._disuse()
            self._used, session.responses = session, self.user.respond
            self.user.connected(session.act, session.version)
            self.flush()

    def _disuse(self) -> None:
        """Tell the user of the session that it has ended."""
        used, self._used = self._used, None
        if used is not None:
            used.responses = None
            if self.user is not None:
                self.user.disconnected()

    def ended(self, protocol: SessionProtocol, loss: Loss) -> None:
        """Report the end of a session."""
        if protocol.session is not None:
            self._ended_sessions.add(_traffic_of(protocol.session))
            self._over_limit += protocol.session.framing.over_limit
        if self._used is not None and self._used is protocol.session:
            self._disuse()
        if self._draining is protocol:
            self._draining = None
        if self._protocol is protocol:
            self._protocol = None
        elif self._protocol is not None:
            self._protocol.resume()
        self._failed(loss)

    def _unreachable(self, error: BaseException | None) -> None:
        reason = connection_reason(error, "the exchange")
        self._failed(Loss(LostReason.UNREACHABLE, f"cannot connect: {reason}"))

    def _failed(self, loss: Loss) -> None:
        backoff = self._refused_backoff if loss.needs_operator else self._backoff
        self._retry_seconds = backoff.delay()
        if not self._is_stopped:
            self.listener.lost(loss, self._retry_seconds)

    def _retry_delay(self, _: int) -> float:
        return self._retry_seconds


def _traffic_of(session: AmiSession) -> Traffic:
    return Traffic(session.framing.messages, session.framing.skipped, 1, session.abandoned_audits)
