"""GatewaySite: the ``twisted.web`` site, with limits on the size and the duration of requests."""

# The names that twisted.web calls.
# ruff: noqa: N802, N815

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from io import BytesIO
from typing import Any

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.python.failure import Failure
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.http.cors import CorsPolicy
from callcenter_ws.http.first_bytes import FirstBytesProtocol, UpgradeHandler
from callcenter_ws.http.http_connection import PROBE_PATHS, GatewayChannel, RequestTimeouts
from callcenter_ws.http.large_body import BodyWriting
from callcenter_ws.http.peer_address import PeerAddress
from callcenter_ws.http.request_peer import RequestPeer
from callcenter_ws.http.responses import (
    INTERNAL_ERROR,
    PUBLISHER_ROLES,
    Response,
    authorize,
    cors_headers,
    json_response,
    log_unhandled,
    loggable_path,
    refusal_response,
    send,
    send_and_finish,
)
from callcenter_ws.http.shared_deadline import SharedDeadline
from callcenter_ws.http.site_state import SiteState
from callcenter_ws.interfaces import Authenticator
from callcenter_ws.requests.admission import DRAINING_RETRY_AFTER_SECONDS
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.peer_limits import PeerLimits

MAX_BODY_BYTES = 4_194_304
"""The largest body of a request with a token that may publish."""

MAX_UNTRUSTED_BODY_BYTES = 16_384
"""The largest body of a request without such a token."""

RETRY_AFTER_SECONDS = 5.0
"""The ``Retry-After`` of a request that was given up for ``limits.incoming_bytes``."""

_SERVER = b"callcenter-ws"

_NOTED_REFUSALS = frozenset({ErrorCode.RATE_LIMITED, ErrorCode.DRAINING})


class BoundedRequest(Request):
    """A request whose body is limited while it arrives, not after it was buffered.

    If the declared length or the data received so far exceeds the limit, the response is sent at once: 413, or 401 or
    403 for a body over ``MAX_UNTRUSTED_BODY_BYTES`` without a publisher's token. The rest of the body is read and
    discarded for a while: closing while the peer still sends could destroy the response in transit (RFC 9112
    section 9.6). A body that arrives in more than one piece counts for ``limits.incoming_bytes``.

    Attributes:
        peer: who has sent it.
        target_refusal: why its target is refused.
    """

    channel: GatewayChannel
    content: BytesIO

    def __init__(self, channel: GatewayChannel, *args: object, **kwargs: object) -> None:
        super().__init__(channel, *args, **kwargs)
        self._refused = False
        self._tenant_id: str | None = None
        self._length: int | None = None
        self.peer: RequestPeer
        self.target_refusal: Refusal | None = None

    def gotLength(self, length: int | None) -> None:
        """Check the declared length of the body in bytes; None for a chunked body. The head is complete."""
        # Always in memory: Twisted would store a large body in a temporary file, and payloads must not reach a disk.
        self.content = BytesIO()
        self._length = length
        self.peer = self.channel.request_peer(self)
        self._check(length or 0, self._check_head)

    def _check_head(self) -> None:
        """Refuse the request if the node stops; else count it for its network, and check its target."""
        if self.channel.site_state.refuses_requests and self.channel.target_path() not in PROBE_PATHS:
            raise Refusal(ErrorCode.DRAINING, retry_after=DRAINING_RETRY_AFTER_SECONDS)
        self.peer.count_request()
        if self.channel.peer_address.is_proxy:
            self.peer.count_bytes(self.channel.head_bytes())
        if self.target_refusal is not None:
            raise self.target_refusal

    def handleContentChunk(self, data: bytes) -> None:
        """Buffer a piece of the body, unless the request is refused."""
        if self._refused:
            return
        size = len(data)
        self._check(self.content.tell() + size)
        if size != self._length and not self._refused:
            self.channel.limits.incoming.add(self, self._holder, size)
        if not self._refused:
            self.content.write(data)

    @property
    def _holder(self) -> Hashable:
        return self.peer.network if self._tenant_id is None else ("tenant", self._tenant_id)

    def give_up(self) -> None:
        """Refuse the request: others need the memory."""
        self._refuse(Refusal(ErrorCode.OVERLOADED, "too many bytes of requests", retry_after=RETRY_AFTER_SECONDS))

    def _check(self, size: int, first: Callable[[], None] | None = None) -> None:
        try:
            if first is not None:
                first()
            self._check_size(size)
        except Refusal as refusal:
            if refusal.code in _NOTED_REFUSALS or refusal is self.target_refusal:
                self.channel.note_refused(self.peer.network, refusal)
            self._refuse(refusal)

    def _check_size(self, size: int) -> None:
        if size > MAX_BODY_BYTES:
            raise Refusal(ErrorCode.TOO_LARGE, f"the body is larger than {MAX_BODY_BYTES} bytes")
        if size <= MAX_UNTRUSTED_BODY_BYTES or self._tenant_id is not None:
            return
        authenticator = self.channel.authenticator
        if authenticator is None:
            raise Refusal(ErrorCode.TOO_LARGE, f"the body is larger than {MAX_UNTRUSTED_BODY_BYTES} bytes")
        self._tenant_id = authorize(authenticator, self, PUBLISHER_ROLES).tenant_id

    def _refuse(self, refusal: Refusal) -> None:
        self._refused = True
        self.channel.limits.incoming.remove(self)
        self.content = BytesIO()
        # Otherwise the channel would write "100 Continue" after the response.
        self.requestHeaders.removeHeader(b"Expect")
        self.clientproto = b"HTTP/1.1"
        self.setHeader(b"Connection", b"close")
        send(self, refusal_response(refusal))
        self.channel.linger()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Process the complete request, unless it was refused."""
        if self._refused:
            self.method, self.path = command, path.partition(b"?")[0]
            self.finish()
            return
        self.channel.limits.incoming.complete(self)
        super().requestReceived(command, path, version)

    def _handleStar(self) -> None:
        """Respond to a request about the server as a whole (RFC 9110 section 9.3.7)."""
        if self.method == b"OPTIONS":
            response = json_response({})
        else:
            refused = refusal_response(Refusal(ErrorCode.METHOD_NOT_ALLOWED))
            response = Response(refused.body, refused.status, {**refused.headers, "Allow": "OPTIONS"})
        send_and_finish(self, response)

    def _cleanup(self) -> None:
        """Stop counting the body: the response is written, or the connection is lost."""
        self.channel.limits.incoming.remove(self)
        super()._cleanup()

    def connectionLost(self, reason: Failure) -> None:
        """Stop counting the body."""
        self.channel.limits.incoming.remove(self)
        super().connectionLost(reason)

    def processingFailed(self, reason: Failure) -> Failure:
        """Log an exception that a resource raised, and respond with 500 without any details."""
        log_unhandled(reason, self)
        if self.startedWriting:
            self.loseConnection()
            return reason
        try:
            send_and_finish(self, INTERNAL_ERROR)
        except Exception:
            log_unhandled(Failure(), self)
            self.loseConnection()
        return reason

    def write(self, data: bytes) -> None:
        """Write a piece of the response; the ``Server`` header contains no version."""
        if not self.startedWriting:
            self.setHeader(b"Server", _SERVER)
            for name, value in cors_headers(self).items():
                self.setHeader(name, value)
        super().write(data)

    def __repr__(self) -> str:
        """Return a description without the query string, which may hold a token: Twisted logs it."""
        return f"<{type(self).__name__} {self.method!r} {loggable_path(self)}>"


class GatewaySite(Site):
    """An HTTP/1.1 site with deadlines and bounded requests, and without an access log.

    Args:
        root: the root resource.
        authenticator: verifies the tokens of requests with a large body; None if no such body is accepted.
        upgrade_handlers: open WebSockets, by path. Each path also needs a resource, for handshakes of an unusual shape.
        cors: which pages of other sites may read responses; None: none.
        handshake_timeout: seconds for the head of a request, TLS handshake included.
        body_timeout: seconds for the body of a request.
        idle_timeout: seconds that a connection may be idle between requests.
        body_writing: how large bodies are written; None: at once.

    Attributes:
        limits: the limits of unauthenticated peers.
        first_bytes_deadline: the deadline of connections that have received no data.
        state: what the connections share.
    """

    protocol = GatewayChannel  # type: ignore[assignment]  # twisted.web's own is a proxy that may switch to HTTP/2
    requestFactory = BoundedRequest
    displayTracebacks = False
    noisy = False

    def __init__(
        self,
        root: Resource,
        reactor: IReactorTime,
        *,
        authenticator: Authenticator | None = None,
        upgrade_handlers: Mapping[bytes, UpgradeHandler] | None = None,
        limits: PeerLimits | None = None,
        cors: CorsPolicy | None = None,
        handshake_timeout: float = 10.0,
        body_timeout: float = 30.0,
        idle_timeout: float = 60.0,
        body_writing: BodyWriting | None = None,
    ) -> None:
        # twisted.web would parse the body of a form before the sender is authorized.
        super().__init__(root, reactor=reactor, timeout=idle_timeout, parsePOSTFormSubmission=False)
        self.body_writing = body_writing
        self._authenticator = authenticator
        self._cors = cors
        self._upgrade_handlers = upgrade_handlers or {}
        self.limits = limits or PeerLimits.create(ReactorClock(reactor))
        self._request_timeouts = RequestTimeouts(head=handshake_timeout, body=body_timeout)
        self.first_bytes_deadline = SharedDeadline(reactor, handshake_timeout)
        self.state = SiteState()

    def drain(self, *, refuses_requests: bool) -> None:
        """Close each connection after its next response, and refuse all requests but probes if that is wanted."""
        self.state.is_draining, self.state.refuses_requests = True, refuses_requests

    def change_handshake_timeout(self, seconds: float) -> None:
        """Use another ``handshake_timeout`` for new connections, and for those that have received no data."""
        self._request_timeouts = replace(self._request_timeouts, head=seconds)
        self.first_bytes_deadline.change(seconds)

    def buildProtocol(self, addr: IAddress | None) -> FirstBytesProtocol:  # type: ignore[override]  # not twisted.web's
        """Return the protocol of a new connection."""
        return FirstBytesProtocol(
            addr, self.limits, self.first_bytes_deadline, self._upgrade_handlers, self._make_http_connection
        )

    def _make_http_connection(
        self, addr: IAddress | None, first_head_seconds: float, refusal: Refusal | None
    ) -> GatewayChannel:
        """Return an HTTP connection; see ``first_bytes.MakeHttpConnection``."""
        channel: Any = super().buildProtocol(addr)  # declared as the protocol of twisted.web
        channel.timeouts = self._request_timeouts
        channel.limits = self.limits
        channel.site_state = self.state
        channel.peer_address = PeerAddress(addr, self.limits.proxies)
        channel.authenticator = self._authenticator
        channel.cors = self._cors
        channel.first_head_seconds = first_head_seconds
        channel.upgrade_refusal = refusal
        return channel  # type: ignore[no-any-return]  # mypy knows of twisted.web's own protocol only

    def stopFactory(self) -> None:
        """Stop the deadline: the last port is closed."""
        self.first_bytes_deadline.close()
        super().stopFactory()

    def acceptableProtocols(self) -> list[bytes]:
        """Return HTTP/1.1 only: a WebSocket could not take over an HTTP/2 connection."""
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """Do not open an access log."""

    def log(self, request: HTTPRequest) -> None:
        """Do not write an access log: query strings may hold tokens, and a proxy in front can keep a better one."""
