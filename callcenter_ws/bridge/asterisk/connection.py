"""The connection to the manager interface of one exchange: connects, keeps a session, reconnects with back-off."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from typing import Protocol as Interface

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from callcenter_ws.bridge.asterisk.login import Credentials
from callcenter_ws.bridge.asterisk.loss import Loss, LostReason
from callcenter_ws.bridge.asterisk.session import AmiSession, Machine, SessionState
from callcenter_ws.bridge.asterisk.traffic import Traffic
from callcenter_ws.bridge.outgoing import Unit
from callcenter_ws.remote.reasons import connection_reason
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.slicer import Slicer
from callcenter_ws.runtime.transports import TwistedTransport

TICK_SECONDS = 0.5
STEP_SECONDS = 0.001
"""How long one step of the slicer handles messages."""

MAX_BACKLOG_BYTES = 67_108_864
"""Received bytes that are not handled yet. The exchange is always read, since it drops a slow reader itself; a session
with a larger backlog is ended, and the next one learns the state from the lists."""

FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.5, 30.0
FIRST_REFUSED_SECONDS, MAX_REFUSED_SECONDS = 20.0, 300.0
"""The delays after a refusal. It needs an operator, and programs like fail2ban lock out who tries often."""

_log = Logger()
_NO_OBSERVER = LogPublisher()


class ExchangeMachine(Machine, Interface):
    """The state machine of the exchange."""

    def take(self) -> Unit:
        """Return what has to be sent since the last call."""


class ExchangeListener(Interface):
    """Receives what becomes of the connection, in order. Implemented by the service of the bridge."""

    def logged_in(self) -> None:
        """Note that the exchange has accepted the login; it is not synchronized yet."""

    def handle_unit(self, unit: Unit) -> None:
        """Send and store what the machine has made."""

    def synchronized(self, version: str, boot: str) -> None:
        """Note that the machine knows the state of the exchange; called after each audit too."""

    def lost(self, loss: Loss, retry_seconds: float) -> None:
        """Note that there is no session, and when the next attempt is; called after each attempt that fails."""


def is_private(endpoint: EndpointDescription) -> bool:
    """Return whether others cannot listen to a client endpoint: TLS, or this machine."""
    if endpoint.kind in ("tls", "unix"):
        return True
    host = endpoint.options.get("host") or (endpoint.positional[0] if endpoint.positional else "")
    return host in ("localhost", "::1") or host.startswith("127.")


class _ClientService(ClientService):
    """A ``ClientService`` that does not log each attempt: the listener is told of each."""

    _log = Logger(observer=_NO_OBSERVER)


@implementer(IStreamClientEndpoint)
class _ReportingEndpoint:
    """An endpoint that reports why it cannot connect."""

    def __init__(self, endpoint: IStreamClientEndpoint, failed: Callable[[Loss], None]) -> None:
        self._endpoint = endpoint
        self._failed = failed

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803 - Twisted's name
        """Connect; report a failure, and fail."""
        connecting: Deferred[IProtocol] = self._endpoint.connect(protocolFactory)
        return connecting.addErrback(self._report)

    def _report(self, failure: Failure) -> Failure:
        self._failed(Loss(LostReason.UNREACHABLE, f"cannot connect: {connection_reason(failure.value)}"))
        return failure


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
        ended_sessions: what came in sessions that have ended.
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
        self.clock = clock
        self.slicer = slicer
        self.listener = listener
        self.ended_sessions = Traffic()
        self._backoff = Backoff(FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS)
        self._refused_backoff = Backoff(FIRST_REFUSED_SECONDS, MAX_REFUSED_SECONDS)
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._protocol: _AmiProtocol | None = None
        # The protocol before it, while what it received is still being handled.
        self._draining: _AmiProtocol | None = None
        factory = Factory.forProtocol(lambda: _AmiProtocol(self))
        factory.noisy = False
        self._is_stopped = True
        self._service = _ClientService(
            _ReportingEndpoint(endpoint, self._failed), factory, retryPolicy=self._retry_delay, clock=reactor
        )

    def start(self) -> None:
        """Connect, and reconnect until ``stop``."""
        self._is_stopped = False
        self._service.startService()

    async def stop(self) -> None:
        """End the session, and do not reconnect. The listener is not told."""
        self._is_stopped = True
        if self._protocol is not None:
            self._protocol.stop()
        await self._service.stopService()

    def audit(self) -> None:
        """Compare with the exchange's lists now, or as soon as there is a session."""
        if self._protocol is not None:
            self._protocol.audit()

    @property
    def traffic(self) -> Traffic:
        """What came from the exchange so far."""
        return self.ended_sessions.plus(self._protocol.session if self._protocol is not None else None)

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

    def opened(self, protocol: _AmiProtocol) -> None:
        """Use a new connection."""
        self._protocol = protocol

    def may_work(self, protocol: _AmiProtocol) -> bool:
        """Return whether a connection may handle what it has received: not before all of the last one is handled."""
        return self._draining is None or self._draining is protocol

    def closing(self, protocol: _AmiProtocol) -> None:
        """Note that a connection is closed, but not all that it received is handled."""
        self._draining = protocol

    def handled(self) -> None:
        """Pass on what the machine has made."""
        unit = self._machine.take()
        if (unit.events or unit.records) and not self._is_stopped:
            self.listener.handle_unit(unit)

    def synchronized(self, session: AmiSession) -> None:
        """Report complete lists; the next failure begins with a short delay again."""
        self._backoff.reset()
        self._refused_backoff.reset()
        self.listener.synchronized(session.version, session.boot)

    def ended(self, protocol: _AmiProtocol, loss: Loss) -> None:
        """Report the end of a session."""
        if self._draining is protocol:
            self._draining = None
        if self._protocol is protocol:
            self._protocol = None
        elif self._protocol is not None:
            self._protocol.resume()
        self._failed(loss)

    def _failed(self, loss: Loss) -> None:
        backoff = self._refused_backoff if loss.needs_operator else self._backoff
        self._retry_seconds = backoff.delay()
        if not self._is_stopped:
            self.listener.lost(loss, self._retry_seconds)

    def _retry_delay(self, _: int) -> float:
        return self._retry_seconds


class _AmiProtocol(Protocol):
    """One connection: passes bytes to its session in slices, and what the session sends to the exchange."""

    transport: TwistedTransport

    def __init__(self, owner: AmiConnection) -> None:
        self._owner = owner
        self.session: AmiSession | None = None
        self._chunks: deque[tuple[bytes, float]] = deque()
        self._backlog = 0
        self._arrived = 0.0
        self._timer: Timer | None = None
        self._is_scheduled = False
        self._is_logged_in = False
        self._synchronizations = 0
        self._closed: Loss | None = None
        self._is_ended = False

    def connectionMade(self) -> None:
        """Begin a session."""
        self._owner.opened(self)
        try:
            self.session = self._owner.new_session()
        except ValueError as error:
            # Not now: ClientService does not know the connection yet.
            loss = Loss(LostReason.LOGIN_REFUSED, str(error))
            self._owner.slicer.call(lambda: self._end(loss))
            return
        self.session.tick(self._owner.clock.monotonic())
        self._timer = self._owner.clock.call_later(TICK_SECONDS, self._tick)

    def dataReceived(self, data: bytes) -> None:
        """Keep the bytes for the next slice."""
        session = self.session
        if session is None or self._is_ended:
            return
        self._chunks.append((data, self._owner.clock.time()))
        self._backlog += len(data)
        if self._backlog > MAX_BACKLOG_BYTES:
            session.lose(LostReason.OVERLOADED, "events come faster than they can be handled")
            self._settle(session)
        self._schedule()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the session, once all that was received is handled."""
        if self._is_ended:
            self._closed = Loss(LostReason.CONNECTION_LOST, "")
            return
        self._closed = _loss_of(reason.value, self.session)
        self._owner.closing(self)
        self._schedule()

    def stop(self) -> None:
        """End the session without a report."""
        self._end(Loss(LostReason.STOPPED, "the bridge stops"))

    def audit(self) -> None:
        """Ask for the lists."""
        if self.session is not None and not self._is_ended:
            self.session.audit()
            self._settle(self.session)

    def resume(self) -> None:
        """Handle what has been received while an earlier connection was in the way."""
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled and self._owner.may_work(self):
            self._is_scheduled = True
            self._owner.slicer.call(self._work)

    def _work(self) -> None:
        """Handle messages for ``STEP_SECONDS``."""
        self._is_scheduled = False
        session = self.session
        if session is None or self._is_ended:
            self._finish(session)
            return
        try:
            is_more = self._take_steps(session)
        except Exception:
            _log.failure("unhandled error in the session with an exchange")
            session.lose(LostReason.PROTOCOL_ERROR, "an internal error of the bridge")
            is_more = False
        self._settle(session)
        if is_more and not self._is_ended:
            self._schedule()
        else:
            self._finish(session)

    def _take_steps(self, session: AmiSession) -> bool:
        """Return whether there is more to do."""
        monotonic = self._owner.clock.monotonic
        until = monotonic() + STEP_SECONDS
        while session.state is not SessionState.LOST:
            if not session.step(self._arrived):
                if not self._chunks:
                    return False
                data, self._arrived = self._chunks.popleft()
                self._backlog -= len(data)
                session.feed(data)
            if monotonic() >= until:
                return True
        return False

    def _finish(self, session: AmiSession | None) -> None:
        """End the session of a closed connection."""
        if self._closed is not None and not self._is_ended:
            self._end(session.loss or self._closed if session is not None else self._closed)

    def _settle(self, session: AmiSession) -> None:
        """Pass on what the session has brought about: units, what it sends, changes of its state."""
        self._owner.handled()
        output = session.take_output()
        if output and self._closed is None:
            self.transport.write(output)
        if session.state not in (SessionState.CONNECTING, SessionState.LOGGING_IN, SessionState.LOST):
            self._note_progress(session)
        if session.loss is not None:
            self._end(session.loss)

    def _note_progress(self, session: AmiSession) -> None:
        if not self._is_logged_in:
            self._is_logged_in = True
            self._owner.listener.logged_in()
        if session.is_synchronized and session.synchronizations > self._synchronizations:
            self._synchronizations = session.synchronizations
            self._owner.synchronized(session)

    def _end(self, loss: Loss) -> None:
        if self._is_ended:
            return
        self._is_ended = True
        self._chunks.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self.session is not None:
            self._owner.ended_sessions.add_session(self.session)
        if self._closed is None:
            self.transport.abortConnection()
        self._owner.ended(self, loss)

    def _tick(self) -> None:
        session = self.session
        if session is None or self._is_ended:
            return
        self._timer = self._owner.clock.call_later(TICK_SECONDS, self._tick)
        session.tick(self._owner.clock.monotonic())
        self._settle(session)


def _loss_of(error: BaseException | None, session: AmiSession | None) -> Loss:
    """Return the loss that a closed connection is."""
    if isinstance(error, (SSL.Error, VerificationError)):
        return Loss(LostReason.TLS_FAILED, connection_reason(error))
    if not isinstance(error, (ConnectionDone, ConnectionLost)):
        return Loss(LostReason.CONNECTION_LOST, connection_reason(error))
    what = "the exchange closed the connection" if isinstance(error, ConnectionDone) else "the connection broke"
    if session is not None and session.state is SessionState.CONNECTING:
        what += " before it greeted; is this the port of its manager interface?"
    elif session is not None and session.state is SessionState.LOGGING_IN:
        what += " during the login"
    return Loss(LostReason.CONNECTION_LOST, what)
