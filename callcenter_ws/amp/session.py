"""One daemon's session: who it is, what it may ask, and how it is told no."""

# mypy: allow-untyped-calls
# Twisted has no annotations on most of AMP.

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from callcenter_ws.amp.commands import AmpRefusal, Authenticate, ClientEvent, GatewayCommand, refusal_of, wire_error
from callcenter_ws.amp.credentials import LOCAL
from callcenter_ws.amp.protocol import GatewayAMP
from callcenter_ws.amp.subscription import Subscription
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal
from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.clock import Clock, Timer

EVENTS_IN_FLIGHT = 1_000
BYTES_IN_FLIGHT = 8_388_608
AUTH_TIMEOUT = 10.0
REFUSED_TOKENS = 3
STRANGER_COMMANDS = 3
UNKNOWN_COMMANDS = 20

_log = Logger()

Responder = Callable[..., Awaitable[dict[str, Any]]]
"""Answers a command: called with the session and the command's arguments by keyword."""


class PeerSession(amp.BoxDispatcher):
    """Dispatches the boxes of one peer.

    Expected failures become AMP errors and keep the link. A bug is logged with the command and the peer, who
    gets ``UNAVAILABLE``. A peer that keeps doing what it may not is cut off.

    Args:
        responders: what answers each command, by its name on the wire.
        gone: called once when the connection is lost.

    Attributes:
        principal: who it speaks for; None until it has authenticated.
        subscription: what it has subscribed to, if anything.
    """

    _wire: GatewayAMP

    def __init__(
        self,
        responders: Mapping[bytes, tuple[type[GatewayCommand], Responder]],
        clock: Clock,
        gone: Callable[[PeerSession], None],
    ) -> None:
        super().__init__(self)
        self._responders = responders
        self._clock = clock
        self._gone = gone
        self._deadline: Timer | None = None
        self._refused_tokens = 0
        self._stranger_commands = 0
        self._unknown_commands = 0
        self._events = 0
        self._bytes = 0
        self._is_finishing = False
        self.principal: Principal | None = None
        self.subscription: Subscription | None = None

    # Connection

    @property
    def name(self) -> str:
        """Who it is, for log lines."""
        return self._wire.peer

    @property
    def writable(self) -> bool:
        """Whether the peer keeps up with what is written to it."""
        return self._wire.writable

    def cut_off(self, reason: str) -> None:
        """End the connection; see ``GatewayAMP.cut_off``."""
        self._wire.cut_off(reason)

    def startReceivingBoxes(self, boxSender: GatewayAMP) -> None:  # noqa: N802, N803 - Twisted's names
        """The connection is there."""
        super().startReceivingBoxes(boxSender)
        self._wire = boxSender
        if boxSender.trusted:
            self.principal = LOCAL
            boxSender.admit()
        else:
            self._limit(AUTH_TIMEOUT, f"no valid Authenticate within {AUTH_TIMEOUT:g} s")

    def stopReceivingBoxes(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """The connection is lost."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._gone(self)
        super().stopReceivingBoxes(reason)

    def drained(self) -> None:
        """The peer has read everything written to it."""
        if self.subscription is not None:
            self.subscription.feed()

    def finish(self) -> None:
        """Read no more, and hang up as soon as everything in flight is answered."""
        self._is_finishing = True
        self._wire.hold("finishing")
        if not self._events:
            self._wire.hang_up()

    # Who it is

    def authenticated(self, principal: Principal) -> None:
        """The peer has proven who it is."""
        self.principal = principal
        self._wire.admit()
        self._refused_tokens = self._stranger_commands = 0
        if principal.expires_at is None:
            self._limit(None, "")
        else:
            self._limit(principal.expires_at - self._clock.time(), "its token has expired")
        _log.info(
            "AMP peer {peer} is {user_id!r} for tenant {tenant_id!r}",
            peer=self.name,
            user_id=principal.user_id,
            tenant_id=principal.tenant_id,
        )

    def token_refused(self) -> None:
        """The peer tried a token that is no good."""
        self._refused_tokens += 1
        _log.info("AMP peer {peer} is refused: its token is no good", peer=self.name)
        if self._refused_tokens >= REFUSED_TOKENS:
            self.cut_off(f"{REFUSED_TOKENS} refused tokens")

    def _limit(self, seconds: float | None, reason: str) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self._clock.call_later(max(0.0, seconds), self.cut_off, reason)

    @contextmanager
    def carrying(self, *, events: int = 0, size: int = 0) -> Iterator[None]:
        """Count ``events`` and ``size`` bytes as in flight; the peer is not read while there are too many."""
        self._events += events
        self._bytes += size
        if self._events > EVENTS_IN_FLIGHT or self._bytes > BYTES_IN_FLIGHT:
            self._wire.hold("in flight")
        try:
            yield
        finally:
            self._events -= events
            self._bytes -= size
            if self._events <= EVENTS_IN_FLIGHT and self._bytes <= BYTES_IN_FLIGHT:
                self._wire.release("in flight")
            if self._is_finishing and not self._events:
                self._wire.hang_up()

    # Questions

    def ampBoxReceived(self, box: amp.AmpBox) -> None:  # noqa: N802 - Twisted's name
        """Dispatch a box."""
        try:
            super().ampBoxReceived(box)
        except (KeyError, amp.NoEmptyBoxes):
            self.cut_off("a box that is no question and answers nothing that was asked")

    def dispatchCommand(self, box: amp.AmpBox) -> Deferred[amp.AmpBox]:  # noqa: N802 - Twisted's name
        """Answer a question."""
        answer = Deferred.fromCoroutine(self._answer(box, sum(map(len, box.values()))))
        if amp.ASK not in box:
            # Nobody waits for the answer, and Twisted takes an error without a taker for a bug.
            answer.addErrback(lambda failure: failure.trap(amp.RemoteAmpError))
        return answer

    async def _answer(self, box: amp.AmpBox, size: int) -> amp.AmpBox:
        name = box[amp.COMMAND]
        try:
            command, responder = self._find(name)
            with self.carrying(size=size):
                response = await responder(self, **arguments_of(command, box))
            answer: amp.AmpBox = command.makeResponse(response, self)
            return answer
        except Refusal as refusal:
            raise wire_error(refusal) from None
        except amp.RemoteAmpError:
            raise
        except Exception:
            _log.failure("AMP command {command} of peer {peer} failed", command=_shown(name), peer=self.name)
            internal = Refusal(ErrorCode.UNAVAILABLE, "the gateway met an error of its own; its log says more")
            raise wire_error(internal) from None

    def _find(self, name: bytes) -> tuple[type[GatewayCommand], Responder]:
        if name == amp.StartTLS.commandName:
            self.cut_off("it asked for StartTLS, which an ssl: endpoint stands for")
        if self.principal is None and name != Authenticate.commandName:
            self._stranger_commands += 1
            if self._stranger_commands >= STRANGER_COMMANDS:
                self.cut_off(f"{STRANGER_COMMANDS} commands before Authenticate")
            raise Refusal(ErrorCode.UNAUTHORIZED, "call Authenticate with a valid token first")
        found = self._responders.get(name)
        if found is None:
            self._unknown_commands += 1
            if self._unknown_commands >= UNKNOWN_COMMANDS:
                self.cut_off(f"{UNKNOWN_COMMANDS} unknown commands in a row")
            raise amp.RemoteAmpError(amp.UNHANDLED_ERROR_CODE, f"Unhandled Command: {_shown(name)}")
        self._unknown_commands = 0
        return found

    # Calls of our own

    def client_event(self, message: Publication) -> Deferred[None]:
        """Call the peer with a message; see ``subscription.Callee``."""
        return Deferred.fromCoroutine(self._client_event(message))

    async def _client_event(self, message: Publication) -> None:
        event = message.event
        try:
            await self.callRemote(
                ClientEvent,
                tenant_id=event.tenant_id,
                type=event.type.name,
                payload=event.payload,
                user_id=event.user_id,
                event_id=event.event_id,
            )
        except AmpRefusal as error:
            raise refusal_of(error.amp_code, str(error)) from None
        except (amp.RemoteAmpError, amp.UnhandledCommand) as error:
            raise Refusal(ErrorCode.UNAVAILABLE, f"{type(error).__name__} from the peer") from None
        except ConnectionClosed:
            # Says what it is to the Subscription, which keeps the message for the peer's return.
            raise


def arguments_of(command: type[GatewayCommand], box: amp.AmpBox) -> dict[str, Any]:
    """Return the arguments of a command out of its box.

    Raises:
        Refusal: ``invalid_event`` with the name of the argument that is missing or malformed, ``too_large``.
    """
    arguments: dict[str, Any] = {}
    for name, argument in command.arguments:
        try:
            argument.fromBox(name, box, arguments, None)
        except KeyError:
            raise Refusal(ErrorCode.INVALID_EVENT, f"{name.decode()}: required") from None
        except (ValueError, TypeError):
            kind = type(argument).__name__
            raise Refusal(ErrorCode.INVALID_EVENT, f"{name.decode()}: not an AMP {kind}") from None
    return arguments


def _shown(name: bytes) -> str:
    return repr(name[:64])
