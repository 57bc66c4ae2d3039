"""GatewayChannel: an HTTP connection whose peer can neither hold a turn of the reactor nor keep a socket by slowness.

Deadlines are absolute. One request, or one piece of a chunked body, is parsed in a turn; what has arrived behind it
waits (``runtime.turns``), and nothing is read meanwhile.
"""

# The names that twisted.web calls.
# ruff: noqa: N802

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.http.cors import CorsPolicy
from callcenter_ws.http.peer_address import PeerAddress
from callcenter_ws.http.request_peer import RequestPeer
from callcenter_ws.http.request_target import read_target
from callcenter_ws.http.responses import raw_response
from callcenter_ws.http.site_state import SiteState
from callcenter_ws.interfaces import Authenticator
from callcenter_ws.runtime.log_fields import reason_of
from callcenter_ws.runtime.peer_limits import PeerLimits
from callcenter_ws.runtime.transports import TwistedTransport, unsent_bytes

PROBE_PATHS = frozenset({b"/livez", b"/readyz", b"/metrics"})
"""Paths that monitoring asks; from this machine and from trusted proxies these requests are not counted."""

PAGE_PATHS = frozenset({b"/", b"/login", b"/desk", b"/supervisor", b"/wallboard", b"/live", b"/demo", b"/widget.js"})
PAGE_PREFIXES = (b"/pages/", b"/client/")
"""The pages, and the files that they load. All desks of a site open them within a minute, from one address."""

_SAFE_METHODS = frozenset({b"GET", b"HEAD"})

LINGER_TIMEOUT_SECONDS = 5.0
"""Seconds for which the rest of a refused body is read and discarded, so that its sender can read the response."""

CLOSE_TIMEOUT_SECONDS = 15.0
"""Seconds that a peer has to read the last bytes of a connection that is being closed."""

_LENGTH_DIGITS = 19
"""Digits of the largest accepted ``Content-Length``."""


WRITE_TIMEOUT_SECONDS = 10.0
"""Seconds in which a peer must read ``MIN_READ_BYTES`` of what waits for it, or everything."""

MIN_READ_BYTES = 65_536

MAX_HEADERS = 100
"""Headers of a request; also the lines of its head after the first."""

HEADERS_PER_UNIT = 16
"""Headers that are parsed for a unit of a turn."""

BODY_BYTES_PER_UNIT = 4_096
"""Bytes of a body that count as one unit: the validation of 512 KiB of events takes about 13 ms."""

REQUEST_UNITS = 2
"""Units of a turn for a request, its headers excepted."""

CHUNKED_BYTES_PER_TURN = 512
CHUNKED_UNITS = 4
"""Bytes of a chunked body that are parsed at once, and the units of a turn for them: a chunk may have one byte."""

UNHELD_BYTES = 16_384
"""A connection is read up to so many bytes whatever others of its network have sent."""

MAX_HOLD_SECONDS = 10.0
"""The longest time for which nothing is read from a peer whose network has sent too many bytes."""


@dataclass(frozen=True, slots=True)
class RequestTimeouts:
    """Time limits for receiving a request, in seconds.

    Attributes:
        head: from the connection (TLS handshake included) or from the first byte of a later request to its complete
            head.
        body: from the complete head to the complete body.
    """

    head: float
    body: float


class GatewayChannel(HTTPChannel):
    """An HTTP/1.1 connection with four deadlines, none of which is extended by arriving data.

    Two are those of RequestTimeouts. The third: the last bytes must be gone ``CLOSE_TIMEOUT_SECONDS`` after the close.
    The fourth: a peer that does not read its responses is aborted (``WRITE_TIMEOUT_SECONDS``).
    Twisted's own idle timeout, which each byte restarts, matters between requests only. No deadline runs while a
    request is processed, or after a WebSocket has taken over the transport.

    Attributes:
        timeouts: the time limits.
        limits: the limits of unauthenticated peers.
        site_state: what the connections of the site share.
        peer_address: who is at the other end.
        authenticator: verifies the tokens of requests with a large body; None if no such body is accepted.
        cors: which pages of other sites may read responses; None: none.
        first_head_seconds: the time limit for the first head; None for ``timeouts.head``.
        upgrade_refusal: why the UpgradeHandler refused the first request; the resource sends it.
        authenticated: whether a token of this peer was accepted; never True for a proxy, which has many clients.
    """

    timeouts: RequestTimeouts
    limits: PeerLimits
    site_state: SiteState
    peer_address: PeerAddress
    authenticator: Authenticator | None = None
    cors: CorsPolicy | None = None
    first_head_seconds: float | None = None
    upgrade_refusal: Refusal | None = None
    transport: TwistedTransport
    maxHeaders = MAX_HEADERS  # noqa: N815 - Twisted's name

    def __init__(self) -> None:
        super().__init__()
        self.authenticated = False
        self._deadline: IDelayedCall | None = None
        self._write_deadline: IDelayedCall | None = None
        self._hold: IDelayedCall | None = None
        self._reading_head = True
        self._bytes = 0
        self._head_lines = 0
        self._head_bytes = 0
        self._requests = 0
        self._is_replaying = False
        self._is_waiting = False
        self._is_discarding = False
        self._is_closing = False

    # Connection

    def connectionMade(self) -> None:
        """Count the socket, and start the deadline of the first head."""
        super().connectionMade()
        self.limits.budget.open(self, self.peer_address.network, is_proxy=self.peer_address.is_proxy)
        seconds = self.first_head_seconds
        self._set_deadline(self.timeouts.head if seconds is None else seconds)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancel the deadlines."""
        self.release()
        super().connectionLost(reason)

    def release(self) -> None:
        """Stop counting this connection, and cancel its deadlines: it has ended, or a WebSocket has taken it over."""
        self.limits.budget.close(self)
        self.limits.authenticated_http.discard(self)
        if self._is_waiting:
            self._is_waiting = False
            self.limits.turns.cancel(self._share, self)
        self._clear_deadline()
        for call in (self._write_deadline, self._hold):
            if call is not None:
                call.cancel()
        self._write_deadline = self._hold = None

    def evict(self) -> None:
        """Abort the connection: its place is needed."""
        self.transport.abortConnection()

    def mark_authenticated(self) -> None:
        """Do not count this connection as unauthenticated any more, if there are not too many such connections."""
        if self.authenticated or self.peer_address.is_proxy:
            return
        others = self.limits.authenticated_http
        if len(others) < self.limits.max_authenticated_http:
            others.add(self)
            self.authenticated = True
            self.limits.budget.close(self)

    @property
    def _share(self) -> object:
        return self if self.authenticated else self.peer_address.network

    # Reading

    def dataReceived(self, data: bytes) -> None:
        """Parse data, now or in a later turn; the first byte of a later request starts its deadline."""
        if self._is_discarding:
            return
        if not self._is_replaying:
            self._count_bytes(len(data))
        if not self.paused and not self._handlingRequest and not self.limits.turns.take(1, self):
            self._wait()
        super().dataReceived(data)
        # Data behind a request that was answered at once is the start of the next head.
        if self._reading_head and self._deadline is None and self._buffer and self.transport is not None:
            self._set_deadline(self.timeouts.head)

    def _count_bytes(self, count: int) -> None:
        if self.authenticated or self.peer_address.is_proxy:
            return
        self._bytes += count
        seconds = self.limits.budget.received(self.peer_address.network, count)
        if seconds and self._bytes > UNHELD_BYTES and self._hold is None:
            self.paused = True
            self._networkProducer.pauseProducing()
            self._hold = self.callLater(min(seconds, MAX_HOLD_SECONDS), self._end_hold)

    def _end_hold(self) -> None:
        self._hold = None
        self._wait()

    def _wait(self) -> None:
        """Parse nothing more in this turn, and read nothing until a later one."""
        if self._is_waiting or self._hold is not None or self._is_closing or self.transport is None:
            return
        self.paused = True
        self._networkProducer.pauseProducing()
        # While the transport is full, ``resumeProducing`` continues.
        if not self._waitingForTransport:
            self._is_waiting = True
            self.limits.turns.wait(self._share, self)

    def take_turn(self) -> None:
        """Parse the next request, or the next piece of a chunked body."""
        self._is_waiting = False
        self.paused = False
        self._replay(b"")
        if self.transport is not None and not (self.paused or self._waitingForTransport or self._is_closing):
            self._networkProducer.resumeProducing()

    def _replay(self, data: bytes) -> None:
        """Parse data that was received before."""
        self._is_replaying = True
        try:
            self.dataReceived(data)
        finally:
            self._is_replaying = False

    def setLineMode(self, extra: bytes = b"") -> None:
        """Start reading the next request; ``extra`` is the data of it that has already arrived."""
        self._reading_head = True
        self._head_lines = self._head_bytes = 0
        if extra:
            self._set_deadline(self.timeouts.head)
        super().setLineMode(extra)

    def lineReceived(self, line: bytes) -> None:
        """Parse a line of the head; refuse a head with too many, and lines that continue the one before."""
        self._head_lines += 1
        self._head_bytes += len(line) + 2
        if line[:1] in (b" ", b"\t") and self._head_lines > 1:
            self._respondToBadRequestAndDisconnect()  # RFC 9112 section 5.2
        elif self._head_lines > MAX_HEADERS + 2:
            self._refuse(Refusal(ErrorCode.HEADERS_TOO_LARGE, f"more than {MAX_HEADERS} headers"))
        else:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a head with a line that is too long."""
        self._refuse(Refusal(ErrorCode.HEADERS_TOO_LARGE))

    def rawDataReceived(self, data: bytes) -> None:
        """Pass on the body; of a chunked one a piece in each turn."""
        # The length of a chunked body is None.
        if self._handlingRequest or self.length is not None or len(data) <= CHUNKED_BYTES_PER_TURN:
            super().rawDataReceived(data)
            return
        self.limits.turns.spend(CHUNKED_UNITS)
        super().rawDataReceived(data[:CHUNKED_BYTES_PER_TURN])
        rest = data[CHUNKED_BYTES_PER_TURN:]
        if self.transport is None:
            self.rawDataReceived(rest)  # The method of the WebSocket that has taken over.
        elif not self._is_discarding:
            self._buffer += rest
            self._wait()

    def headerReceived(self, line: bytes) -> bool:
        """Parse a header; refuse a ``Content-Length`` with more digits than ``int`` accepts."""
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and len(value.strip()) > _LENGTH_DIGITS:
            self._respondToBadRequestAndDisconnect()
            return False
        accepted: bool = super().headerReceived(line)
        return accepted

    def allHeadersReceived(self) -> None:
        """Start the deadline of the body: the head is complete."""
        self._reading_head = False
        self._requests += 1
        self.limits.turns.spend(REQUEST_UNITS + self._head_lines // HEADERS_PER_UNIT)
        self._set_deadline(self.timeouts.body)
        self._read_target(self.requests[-1])
        super().allHeadersReceived()

    def _read_target(self, request: Request) -> None:
        request.method = self._command
        try:
            target = read_target(self._path)
        except Refusal as refusal:
            request.target_refusal = refusal  # type: ignore[attr-defined]  # a BoundedRequest, which has one
            return
        self._path = request.uri = target.uri
        if target.host is not None:
            request.requestHeaders.setRawHeaders(b"Host", [target.host])

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """Return whether the connection stays open after a request; not after the last one of a connection."""
        if self._requests >= self.limits.requests_per_connection or self.site_state.is_draining:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        persistent: bool = super().checkPersistence(request, version)
        return persistent

    def allContentReceived(self) -> None:
        """Cancel the deadline: the request is complete."""
        self._clear_deadline()
        content = self.requests[-1].content
        if content is not None:
            self.limits.turns.spend(content.tell() // BODY_BYTES_PER_UNIT)
        super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        """Continue with the next request in a turn of its own."""
        was_paused, self.paused = self.paused, True
        self._is_replaying = True
        try:
            super().requestDone(request)
        finally:
            self._is_replaying = False
        self.paused = was_paused
        if was_paused:
            self._networkProducer.pauseProducing()
        elif self.persistent and self._buffer:
            self._wait()

    # Refusals of what is no request

    def request_peer(self, request: Request) -> RequestPeer:
        """Return the peer of a request whose head is complete."""
        address, headers = self.peer_address, request.requestHeaders
        forwarded = [value.decode("latin-1") for value in headers.getRawHeaders(b"X-Forwarded-For") or ()]
        path = self.target_path()
        is_probe = path in PROBE_PATHS and address.is_local and not forwarded
        is_page = self._command in _SAFE_METHODS and (path in PAGE_PATHS or path.startswith(PAGE_PREFIXES))
        return RequestPeer(
            self.limits,
            address.network_of_client(forwarded),
            is_exempt=is_probe or is_page or self.authenticated,
            has_credentials=headers.hasHeader(b"Authorization"),
            authenticated=self.mark_authenticated,
        )

    def target_path(self) -> bytes:
        """Return the path of the current request."""
        return self._path.partition(b"?")[0]

    def head_bytes(self) -> int:
        """Return the bytes of the head of the current request."""
        return self._head_bytes

    def _respondToBadRequestAndDisconnect(self) -> None:
        too_large = self._receivedHeaderSize > self.totalHeadersSize or self._receivedHeaderCount > self.maxHeaders
        code = ErrorCode.HEADERS_TOO_LARGE if too_large else ErrorCode.INVALID_MESSAGE
        self._refuse(Refusal(code, None if too_large else "malformed HTTP request"))

    def _refuse(self, refusal: Refusal) -> None:
        """Refuse a head that cannot be parsed, and discard all that follows."""
        if self._is_discarding:
            return
        self._is_discarding = True
        # The peer may still be sending: closing now could destroy the response in transit.
        sends_more = self._reading_head and refusal.code is ErrorCode.HEADERS_TOO_LARGE
        self.clearLineBuffer()
        self.note_refused(self.peer_address.network, refusal)
        self.transport.write(raw_response(refusal))
        self.persistent = False
        if sends_more:
            self._set_deadline(LINGER_TIMEOUT_SECONDS, self.loseConnection)
        else:
            self.loseConnection()

    def note_refused(self, network: str, refusal: Refusal) -> None:
        """Count and log a refusal that any peer can cause."""
        self.limits.count_refused(refusal.code.value)
        self.limits.log.write(
            network,
            "refused a request from {peer}: {code}, {reason}",
            peer=network,
            code=refusal.code.value,
            reason=reason_of(refusal.message),
        )

    # Writing

    def pauseProducing(self) -> None:
        """Pause, as the transport is full; a peer that goes on not reading is aborted."""
        # A large response watches its peer itself.
        if self._write_deadline is None and self._requestProducer is None and self.transport is not None:
            self._schedule_write_check()
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """Resume: the transport is empty."""
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None
        super().resumeProducing()
        if self.paused and not self._is_waiting:
            self._wait()

    def _schedule_write_check(self) -> None:
        unsent = unsent_bytes(self.transport)
        self._write_deadline = self.callLater(WRITE_TIMEOUT_SECONDS, lambda: self._check_written(unsent))

    def _check_written(self, unsent_before: int) -> None:
        self._write_deadline = None
        if unsent_bytes(self.transport) > unsent_before - MIN_READ_BYTES:
            self.transport.abortConnection()
        else:
            self._schedule_write_check()

    def linger(self) -> None:
        """Close the connection after a request that was refused early, at the latest in ``LINGER_TIMEOUT_SECONDS``."""
        self.persistent = False
        self._set_deadline(LINGER_TIMEOUT_SECONDS)

    def loseConnection(self) -> None:
        """Close the connection when everything is written, at the latest in ``CLOSE_TIMEOUT_SECONDS``."""
        self._reading_head = False
        self._is_closing = True
        self._set_deadline(CLOSE_TIMEOUT_SECONDS)
        super().loseConnection()

    def _set_deadline(self, seconds: float, passed: Callable[[], None] | None = None) -> None:
        self._clear_deadline()
        self._deadline = self.callLater(seconds, lambda: self._deadline_passed(passed))

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _deadline_passed(self, passed: Callable[[], None] | None) -> None:
        self._deadline = None
        (passed or self.transport.abortConnection)()
