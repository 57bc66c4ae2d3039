"""The session of one AMP peer: authentication state, dispatch of commands, limits on what is in flight."""

# mypy: allow-untyped-calls
# Twisted has no annotations on most of AMP.

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from callcenter_ws.amp.authenticator import UNIX_SOCKET
from callcenter_ws.amp.commands import AmpRefusal, Authenticate, ClientEvent, GatewayCommand, refusal_of, wire_error
from callcenter_ws.amp.connection_log import DaemonLog
from callcenter_ws.amp.daemon_subscription import DaemonSubscription
from callcenter_ws.amp.protocol import GatewayAMP
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal
from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.log_fields import reason_of
from callcenter_ws.sources.link import SourceLink

MAX_EVENTS_IN_FLIGHT = 1_000
MAX_BYTES_IN_FLIGHT = 8_388_608
AUTHENTICATION_TIMEOUT_SECONDS = 10.0
MAX_REFUSED_TOKENS = 3
MAX_UNAUTHENTICATED_COMMANDS = 3
MAX_UNKNOWN_COMMANDS = 20

_log = Logger()

Responder = Callable[..., Awaitable[dict[str, object]]]
"""Answers a command. Called with the session, and with the command's arguments by keyword; returns its response.

The arguments and the response of a command have the types of its declaration.
"""


class PeerSession(amp.BoxDispatcher):
    """Dispatches the boxes of one peer.

    Expected failures are answered with AMP errors and leave the connection open. Any other exception is logged with
    the command and the peer, and answered with ``UNAVAILABLE``. A peer that repeats violations is disconnected.

    Args:
        responders: what answers each command, by the command's name on the wire.
        ended: called once, when the connection is lost.
        authenticated: called whenever the peer has authenticated.
        refused: counts the commands that are answered with an error, by error code.
        log: logs the connection, which ``connection_log.LoggedDaemon`` describes.

    Attributes:
        connection: the number of the connection.
        received: events that the peer has published or tried to.
        delivered: events of its subscription that it has acknowledged.
        principal: of the peer's token; None until it has authenticated.
        subscription: the subscription of the peer, if it has one.
        source: the source that the peer has named in ``Hello``.
        drained: called when the transport has written everything; None: nothing waits for that but the subscription.
        says_hello: whether a ``Hello`` is being answered.
        is_over: whether the connection is lost.
        waiting_events: the events that wait at the peer, as its last ``Ping`` told.
    """

    _protocol: GatewayAMP

    def __init__(
        self,
        responders: Mapping[bytes, tuple[type[GatewayCommand], Responder]],
        clock: Clock,
        ended: Callable[[PeerSession], None],
        authenticated: Callable[[PeerSession], None] = lambda session: None,
        refused: dict[str, int] | None = None,
        *,
        log: DaemonLog,
        connection: int,
    ) -> None:
        super().__init__(self)
        self._log = log
        self._opened_at = clock.monotonic()
        self._closed_by_gateway = False
        self.connection = connection
        self.received = self.delivered = 0
        self._responders = responders
        self._clock = clock
        self._ended = ended
        self._authenticated = authenticated
        self._refused = {} if refused is None else refused
        self._deadline: Timer | None = None
        self._refused_tokens = 0
        self._unauthenticated_commands = 0
        self._unknown_commands = 0
        self._events_in_flight = 0
        self._bytes_in_flight = 0
        self._is_draining = False
        self.principal: Principal | None = None
        self.subscription: DaemonSubscription | None = None
        self.source: SourceLink | None = None
        self.drained: Callable[[], None] | None = None
        self.says_hello = False
        self.is_over = False
        self.waiting_events = 0

    # Connection

    @property
    def name(self) -> str:
        """The address of the peer, for log lines."""
        return self._protocol.peer

    @property
    def ip(self) -> str:
        """The address of the peer without its port."""
        return self._protocol.ip

    @property
    def seconds(self) -> float:
        """For how long the peer is connected."""
        return self._clock.monotonic() - self._opened_at

    @property
    def network(self) -> str:
        """The network of the peer."""
        return self._protocol.network

    @property
    def is_ended(self) -> bool:
        """Whether the connection was lost or is about to end."""
        return self.is_over or self._protocol.is_closing

    @property
    def writable(self) -> bool:
        """Whether the transport accepts more."""
        return self._protocol.writable

    def pause_reading(self, reason: str) -> None:
        """Read nothing from the peer; see ``GatewayAMP.pause_reading``."""
        self._protocol.pause_reading(reason)

    def resume_reading(self, reason: str) -> None:
        """Remove a reason of ``pause_reading``."""
        self._protocol.resume_reading(reason)

    def disconnect(self, reason: str) -> None:
        """Log ``reason`` and close the connection; see ``GatewayAMP.disconnect``."""
        self._protocol.disconnect(reason)

    def startReceivingBoxes(self, boxSender: GatewayAMP) -> None:  # noqa: N802, N803 - Twisted's names
        """Start on a new connection."""
        super().startReceivingBoxes(boxSender)
        self._protocol = boxSender
        if boxSender.trusted:
            self.principal = UNIX_SOCKET
            boxSender.authenticated()
            self._log.opened(self, UNIX_SOCKET)
        else:
            self._set_deadline(
                AUTHENTICATION_TIMEOUT_SECONDS, f"no valid Authenticate within {AUTHENTICATION_TIMEOUT_SECONDS:g} s"
            )

    def stopReceivingBoxes(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """End with the connection."""
        self.is_over = True
        if not self._closed_by_gateway:
            self._log.ended(self, reason)
        if self._deadline is not None:
            self._deadline.cancel()
        self._ended(self)
        super().stopReceivingBoxes(reason)

    def closing(self, reason: str, *, is_warning: bool) -> None:
        """Log that the gateway closes the connection."""
        self._closed_by_gateway = True
        self._log.closed(self, reason, is_warning=is_warning)

    def write_drained(self) -> None:
        """Continue the subscription: the transport has written everything."""
        if self.subscription is not None:
            self.subscription.send()
        if self.drained is not None:
            self.drained()

    def drain(self) -> None:
        """Stop reading, and close the connection when everything in flight is answered."""
        self._is_draining = True
        self._protocol.pause_reading("draining")
        if self._is_answered:
            self._protocol.close()

    @property
    def _is_answered(self) -> bool:
        """Whether every command that was dispatched has been answered."""
        return not (self._events_in_flight or self._bytes_in_flight)

    # Authentication

    def authenticated(self, principal: Principal) -> None:
        """Act for ``principal`` from now on, until its token expires."""
        before, self.principal = self.principal, principal
        self._protocol.authenticated()
        self._authenticated(self)
        self._refused_tokens = self._unauthenticated_commands = 0
        if principal.expires_at is None:
            self._set_deadline(None, "")
        else:
            self._set_deadline(principal.expires_at - self._clock.time(), "its token has expired")
        # A new token of the same user continues the connection.
        if before is None or (before.tenant_id, before.user_id) != (principal.tenant_id, principal.user_id):
            self._log.opened(self, principal)

    def token_refused(self, refusal: Refusal) -> None:
        """Count a refused token, and disconnect the peer at the limit."""
        self._refused_tokens += 1
        self._protocol.log_refusal(
            "Authenticate of AMP peer {peer} is refused: {code}, {reason}",
            code=refusal.code.value,
            reason=reason_of(refusal.message),
        )
        if self._refused_tokens >= MAX_REFUSED_TOKENS:
            self.disconnect(f"{MAX_REFUSED_TOKENS} refused tokens")

    def _set_deadline(self, seconds: float | None, reason: str) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self._clock.call_later(max(0.0, seconds), self.disconnect, reason)

    @contextmanager
    def in_flight(self, *, events: int = 0, size: int = 0) -> Iterator[None]:
        """Count ``events`` and ``size`` bytes as in flight. Beyond the limits, nothing is read from the peer."""
        self.received += events
        self._events_in_flight += events
        self._bytes_in_flight += size
        if self._events_in_flight > MAX_EVENTS_IN_FLIGHT or self._bytes_in_flight > MAX_BYTES_IN_FLIGHT:
            self._protocol.pause_reading("in flight")
        try:
            yield
        finally:
            self._events_in_flight -= events
            self._bytes_in_flight -= size
            if self._events_in_flight <= MAX_EVENTS_IN_FLIGHT and self._bytes_in_flight <= MAX_BYTES_IN_FLIGHT:
                self._protocol.resume_reading("in flight")
            if self._is_draining and self._is_answered:
                self._protocol.close()

    # Commands of the peer

    def ampBoxReceived(self, box: amp.AmpBox) -> None:  # noqa: N802 - Twisted's name
        """Dispatch a box; disconnect a peer whose box is neither a command nor an expected answer."""
        try:
            super().ampBoxReceived(box)
        except (KeyError, amp.NoEmptyBoxes):
            self.disconnect("a box that is neither a command nor the answer to one")

    def dispatchCommand(self, box: amp.AmpBox) -> Deferred[amp.AmpBox]:  # noqa: N802 - Twisted's name
        """Answer a command."""
        answer = Deferred.fromCoroutine(self._answer(box, sum(map(len, box.values()))))
        if amp.ASK not in box:
            # No answer is sent, and Twisted would log an error of it as unhandled.
            answer.addErrback(lambda failure: failure.trap(amp.RemoteAmpError))
        return answer

    async def _answer(self, box: amp.AmpBox, size: int) -> amp.AmpBox:
        name = box[amp.COMMAND]
        try:
            command, responder = self._find_responder(name)
            with self.in_flight(size=size):
                response = await responder(self, **arguments_of(command, box))
            answer: amp.AmpBox = command.makeResponse(response, self)
            return answer
        except Refusal as refusal:
            self._refused[refusal.code] = self._refused.get(refusal.code, 0) + 1
            raise wire_error(refusal) from None
        except amp.RemoteAmpError:
            raise
        except Exception:
            _log.failure(
                "unhandled error in AMP command {command} of peer {peer}", command=_for_log(name), peer=self.name
            )
            internal = Refusal(ErrorCode.UNAVAILABLE, "internal error of the gateway; its log has the details")
            raise wire_error(internal) from None

    def _find_responder(self, name: bytes) -> tuple[type[GatewayCommand], Responder]:
        if name == amp.StartTLS.commandName:
            self.disconnect("it sent StartTLS, which is not supported; use an ssl: endpoint")
        if self.principal is None and name != Authenticate.commandName:
            self._unauthenticated_commands += 1
            if self._unauthenticated_commands == 1:
                self._protocol.log_refusal(
                    "AMP peer {peer}: {command} before Authenticate is refused",
                    command=_for_log(name) if name in self._responders else "an unknown command",
                )
            if self._unauthenticated_commands >= MAX_UNAUTHENTICATED_COMMANDS:
                self.disconnect(f"{MAX_UNAUTHENTICATED_COMMANDS} commands before Authenticate")
            raise Refusal(ErrorCode.UNAUTHORIZED, "call Authenticate with a valid token first")
        found = self._responders.get(name)
        if found is None:
            self._unknown_commands += 1
            if self._unknown_commands >= MAX_UNKNOWN_COMMANDS:
                self.disconnect(f"{MAX_UNKNOWN_COMMANDS} unknown commands in a row")
            raise amp.RemoteAmpError(amp.UNHANDLED_ERROR_CODE, f"Unhandled Command: {_for_log(name)}")
        self._unknown_commands = 0
        return found

    # Commands to the peer

    def client_event(self, publication: Publication) -> Deferred[None]:
        """Call ``ClientEvent`` of the peer; see ``daemon_subscription.ClientEventReceiver``."""
        return Deferred.fromCoroutine(self._client_event(publication))

    async def _client_event(self, publication: Publication) -> None:
        event = publication.event
        try:
            await self.callRemote(
                ClientEvent,
                tenant_id=event.tenant_id,
                type=event.type.name,
                payload=event.payload,
                user_id=event.user_id,
                event_id=event.event_id,
            )
            self.delivered += 1
        except AmpRefusal as error:
            raise refusal_of(error.amp_code, str(error)) from None
        except (amp.RemoteAmpError, amp.UnhandledCommand) as error:
            raise Refusal(ErrorCode.UNAVAILABLE, f"{type(error).__name__} from the peer") from None
        except ConnectionClosed:
            # Not a Refusal: the DaemonSubscription keeps the publication for the peer's next connection.
            raise


def arguments_of(command: type[GatewayCommand], box: amp.AmpBox) -> dict[str, object]:
    """Return the arguments of a command, decoded from its box.

    Raises:
        Refusal: ``invalid_event`` with the name of the argument that is missing or malformed, ``too_large``.
    """
    arguments: dict[str, object] = {}
    for name, argument in command.arguments:
        try:
            argument.fromBox(name, box, arguments, None)
        except KeyError:
            raise Refusal(ErrorCode.INVALID_EVENT, f"{name.decode()}: required") from None
        except (ValueError, TypeError):
            kind = type(argument).__name__
            raise Refusal(ErrorCode.INVALID_EVENT, f"{name.decode()}: not an AMP {kind}") from None
    return arguments


def _for_log(name: bytes) -> str:
    """Return a command name, which the peer may have chosen freely, in a short and printable form."""
    return ascii(name[:64].decode("utf-8", "backslashreplace"))[1:-1]
