"""One connection to the manager interface: passes bytes to its session in slices, and its output to the exchange."""

from __future__ import annotations

from collections import deque
from typing import Protocol as Interface

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.bridge.asterisk.session import AmiSession, SessionState
from callcenter_ws.bridge.loss import Loss, LostReason
from callcenter_ws.remote.reasons import connection_reason
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.slicer import Slicer
from callcenter_ws.runtime.transports import TwistedTransport

TICK_SECONDS = 0.5
STEP_SECONDS = 0.001
"""How long one step of the slicer handles messages."""

MAX_BACKLOG_BYTES = 67_108_864
"""Received bytes that are not handled yet. The exchange is always read, since it drops a slow reader itself; a session
with a larger backlog is ended, and the next one learns the state from the lists."""

_log = Logger()


class SessionOwner(Interface):
    """Makes the sessions, and receives what becomes of them."""

    clock: Clock
    slicer: Slicer

    def opened(self, protocol: SessionProtocol) -> None:
        """Use a new connection."""

    def new_session(self) -> AmiSession:
        """Return a session that has not begun; raises ``ValueError`` if there are no usable credentials."""

    def may_work(self, protocol: SessionProtocol) -> bool:
        """Return whether a connection may handle what it has received."""

    def closing(self, protocol: SessionProtocol) -> None:
        """Note that a connection is closed, but not all that it received is handled."""

    def pass_time(self) -> None:
        """Let the machine do what is due."""

    def handled(self) -> None:
        """Pass on what the machine has made."""

    def logged_in(self) -> None:
        """Report an accepted login."""

    def synchronized(self, session: AmiSession) -> None:
        """Report complete lists."""

    def ended(self, protocol: SessionProtocol, loss: Loss) -> None:
        """Report the end of a session."""


class SessionProtocol(Protocol):
    """One connection: passes bytes to its session in slices, and what the session sends to the exchange."""

    transport: TwistedTransport

    def __init__(self, owner: SessionOwner) -> None:
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

    def flush(self) -> None:
        """Send what the session has to send."""
        if self.session is not None and not self._is_ended:
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
            is_more = False
            self._break(session)
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
            is_comparing = session.is_comparing
            has_more = session.step(self._arrived)
            if is_comparing:
                # What a comparison finds may be much: the spool takes it in small units.
                self._owner.handled()
            if not has_more:
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
            self._owner.logged_in()
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
        if self._closed is None:
            self.transport.abortConnection()
        self._owner.ended(self, loss)

    def _tick(self) -> None:
        session = self.session
        if session is None or self._is_ended:
            return
        self._timer = self._owner.clock.call_later(TICK_SECONDS, self._tick)
        session.tick(self._owner.clock.monotonic())
        if session.is_idle and not self._chunks and not self._is_scheduled:
            try:
                self._owner.pass_time()
            except Exception:
                self._break(session)
            if session.is_comparing:
                self._schedule()
        self._settle(session)

    def _break(self, session: AmiSession) -> None:
        """Log the present exception, and end the session: the lists of the next one correct what was missed."""
        _log.failure("unhandled error in the session with an exchange")
        session.lose(LostReason.PROTOCOL_ERROR, "an internal error of the bridge")


def _loss_of(error: BaseException | None, session: AmiSession | None) -> Loss:
    """Return the loss that a closed connection is."""
    if isinstance(error, (SSL.Error, VerificationError)):
        return Loss(LostReason.TLS_FAILED, connection_reason(error, "the exchange"))
    if not isinstance(error, (ConnectionDone, ConnectionLost)):
        return Loss(LostReason.CONNECTION_LOST, connection_reason(error, "the exchange"))
    what = "the exchange closed the connection" if isinstance(error, ConnectionDone) else "the connection broke"
    if session is not None and session.state is SessionState.CONNECTING:
        what += " before it greeted; is this the port of its manager interface?"
    elif session is not None and session.state is SessionState.LOGGING_IN:
        what += " during the login"
    return Loss(LostReason.CONNECTION_LOST, what)
