"""The ``twisted.web`` site: what it takes from a peer is bounded in size and in time."""

# The names that twisted.web calls.
# ruff: noqa: N802, N815

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.http.answers import INTERNAL_ERROR, PUBLISHERS, authorize, loggable_path, refusal_answer, send
from callcenter_ws.http.first_bytes import FirstBytesProtocol, UpgradeHandler
from callcenter_ws.http.http_connection import GatewayChannel
from callcenter_ws.http.shared_deadline import SharedDeadline
from callcenter_ws.interfaces import Authenticator

BODY_BYTES = 4_194_304
"""The largest body of a request."""

UNTRUSTED_BODY_BYTES = 16_384
"""The largest body before the peer has shown a token that may publish."""

_SERVER = b"callcenter-ws"
_log = Logger()


class BoundedRequest(Request):
    """A request whose body is bounded while it arrives, not after it was buffered.

    A body that is too large, by its declared length or by what has arrived of it, is answered at once with
    413, and one over ``UNTRUSTED_BODY_BYTES`` without a publisher's token with 401 or 403. The rest of it
    is read and thrown away for a moment, because closing on a peer that still sends would destroy the
    answer on its way (RFC 9112 section 9.6).
    """

    channel: GatewayChannel
    content: BytesIO

    def __init__(self, channel: GatewayChannel, *args: Any, **kwargs: Any) -> None:
        super().__init__(channel, *args, **kwargs)
        self._refused = False
        self._trusted = False

    def gotLength(self, length: int | None) -> None:
        """The head is complete. ``length`` is the declared size of the body in bytes; None for chunks."""
        # In memory: the body is small, and a temporary file would put payloads on a disk.
        self.content = BytesIO()
        self._admit(length or 0)

    def handleContentChunk(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self._refused:
            return
        self._admit(self.content.tell() + len(data))
        if not self._refused:
            self.content.write(data)

    def _admit(self, size: int) -> None:
        try:
            self._check_size(size)
        except Refusal as refusal:
            self._refuse(refusal)

    def _check_size(self, size: int) -> None:
        if size > BODY_BYTES:
            raise Refusal(ErrorCode.TOO_LARGE, f"the body is larger than {BODY_BYTES} bytes")
        if size <= UNTRUSTED_BODY_BYTES or self._trusted:
            return
        authenticator = self.channel.site.authenticator
        if authenticator is None:
            raise Refusal(ErrorCode.TOO_LARGE, f"the body is larger than {UNTRUSTED_BODY_BYTES} bytes")
        authorize(authenticator, self, PUBLISHERS)
        self._trusted = True

    def _refuse(self, refusal: Refusal) -> None:
        self._refused = True
        self.content = BytesIO()
        # Or the channel would write "100 Continue" after the answer.
        self.requestHeaders.removeHeader(b"Expect")
        self.clientproto = b"HTTP/1.1"
        self.setHeader(b"Connection", b"close")
        send(self, refusal_answer(refusal))
        self.channel.linger()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The request is complete: process it, unless it has its answer already."""
        if self._refused:
            self.method, self.path = command, path.partition(b"?")[0]
            self.finish()
            return
        super().requestReceived(command, path, version)

    def processingFailed(self, reason: Failure) -> Failure:
        """A resource raised: log it, and tell the peer no more than that."""
        _log.failure("{path} failed", reason, path=loggable_path(self))
        if self.startedWriting:
            self.channel.loseConnection()
        else:
            send(self, INTERNAL_ERROR)
            self.finish()
        return reason

    def write(self, data: bytes) -> None:
        """Write a piece of the answer, under a name that says no version."""
        if not self.startedWriting:
            self.setHeader(b"Server", _SERVER)
        super().write(data)

    def __repr__(self) -> str:
        """Twisted logs this: it must not hold the query string, which may hold a token."""
        return f"<{type(self).__name__} {self.method!r} {loggable_path(self)}>"


class GatewaySite(Site):
    """A site of HTTP/1.1 connections with deadlines and bounded requests, and without an access log.

    Args:
        root: the root resource.
        authenticator: knows who may send a large body; None where nothing is published.
        doors: what opens WebSockets, by path; each is also a resource, for requests of an unusual shape.
        handshake_timeout: seconds for the head of a request, TLS handshake included, however it trickles.
        body_timeout: seconds for the body of a request.
        idle_timeout: seconds that a connection may lie idle between requests.
    """

    protocol = GatewayChannel  # type: ignore[assignment]  # twisted.web's own is a proxy that may switch to HTTP/2
    requestFactory = BoundedRequest
    displayTracebacks = False
    noisy = False

    def __init__(
        self,
        root: Resource,
        reactor: Any,  # IReactorTime, which mypy cannot read
        *,
        authenticator: Authenticator | None = None,
        upgrade_handlers: Mapping[bytes, UpgradeHandler] | None = None,
        handshake_timeout: float = 10.0,
        body_timeout: float = 30.0,
        idle_timeout: float = 60.0,
    ) -> None:
        # A form's body would be parsed before anybody has asked who sent it.
        super().__init__(root, reactor=reactor, timeout=idle_timeout, parsePOSTFormSubmission=False)
        self.authenticator = authenticator
        self.handshake_timeout = handshake_timeout
        self.body_timeout = body_timeout
        self.upgrade_handlers = upgrade_handlers or {}
        self.waiting = SharedDeadline(reactor, handshake_timeout)

    def buildProtocol(self, addr: Any) -> Any:
        """Return what meets a new connection."""
        return FirstBytesProtocol(self, addr)

    def channel(self, addr: Any, first_head_within: float) -> GatewayChannel:
        """Return what serves HTTP on a connection whose first head must be complete in so many seconds."""
        channel: Any = super().buildProtocol(addr)
        channel.first_head_within = first_head_within
        return channel  # type: ignore[no-any-return]  # mypy knows of twisted.web's own protocol only

    def stopFactory(self) -> None:
        """The last port is closed."""
        self.waiting.close()
        super().stopFactory()

    def acceptableProtocols(self) -> list[bytes]:
        """Never HTTP/2: a WebSocket could not take its connection over."""
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """Open no access log."""

    def log(self, request: HTTPRequest) -> None:
        """Write no access log: query strings may hold tokens, and a proxy in front keeps a better one."""
