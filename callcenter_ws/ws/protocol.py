"""One WebSocket: Autobahn's protocol on the socket's side, a Client on the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from callcenter_ws.delivery.client import Client
from callcenter_ws.errors import CLOSES, CloseCode, ErrorCode, Refusal
from callcenter_ws.events.frames import PLAIN, WireFormat
from callcenter_ws.events.principal import Principal
from callcenter_ws.requests.dispatcher import error_frame
from callcenter_ws.requests.rate_limit import TokenBucket
from callcenter_ws.runtime.clock import Timer
from callcenter_ws.runtime.json import decode_json
from callcenter_ws.runtime.transports import unsent_bytes
from callcenter_ws.ws.autobahn import TunedServerProtocol, answer
from callcenter_ws.ws.extension import Inflater
from callcenter_ws.ws.handshake import SUBPROTOCOL, HandshakeResult
from callcenter_ws.ws.writer import NullWriter, Send, Writer, writer_for

if TYPE_CHECKING:
    from callcenter_ws.ws.factory import GatewayFactory

CLOSE_TIMEOUT = 5
"""Seconds that a peer has to end the connection after a close frame. Autobahn rounds timers to seconds."""

MAX_AUTH_BYTES = 16_384
"""The largest message from a peer that has not authenticated: a token and its envelope."""

OF_THE_PEER = frozenset(
    {ErrorCode.UNAUTHORIZED, ErrorCode.FORBIDDEN, ErrorCode.CONNECTION_LIMIT, ErrorCode.TENANT_SUSPENDED}
)
"""Refusals that trying again does not mend: a browser must be told, or it would try for ever."""

CONTROL_FRAMES = (20.0, 100)
"""Pings and pongs that a peer may send: a second on average, and at once. Sixty a minute is much already."""

FRAMES_AFTER_CLOSE = 64
"""Frames that are still read after a close frame of ours, in search of the answer to it."""

PING_BYTES = 256
"""More than a ping takes, in TLS, too."""

_LAST_DATA_OPCODE = 7
_ABUSE = frozenset({CloseCode.RATE_LIMITED, CloseCode.PROTOCOL_ABUSE})

_log = Logger()


@implementer(IPushProducer)
class GatewayProtocol(TunedServerProtocol):
    """Implements ``interfaces.Transport`` for its Client.

    Autobahn's options are class attributes, set once by the factory: copying them to each connection is most
    of what accepting one would cost. So is here what most connections never change.
    """

    factory: GatewayFactory
    handshake_result: HandshakeResult
    _writer: Writer
    _answer: bytes | None = None
    _wire_formats: Sequence[WireFormat] = PLAIN
    _client: Client | None = None
    _auth_timer: Timer | None = None
    _abort_timer: Timer | None = None
    _control: TokenBucket | None = None
    _owed_pong: bytes | None = None
    _fragments = 0
    _frames_after_close = 0
    _unsent_at_ping = 0
    _deaf = False
    _turned_away = False
    _blocked = False

    # From the endpoint

    def upgrade(self, key: str, *, speaks_subprotocol: bool, deflate: str | None) -> None:
        """Answer the handshake that the endpoint has read and accepted; the transport is connected."""
        subprotocol = SUBPROTOCOL if speaks_subprotocol else None
        if self.factory.deflater is None:
            deflate = None
        elif deflate is not None:
            self._wire_formats = self.factory.deflater.wire_formats
            self._perMessageCompress = Inflater()
        self._answer = answer(key, server=self.factory.server, subprotocol=subprotocol, extension=deflate)
        self.upgraded()
        self._onOpen()
        if self._client is None or not self._client.greeted:
            # There is no welcome yet for it to go along with.
            self.write(b"")

    # From Twisted

    def connectionMade(self) -> None:
        """Take over a transport on which the handshake request has been read."""
        # Autobahn's own connectionMade reads the option tcpNoDelay before it is set, and describes the
        # transport at length for WAMP.
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self._writer = writer_for(self.transport)
        self._connectionMade()

    def connectionLost(self, reason: Any = None) -> None:
        """The socket is gone."""
        for timer in (self._auth_timer, self._abort_timer):
            if timer is not None:
                timer.cancel()
        self.factory.unauthenticated.discard(self)
        self._connectionLost(reason)
        self._leave(None)
        self.factory.admission.close_socket(self.handshake_result.ip)
        # Nothing must hold a connection that is gone, least of all what OpenSSL has for it.
        self._writer, self.transport = NullWriter(), None

    def dataReceived(self, data: bytes) -> None:
        """Bytes have come. Autobahn would keep those that come after the end, and parse those of a flood."""
        if self.state != self.STATE_CLOSED and not self._deaf:
            super().dataReceived(data)

    def pauseProducing(self) -> None:
        """The transport's buffer is full. Twisted says so again with every write."""
        already, self._blocked = self._blocked, True
        if self._client is not None and not already:
            self._client.pause()

    def resumeProducing(self) -> None:
        """The transport's buffer is empty."""
        self._blocked = False
        pong, self._owed_pong = self._owed_pong, None
        if pong is not None:
            self.sendPong(pong)
        if self._client is not None:
            self._client.drained()

    def stopProducing(self) -> None:
        """The transport is closing; ``connectionLost`` follows."""

    # From Autobahn

    def _onOpen(self) -> None:  # noqa: N802 - Autobahn's name; its version reads the transport details
        if self.handshake_result.refusal is not None:
            self._turn_away(self.handshake_result.refusal)
        elif self.handshake_result.principal is not None:
            self._enter(self.handshake_result.principal)
        else:
            self.factory.unauthenticated.add(self)
            self.maxMessagePayloadSize = MAX_AUTH_BYTES
            gateway = self.factory.gateway
            self._auth_timer = gateway.clock.call_later(
                gateway.limits.auth_timeout, self._end_unauthenticated, CloseCode.AUTH_TIMEOUT
            )

    def onFrameBegin(self) -> None:
        """A frame begins; of what follows a close frame of ours only so much is looked at."""
        super().onFrameBegin()
        if self.state == self.STATE_CLOSING:
            self._frames_after_close += 1
            if self._frames_after_close > FRAMES_AFTER_CLOSE:
                self._hear_no_more()

    def _hear_no_more(self) -> None:
        """Throw away what has come and what comes: the close timeout ends the rest."""
        self._deaf, self.data = True, b""

    def onMessageFrameBegin(self, length: int) -> None:
        """Count the fragments of a message, which Autobahn's limit on bytes does not."""
        self._fragments += 1
        if self._fragments > self.factory.gateway.limits.fragments and not self.failedByMe:
            self._fail_connection(CloseCode.TOO_LARGE, "")
        super().onMessageFrameBegin(length)

    def onFrameData(self, payload: bytes) -> bool | None:
        """Keep nothing of a control frame that is larger than any may be, which has failed the connection."""
        if self.failedByMe and self.current_frame.opcode > _LAST_DATA_OPCODE:
            return None
        return super().onFrameData(payload)

    def onPing(self, payload: bytes) -> None:
        """Answer, but a peer that reads no answers gets one, to its last ping (RFC 6455 section 5.5.3).

        Who has not said who it is gets none: nothing is sent before that.
        """
        if not self._control_is_allowed() or self._client is None:
            return
        self._client.heard()
        if self._blocked:
            self._owed_pong = payload
        else:
            super().onPing(payload)

    def onPong(self, payload: bytes) -> None:
        """Take note; the keepalive is Autobahn's."""
        if self._control_is_allowed() and self._client is not None:
            self._client.heard()

    def _control_is_allowed(self) -> bool:
        """Whether the peer keeps within ``CONTROL_FRAMES``; a flood of six-byte frames would stall everybody."""
        now = self.factory.gateway.clock.monotonic()
        if self._control is None:
            self._control = TokenBucket(*CONTROL_FRAMES, now)
        if not self._control.wait_for(now):
            return True
        self.close(CloseCode.RATE_LIMITED)
        return False

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """A whole message has come."""
        self._fragments = 0
        if self.state != self.STATE_OPEN:
            return
        try:
            if isBinary:
                self._fail_connection(CloseCode.UNSUPPORTED_DATA, "")
            elif self._client is not None:
                self._client.receive(payload)
            else:
                self._authenticate(payload)
        except Exception:
            _log.failure("a message from {who} met a bug", who=self._who())
            self._fail_connection(CloseCode.INTERNAL_ERROR, "")

    def _sendAutoPing(self) -> None:  # noqa: N802 - Autobahn's name
        super()._sendAutoPing()
        self._unsent_at_ping = self._backlog()

    def onAutoPingTimeout(self) -> None:
        """The peer answered no ping in time: it is gone, unless the ping is still on its way behind a backlog.

        A slow client is fed, not closed; whether it takes anything at all is for its SlowConsumerWatch to say.
        """
        self.autoPingTimeoutCall = None
        unsent = self._backlog()
        if self._blocked or unsent < self._unsent_at_ping:
            self._unsent_at_ping = unsent
            wait = self.factory.gateway.limits.ping_timeout
            self.autoPingTimeoutCall = self.factory._batched_timer.call_later(wait, self.onAutoPingTimeout)
        else:
            self._fail_connection(CloseCode.KEEPALIVE_TIMEOUT, "")

    def _backlog(self) -> int:
        """What is on its way to the peer, beside the ping."""
        unsent = self.unsent_bytes()
        return unsent if unsent > PING_BYTES else 0

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Autobahn's last word; ``connectionLost`` has the details."""

    def sendCloseFrame(self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False) -> None:
        """End the session, then send the close frame, so that nothing is written behind it."""
        if self.state == self.STATE_OPEN:
            self._leave(None if isReply else _known(code))
            if not isReply:
                reasonUtf8 = CLOSES[_known(code)].text.encode()
        super().sendCloseFrame(code, reasonUtf8, isReply)
        if code in _ABUSE:
            self._hear_no_more()

    def _fail_connection(self, code: int = CloseCode.GOING_AWAY, reason: str = "") -> None:
        """Tell the peer what it did wrong, once.

        At a second violation Autobahn would drop the socket, and with it perhaps the close frame on its way.
        Instead the rest is read and thrown away until the peer answers or its time is over.
        """
        if self.state == self.STATE_CLOSING:
            self.failedByMe = True
        else:
            super()._fail_connection(code, reason)

    def dropConnection(self, abort: bool = False) -> None:
        """Close the socket; a peer that does not read is aborted after a while.

        After a proper closing handshake Autobahn would abort, which may overtake the last bytes.
        """
        abort = abort and not self.wasClean
        if not abort and self._abort_timer is None:
            clock = self.factory.gateway.clock
            self._abort_timer = clock.call_later(CLOSE_TIMEOUT, self.transport.abortConnection)
        super().dropConnection(abort)

    # For the Client (interfaces.Transport)

    def write(self, data: bytes) -> None:
        """Send bytes; the first time behind the answer to the handshake, in one piece with it."""
        if self._answer is not None:
            data, self._answer = self._answer + data, None
        self._writer.write(data)

    def direct(self) -> Send | None:
        """What sends at once, as long as nothing waits."""
        return None if self._answer is not None else self._writer.direct()

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: N802
        """Autobahn's way to the transport: for a ping, a pong, the close frame."""
        if self._client is not None:
            # It sends directly only while nothing else is written.
            self._client.step_out()
        self.write(data)

    def close(self, code: CloseCode) -> None:
        """Start the closing handshake."""
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code)

    def unsent_bytes(self) -> int:
        """Bytes that the operating system has not taken yet."""
        return unsent_bytes(self.transport)

    # The door

    def _authenticate(self, payload: bytes) -> None:
        """Take the first frame of a peer that brought no token."""
        try:
            self._enter(
                self.factory.handshake_authenticator.principal_of_frame(decode_json(payload), self.handshake_result)
            )
        except Refusal as refusal:
            if refusal.code is ErrorCode.INVALID_JSON:
                refusal = Refusal(ErrorCode.UNAUTHORIZED, f"the first message must be auth: {refusal.message}")
            self._turn_away(refusal)

    def _enter(self, principal: Principal) -> None:
        self.factory.unauthenticated.discard(self)
        if self._auth_timer is not None:
            self._auth_timer.cancel()
            self._auth_timer = None
        gateway = self.factory.gateway
        self.maxMessagePayloadSize = gateway.limits.message_bytes
        self._client = Client(
            gateway,
            self,
            principal,
            connection_id=self.factory.new_id(),
            endpoint=self.handshake_result.endpoint.value,
            wire_formats=self._wire_formats,
            session_token=self.handshake_result.session_token,
        )
        self._client.open(self.handshake_result.options)

    def _turn_away(self, refusal: Refusal) -> None:
        """Tell a peer that is registered nowhere why it is refused."""
        self._turned_away = True
        self.factory.note_refused(self.handshake_result.ip, refusal)
        self.write(error_frame(refusal))
        self._end_unauthenticated(refusal.close_code)

    def _end_unauthenticated(self, code: CloseCode) -> None:
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code)

    def _leave(self, code: CloseCode | None) -> None:
        """End the Client's session, if there is one; ``code`` None means that the peer ended it."""
        who = self._who()
        client, self._client = self._client, None
        if self._turned_away or (client is not None and client.closed):
            return
        if code is not None:
            self.factory.gateway.log.closed(who, code)
        if client is not None:
            client.lost(code or (CloseCode.NORMAL if self.wasClean else CloseCode.ABNORMAL))

    def _who(self) -> str:
        return f"an unauthenticated peer at {self.handshake_result.ip}" if self._client is None else str(self._client)


def _known(code: int | None) -> CloseCode:
    try:
        return CloseCode(code or CloseCode.NORMAL)
    except ValueError:
        return CloseCode.PROTOCOL_ERROR
