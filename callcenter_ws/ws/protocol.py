"""GatewayProtocol: one WebSocket connection, between Autobahn's framing and the client's session."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from callcenter_ws.delivery.client import Client
from callcenter_ws.errors import CLOSES, CloseCode, ErrorCode, Refusal
from callcenter_ws.events.frames import PLAIN, WireFormat, error_frame, ping_frame
from callcenter_ws.events.principal import Principal
from callcenter_ws.interfaces import Send
from callcenter_ws.requests.dispatcher import TOKEN_UNITS, Dispatcher
from callcenter_ws.requests.rate_limit import TokenBucket
from callcenter_ws.runtime.clock import Timer
from callcenter_ws.runtime.json import decode_json
from callcenter_ws.runtime.peer_budget import Credential
from callcenter_ws.runtime.slicer import Slicer
from callcenter_ws.runtime.transports import buffered_bytes, finish_writing, limit_send_queue, unsent_bytes
from callcenter_ws.ws.autobahn import handshake_response
from callcenter_ws.ws.backlog import Backlog
from callcenter_ws.ws.connection_context import ConnectionContext
from callcenter_ws.ws.extension import Inflater
from callcenter_ws.ws.handshake import SUBPROTOCOL, HandshakeResult
from callcenter_ws.ws.keepalive import KeepaliveProtocol
from callcenter_ws.ws.writer import NullWriter, Writer, writer_for

CLOSE_TIMEOUT_SECONDS = 5
"""Seconds after a close frame within which the peer must close the connection. Autobahn rounds timers to seconds."""

MAX_AUTH_BYTES = 16_384
"""The largest message from an unauthenticated peer: a token and its envelope."""

NO_STATUS = 1005
"""The code of a close frame without a code (RFC 6455 section 7.4.1)."""

CONTROL_FRAMES_PER_SECOND = 20.0
"""Pings and pongs that a peer may send on average; a well-behaved client sends about one a minute."""

CONTROL_FRAMES_BURST = 100
"""Pings and pongs that a peer may send at once."""

STEPS_PER_TURN = 32
"""Steps of Autobahn's parser in one turn: a frame takes one or two."""

MAX_FRAMES_AFTER_CLOSE = 64
"""Frames that are still parsed after the gateway's close frame, to find the peer's close frame."""

BYTES_PER_UNIT = 4_096
"""Bytes of a message that count as one unit of a turn, in addition to its frames: publishing 512 KiB takes 10 ms."""

UNCOUNTED_BYTES = 65_536
"""An incomplete message counts for ``limits.incoming_bytes`` above this."""

_LAST_DATA_OPCODE = 7

_ABUSE = frozenset({CloseCode.RATE_LIMITED, CloseCode.PROTOCOL_ABUSE})
"""Close codes after which the peer's input is discarded."""


@implementer(IPushProducer)
class GatewayProtocol(KeepaliveProtocol):
    """A WebSocket connection. Implements ``interfaces.Transport`` for the client's session.

    Autobahn's options, the context and the initial values are class attributes: copying them to each connection would
    be most of the cost of accepting it.
    """

    context: ConnectionContext
    handshake_result: HandshakeResult
    _writer: Writer
    _unsent_response: bytes | None = None
    """The response to the opening handshake, until it is written together with the first frames."""
    _wire_formats: Sequence[WireFormat] = PLAIN
    _client: Client | None = None
    _dispatcher: Dispatcher | None = None
    _auth_timer: Timer | None = None
    _abort_timer: Timer | None = None
    _control_frames: TokenBucket | None = None
    _pending_pong: bytes | None = None
    """The payload of the last ping that arrived while the transport was paused."""
    _transport_paused = False
    """Whether the transport's buffer is full."""
    _backlog: Backlog | None = None
    _fragments = 0
    _counted_bytes = 0
    _frames_after_close = 0
    _discards_input = False
    _waits_for_turn = False
    _refused = False

    # Called by WebSocketEndpoint

    def upgrade(self, key: str, *, speaks_subprotocol: bool, deflate: str | None) -> None:
        """Answer the opening handshake, which was accepted, and start the session. The transport is connected.

        Args:
            key: the value of ``Sec-WebSocket-Key``.
            speaks_subprotocol: whether the client offered the gateway's subprotocol.
            deflate: the response to the client's offer of permessage-deflate; None if there is no acceptable offer.
        """
        subprotocol = SUBPROTOCOL if speaks_subprotocol else None
        if self.context.deflater is None:
            deflate = None
        elif deflate is not None:
            self._wire_formats = self.context.deflater.wire_formats
            self._perMessageCompress = Inflater()
        self._unsent_response = handshake_response(
            key, server=self.factory.server, subprotocol=subprotocol, extension=deflate
        )
        self.mark_open()
        self.start_keepalive()
        self._onOpen()
        if self._client is None or not self._client.welcomed:
            # There is no welcome yet that the response could be written with.
            self.write(b"")

    # Called by Twisted

    def connectionMade(self) -> None:
        """Take over a transport on which the handshake request has been read."""
        # Autobahn's connectionMade is not called: it reads the option tcpNoDelay before that is set, and collects
        # transport details for WAMP.
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self._writer = writer_for(self.transport)
        self._connectionMade()

    def connectionLost(self, reason: Any = None) -> None:  # a Failure, which Autobahn declares as str
        """End the session and release the transport."""
        for timer in (self._auth_timer, self._abort_timer):
            if timer is not None:
                timer.cancel()
        self.end_probe()
        context, result = self.context, self.handshake_result
        context.unauthenticated.discard(self)
        context.peer_limits.budget.close(self)
        context.peer_limits.incoming.remove(self)
        if self._waits_for_turn:
            context.peer_limits.turns.cancel(self._share, self)
        self._connectionLost(reason)
        self._end_session(None, _how_lost(reason))
        if result.is_counted:
            context.admission.close_socket(result.network)
        self._backlog = None
        # Break the references to the transport: they would keep it, and OpenSSL's memory, until a garbage collection.
        self._writer, self.transport = NullWriter(), None

    def dataReceived(self, data: bytes) -> None:
        """Parse data, unless the connection is closed or its input is discarded; Autobahn would store or parse it."""
        if self.state != self.STATE_CLOSED and not self._discards_input:
            super().dataReceived(data)

    def consumeData(self) -> None:  # noqa: N802 - Autobahn's name
        """Parse some of the frames that have arrived; the others wait for a later turn, and nothing is read meanwhile.

        One read may hold ten thousand frames.
        """
        if self._waits_for_turn:
            return
        turns = self.context.peer_limits.turns
        for _ in range(STEPS_PER_TURN):
            if not turns.take(1, self):
                break
            if not self.processData() or self.state == self.STATE_CLOSED:
                return
        if self.data and self.state != self.STATE_CLOSED:
            self._waits_for_turn = True
            self.transport.pauseProducing()
            turns.wait(self._share, self)

    def take_turn(self) -> None:
        """Parse more of the frames that have arrived."""
        self._waits_for_turn = False
        self.consumeData()
        if not self._waits_for_turn and self.transport is not None:
            self.transport.resumeProducing()

    def evict(self) -> None:
        """Abort the connection: its place is needed, or its data cannot be parsed."""
        self.transport.abortConnection()

    @property
    def _share(self) -> object:
        return self.handshake_result.network if self._client is None else self

    def pauseProducing(self) -> None:
        """Pause the session: the transport's buffer is full. Twisted repeats this call with every write."""
        self._transport_paused = True
        self._pause_session()

    def resumeProducing(self) -> None:
        """Send the pending pong, then the backlog, then resume the session: the transport's buffer is empty."""
        self._transport_paused = False
        pong, self._pending_pong = self._pending_pong, None
        if pong is not None:
            self.sendPong(pong)
        self._continue_writing()

    def _pause_session(self) -> None:
        already, self._write_paused = self._write_paused, True
        if self._client is not None and not already:
            self._client.pause()

    def _resume_session(self) -> None:
        self._write_paused = False
        if self._client is not None:
            self._client.drained()

    def _write_piece(self) -> None:
        """Write a piece of the backlog, unless the transport does not accept any or the connection is closing."""
        backlog = self._backlog
        if backlog is None or self._transport_paused:
            return
        self._writer.write(backlog.take())
        if not backlog:
            self._backlog = None
        self._continue_writing()

    def _continue_writing(self) -> None:
        # A paused transport calls ``resumeProducing`` once it accepts more.
        if not self._transport_paused:
            if self._backlog is None:
                self._resume_session()
            else:
                self._slicer.call(self._write_piece)

    @property
    def _slicer(self) -> Slicer:
        return self.context.requests.hub.slicer

    def stopProducing(self) -> None:
        """Do nothing: the transport is closing, and ``connectionLost`` follows."""

    # Called by Autobahn

    def _onOpen(self) -> None:  # noqa: N802 - Autobahn's name; its own method reads the transport details
        if self.handshake_result.principal is None:
            self.context.peer_limits.budget.open(self, self.handshake_result.network)
        if self.handshake_result.refusal is not None:
            self._refuse(self.handshake_result.refusal)
        elif self.handshake_result.principal is not None:
            self._start_session(self.handshake_result.principal)
        else:
            context = self.context
            context.unauthenticated.add(self)
            self.maxMessagePayloadSize = MAX_AUTH_BYTES
            self._auth_timer = context.clock.call_later(context.limits.auth_timeout, self.close, CloseCode.AUTH_TIMEOUT)

    def onFrameBegin(self) -> None:
        """Begin a frame; after the gateway's close frame, discard all input behind ``MAX_FRAMES_AFTER_CLOSE`` more."""
        super().onFrameBegin()
        if self.state == self.STATE_CLOSING:
            self._frames_after_close += 1
            if self._frames_after_close > MAX_FRAMES_AFTER_CLOSE:
                self._discard_input()

    def _discard_input(self) -> None:
        """Discard buffered and further input; the close timeout ends the connection."""
        self._discards_input, self.data = True, b""

    def onMessageFrameBegin(self, length: int) -> None:
        """Close the connection when a message has more than ``limits.fragments`` frames; Autobahn counts bytes only."""
        self._fragments += 1
        if self._fragments > self.context.limits.fragments and not self.failedByMe:
            self._fail_connection(CloseCode.TOO_LARGE, "")
        super().onMessageFrameBegin(length)
        if self.message_data_total_length - self._counted_bytes > UNCOUNTED_BYTES and not self.failedByMe:
            self._count_incoming()

    def _count_incoming(self) -> None:
        """Count a large message that is not complete for ``limits.incoming_bytes``."""
        count = self.message_data_total_length - self._counted_bytes
        self._counted_bytes += count
        self.context.peer_limits.incoming.add(self, self.handshake_result.network, count)

    def give_up(self) -> None:
        """Close the connection, and drop its incomplete message: others need the memory."""
        self.close(CloseCode.TRY_LATER)
        self._discard_input()
        self.frame_data, self.message_data = [], []

    def onFrameData(self, payload: bytes) -> bool | None:
        """Buffer payload, but not that of an oversized control frame, which has already failed the connection."""
        if self.failedByMe and self.current_frame.opcode > _LAST_DATA_OPCODE:
            return None
        return super().onFrameData(payload)

    def onPing(self, payload: bytes) -> None:
        """Send a pong. While the transport is paused, only the latest ping is answered later (RFC 6455 section 5.5.3).

        Pongs do not wait for the backlog. Unauthenticated peers get no pong: nothing is sent before authentication.
        """
        if not self._allow_control_frame() or self._client is None:
            return
        if self._transport_paused:
            self._pending_pong = payload
        else:
            super().onPing(payload)

    def onPong(self, payload: bytes) -> None:
        """Report the pong to the session; Autobahn handles it for the keepalive."""
        if self._allow_control_frame() and self._client is not None:
            self._client.mailbox_acks.ping_answered(payload)

    def _allow_control_frame(self) -> bool:
        """Return whether the peer is within its limits on pings and pongs; close the connection if it is not.

        A flood of six-byte frames would otherwise stall the reactor.
        """
        now = self.context.clock.monotonic()
        if self._control_frames is None:
            self._control_frames = TokenBucket(CONTROL_FRAMES_PER_SECOND, CONTROL_FRAMES_BURST, now)
        if not self._control_frames.wait_for(now):
            return True
        self.close(CloseCode.RATE_LIMITED)
        return False

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Pass a complete message to the session, or authenticate the peer with it."""
        self._fragments = 0
        if self._counted_bytes:
            self._counted_bytes = 0
            self.context.peer_limits.incoming.remove(self)
        if self.state != self.STATE_OPEN:
            return
        try:
            if isBinary:
                self._fail_connection(CloseCode.UNSUPPORTED_DATA, "")
            elif self._dispatcher is not None:
                if len(payload) >= BYTES_PER_UNIT:
                    self.context.peer_limits.turns.spend(len(payload) // BYTES_PER_UNIT)
                self._dispatcher.receive(payload)
            else:
                self._authenticate(payload)
        except Exception:
            log = self.context.peer_limits.log
            log.failure("unhandled error in a message from {peer}", Failure(), peer=self._describe_peer())
            self._fail_connection(CloseCode.INTERNAL_ERROR, "")

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Do nothing: ``connectionLost`` ends the session."""

    def sendCloseFrame(self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False) -> None:
        """End the session, then send the close frame, so that nothing is written after it."""
        if self.state == self.STATE_OPEN:
            self._end_session(None if isReply else _close_code(code))
            self._discard_backlog()
            if not isReply:
                reasonUtf8 = CLOSES[_close_code(code)].text.encode()
        super().sendCloseFrame(code, reasonUtf8, isReply)
        if code in _ABUSE:
            self._discard_input()
        if code in _ABUSE or code == CloseCode.TOO_LARGE:
            # The peer's close frame is not waited for: it is discarded, or behind a large message.
            finish_writing(self.transport)

    def _fail_connection(self, code: int = CloseCode.GOING_AWAY, reason: str = "") -> None:
        """Send a close frame for a protocol violation, once.

        At a second violation Autobahn would drop the connection, and a close frame still in transit with it. Instead
        the remaining input is read and ignored until the peer closes or the close timeout expires.
        """
        if self.state == self.STATE_CLOSING:
            self.failedByMe = True
        else:
            super()._fail_connection(code, reason)

    def dropConnection(self, abort: bool = False) -> None:
        """Close the transport; abort it after ``CLOSE_TIMEOUT_SECONDS`` if the peer does not read.

        After a complete closing handshake Autobahn would abort at once, which may destroy the last bytes in transit.
        """
        abort = abort and not self.wasClean
        if not abort and self._abort_timer is None:
            self._abort_timer = self.context.clock.call_later(CLOSE_TIMEOUT_SECONDS, self.transport.abortConnection)
        super().dropConnection(abort)

    # Called by the session (interfaces.Transport)

    def write(self, data: bytes) -> None:
        """Send bytes; the first call sends the response to the opening handshake in the same write."""
        if self._unsent_response is not None:
            data, self._unsent_response = self._unsent_response + data, None
        self._writer.write(data)

    def write_frames(self, frames: Sequence[bytes]) -> None:
        """Send frames piece by piece, in turn with other connections; see ``interfaces.Transport``."""
        if self._unsent_response is not None:
            self.write(b"")
        if self._backlog is None:
            self._backlog = Backlog()
            limit_send_queue(self.transport)
            self._slicer.call(self._write_piece)
        self._backlog.add(frames)
        self._pause_session()

    def _discard_backlog(self) -> None:
        """Write nothing of the backlog but the rest of a frame."""
        backlog, self._backlog = self._backlog, None
        if backlog is not None:
            rest = backlog.discard()
            if rest:
                self._writer.write(rest)

    def direct(self) -> Send | None:
        """Return a function that sends immediately, or None while written data waits."""
        if self._unsent_response is not None or self._backlog is not None:
            return None
        return self._writer.direct()

    def ping(self, payload: bytes) -> None:
        """Send a ping after everything that was written; does nothing unless the connection is open."""
        if self._backlog is None:
            self.sendPing(payload)
        elif self.state == self.STATE_OPEN:
            self._backlog.add((ping_frame(payload),))

    def _sendAutoPing(self) -> None:  # noqa: N802 - Autobahn's name
        super()._sendAutoPing()
        payload: Any = self.autoPingPending  # bytes, which Autobahn declares as None
        # A ping that overtakes a backlog says nothing about the mail in it.
        if self._client is not None and self._backlog is None:
            self._client.mailbox_acks.ping_sent(payload)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: N802
        """Send a ping, a pong or a close frame for Autobahn."""
        if self._client is not None:
            # A client's group sends to it directly only while nothing else is written.
            self._client.outbox.detach()
        if self._backlog:
            self._backlog.insert(data)
        else:
            self.write(data)

    def close(self, code: CloseCode) -> None:
        """Start the closing handshake; does nothing unless the connection is open."""
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code)

    def unsent_bytes(self) -> int:
        """Return the bytes of the backlog and those written to the transport that the peer has not received."""
        waiting = 0 if self._backlog is None else self._backlog.size
        return waiting + unsent_bytes(self.transport)

    def buffered_bytes(self) -> int:
        """Return the bytes that are copied into the transport's buffers."""
        return buffered_bytes(self.transport)

    def unsent_frames(self) -> Iterable[bytes]:
        """Return the frames of the backlog."""
        return () if self._backlog is None else self._backlog.shared()

    # Authentication, and the life of the session

    def _authenticate(self, payload: bytes) -> None:
        """Authenticate a peer by its first message; refuse it if that is not a valid ``auth`` message."""
        budget, network = self.context.peer_limits.budget, self.handshake_result.network
        try:
            if seconds := budget.seconds_until_try(network, Credential.TOKEN):
                budget.count_refused_try()
                raise Refusal(ErrorCode.RATE_LIMITED, "too many refused tokens from this address", retry_after=seconds)
            self.context.peer_limits.turns.spend(TOKEN_UNITS)
            principal = self.context.authenticator.principal_of_frame(decode_json(payload), self.handshake_result)
            self._start_session(principal)
        except Refusal as refusal:
            if refusal.code is ErrorCode.UNAUTHORIZED:
                budget.credential_refused(network, Credential.TOKEN)
            if refusal.code is ErrorCode.INVALID_JSON:
                refusal = Refusal(ErrorCode.UNAUTHORIZED, f"the first message must be auth: {refusal.message}")
            self._refuse(refusal)

    def _start_session(self, principal: Principal) -> None:
        """Create the client of an authenticated peer."""
        context = self.context
        context.unauthenticated.discard(self)
        if self.handshake_result.principal is None:
            context.peer_limits.budget.close(self)
            if self.handshake_result.gives_back_request:
                context.peer_limits.budget.give_back_request(self.handshake_result.network)
        if self._auth_timer is not None:
            self._auth_timer.cancel()
            self._auth_timer = None
        limits = context.limits
        self.maxMessagePayloadSize = limits.visitor_message_bytes if principal.is_visitor else limits.message_bytes
        client = self._client = Client(
            context.requests.hub,
            self,
            principal,
            connection_id=context.new_id(),
            endpoint=self.handshake_result.endpoint.value,
            ip=self.handshake_result.ip,
            wire_formats=self._wire_formats,
            session_token=self.handshake_result.session_token,
        )
        self._dispatcher = Dispatcher(client, context.requests, self.handshake_result.network)
        context.requests.log.opened(client)
        client.open(self.handshake_result.options)

    def _refuse(self, refusal: Refusal) -> None:
        """Send the refusal to an unauthenticated peer, then close the connection."""
        self._refused = True
        self.context.note_refused(self.handshake_result.ip, self.handshake_result.endpoint.value, refusal)
        self.write(error_frame(refusal))
        self.close(refusal.close_code)

    def _end_session(self, code: CloseCode | None, reason: str = "with a close frame") -> None:
        """End the client's session if there is one.

        Args:
            code: None if the peer ended the connection.
            reason: how the peer ended it.
        """
        client, self._client, self._dispatcher = self._client, None, None
        if self._refused or (client is not None and client.closed):
            return
        log = self.context.requests.log
        if client is None:
            if code is not None:
                log.unauthenticated_closed(self.handshake_result.ip, code)
            return
        client.connection_lost(code or (CloseCode.NORMAL if self.wasClean else CloseCode.ABNORMAL))
        if code is not None:
            log.closed(client, code)
        elif self.wasClean:
            log.ended(client, self.remoteCloseCode or NO_STATUS, reason)
        else:
            log.ended(client, CloseCode.ABNORMAL, reason)

    def _describe_peer(self) -> str:
        return f"an unauthenticated peer at {self.handshake_result.ip}" if self._client is None else str(self._client)


def _how_lost(reason: Failure | None) -> str:
    """Return how a connection ended for which there was no close frame."""
    if reason is None or reason.check(ConnectionDone):
        return "without a close frame"
    return "reset, timed out or broken"


def _close_code(code: int | None) -> CloseCode:
    try:
        return CloseCode(code or CloseCode.NORMAL)
    except ValueError:
        return CloseCode.PROTOCOL_ERROR
