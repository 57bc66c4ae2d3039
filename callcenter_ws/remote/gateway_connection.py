"""One AMP connection to the gateway, seen from the daemon."""

# mypy: allow-untyped-calls
# Twisted has no annotations on most of AMP.

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Protocol

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from callcenter_ws.amp.commands import (
    REFUSALS,
    AmpRefusal,
    ClientEvent,
    Command,
    CommandOutcome,
    GatewayCommand,
    Ping,
    SyncState,
    refusal_of,
)
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.remote.reasons import connection_reason
from callcenter_ws.runtime.background import Task
from callcenter_ws.runtime.transports import TwistedTransport

CommandArguments = dict[str, Any]  # the values have the types of the command's declaration
CommandResponse = CommandArguments

CALL_TIMEOUT_SECONDS = 30.0
_LATER_COMMANDS = frozenset({SyncState, CommandOutcome})
"""Commands that a gateway may not know."""

PING_INTERVAL_SECONDS = 30.0

_log = Logger()


class ConnectionOwner(Protocol):
    """Receives what happens on a GatewayConnection."""

    def connection_made(self, connection: GatewayConnection) -> Task:
        """Prepare a new connection: authenticate on it. An exception aborts the connection."""

    def server_time(self, server_time_ms: int, sent_at: float) -> None:
        """Note the gateway's time in the answer to a request; ``sent_at`` is in seconds of the monotonic clock."""

    def waiting_events(self) -> int | None:
        """Return how many events wait to be sent or for an answer; None: unknown."""

    def connection_lost(self, connection: GatewayConnection) -> None:
        """Stop using a closed connection; its ``lost_reason`` says why it was closed."""

    def client_event(self, tenant_id: str, type_: str, payload: bytes, user_id: str | None, event_id: str) -> Task:
        """Handle ``ClientEvent``; returning acknowledges the event."""

    def command(self, **arguments: Any) -> Task:  # those of the declaration
        """Take a ``Command``. May raise Refusal: it is not carried out."""


class GatewayConnection(amp.AMP):
    """Calls the gateway's commands, with a timeout, and pings it to detect a connection that is dead.

    Every failure of a call is a ``Refusal``: that of the gateway, or ``unavailable`` for a broken connection. Nothing
    expected is logged here: the owner knows how often it happens.

    Attributes:
        lost_reason: why the connection is closed, or is being closed; empty while it is open.
        is_proven: whether the gateway has answered with a result that only an authorized daemon gets. The owner's
            ``connection_made`` and the sender set it.
    """

    transport: TwistedTransport

    def __init__(self, owner: ConnectionOwner, reactor: IReactorTime) -> None:
        super().__init__()
        self._owner = owner
        self._reactor = reactor
        self._keepalive = LoopingCall(self._ping)
        self._keepalive.clock = reactor
        self._abort: IDelayedCall | None = None
        self._answered = False
        self.lost_reason = ""
        self.is_proven = False

    def makeConnection(self, transport: TwistedTransport) -> None:
        """Start on a new connection, without the log line of AMP: attempts may be many."""
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionMade(self) -> None:
        """Start pinging, and have the owner prepare the connection."""
        super().connectionMade()
        self._keepalive.start(PING_INTERVAL_SECONDS, now=False)
        Deferred.fromCoroutine(self._owner.connection_made(self)).addErrback(self._failed)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Stop the timers, fail the calls in flight, and notify the owner."""
        if self._keepalive.running:
            self._keepalive.stop()
        if self._abort is not None and self._abort.active():
            self._abort.cancel()
        self.lost_reason = self.lost_reason or self._reason(reason.value)
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        # None again, as that of every AMP connection that is closed.
        del self.transport
        self._owner.connection_lost(self)

    async def call(self, command: type[GatewayCommand], **arguments: object) -> CommandResponse:
        """Call a command of the gateway and return its response.

        Without an answer within 30 s the connection is aborted.

        Raises:
            Refusal: the gateway's error; ``unavailable`` without an answer.
        """
        if self.transport is None:
            raise self._lost()
        try:
            sent_at = time.monotonic()
            answer: Deferred[CommandResponse] = self.callRemote(command, **arguments)
            response = await answer.addTimeout(CALL_TIMEOUT_SECONDS, self._reactor)
            self._answered = True
            if "server_time_ms" in response:
                self._owner.server_time(response["server_time_ms"], sent_at)
            return response
        except AmpRefusal as error:
            self._answered = True
            raise refusal_of(error.amp_code, str(error)) from None
        except defer.TimeoutError:
            self.abort(f"no answer to {command.__name__} within {CALL_TIMEOUT_SECONDS:g} s")
        except (amp.RemoteAmpError, amp.UnhandledCommand) as error:
            if command in _LATER_COMMANDS and isinstance(error, amp.UnhandledCommand):
                text = f"the gateway is of an earlier release, which does not know {command.__name__}"
                raise Refusal(ErrorCode.INVALID_EVENT, text) from None
            self.abort(f"{type(error).__name__} in answer to {command.__name__}; is it a gateway?")
        except (ConnectionClosed, SSL.Error, VerificationError):
            pass  # the reason is that of the connection
        raise self._lost()

    def _reason(self, error: BaseException | None) -> str:
        reason = connection_reason(error)
        if self._answered or not isinstance(error, ConnectionLost | ConnectionDone):
            return reason
        return f"{reason} without an AMP answer; is this the port of amp.listen?"

    def _lost(self) -> Refusal:
        return Refusal(ErrorCode.UNAVAILABLE, f"the connection to the gateway is lost: {self.lost_reason}")

    def abort(self, reason: str) -> None:
        """Close the connection at once, for ``reason``. Has no effect if it is closed or being closed."""
        if self.transport is not None and not self.lost_reason:
            self.lost_reason = reason
            self.transport.abortConnection()

    def abort_after(self, seconds: float) -> None:
        """Abort the connection if it is still open after ``seconds``."""
        self._abort = self._reactor.callLater(seconds, self.transport.abortConnection)

    def unhandledError(self, failure: Failure) -> None:  # noqa: N802 - Twisted's name
        """Log an unexpected error and abort the connection."""
        self._failed(failure)

    @ClientEvent.responder
    def client_event(
        self,
        tenant_id: str,
        type: str,  # noqa: A002 - the name on the wire
        payload: bytes,
        user_id: str | None,
        event_id: str,
    ) -> Deferred[dict[str, object]]:
        """Have the owner handle an event of the gateway; the answer acknowledges it."""
        handled = Deferred.fromCoroutine(self._owner.client_event(tenant_id, type, payload, user_id, event_id))
        return handled.addCallback(lambda _: {})

    @Command.responder
    def command(self, **arguments: Any) -> Deferred[dict[str, object]]:  # those of the declaration
        """Have the owner take a command; the answer says that it was stored, or why it is not carried out."""
        return Deferred.fromCoroutine(self._take(arguments))

    async def _take(self, arguments: CommandArguments) -> dict[str, object]:
        try:
            await self._owner.command(**arguments)
        except Refusal as refusal:
            raise REFUSALS[refusal.entry.amp_code](refusal.message) from None
        return {}

    def _ping(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._check_gateway()).addErrback(self._failed)

    async def _check_gateway(self) -> None:
        # Without an answer ``call`` has aborted the connection; any other Refusal shows that the gateway is alive.
        with suppress(Refusal):
            await self.call(Ping, waiting=self._owner.waiting_events())

    def _failed(self, failure: Failure) -> None:
        _log.failure("unhandled error on the connection to the gateway", failure)
        self.abort("an internal error of this daemon")
