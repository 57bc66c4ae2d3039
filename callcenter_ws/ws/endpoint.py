"""The endpoints ``/ws`` and ``/ws/public``: from an HTTP request to a WebSocket.

Most handshakes have the usual shape and arrive in one segment: FirstBytesProtocol passes them to
``WebSocketEndpoint.open``. All others are parsed by twisted.web and arrive at ``WebSocketEndpoint.render``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

from twisted.internet.interfaces import ISSLTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal
from callcenter_ws.requests.admission import EndpointName
from callcenter_ws.runtime.client_address import TrustedProxies
from callcenter_ws.runtime.http_head import RequestHead
from callcenter_ws.runtime.network import network_of
from callcenter_ws.runtime.peer_budget import Credential
from callcenter_ws.runtime.transports import TwistedTransport, switch_protocol
from callcenter_ws.runtime.web_origin import is_own_origin
from callcenter_ws.ws.factory import GatewayFactory
from callcenter_ws.ws.handshake import Handshake, HandshakeResult, OptionalTokenSources, header_values, read_handshake
from callcenter_ws.ws.protocol import GatewayProtocol

EXPLAINED_REFUSALS = frozenset(
    {
        ErrorCode.UNAUTHORIZED,
        ErrorCode.FORBIDDEN,
        ErrorCode.CONNECTION_LIMIT,
        ErrorCode.TRY_LATER,
        ErrorCode.TENANT_SUSPENDED,
        # Of the event types and queues that the URL names.
        ErrorCode.INVALID_MESSAGE,
        ErrorCode.UNKNOWN_EVENT,
    }
)
"""Refusals that are sent over the WebSocket: a browser does not see an HTTP status, nor ``Retry-After``."""


class WebSocketEndpoint(Resource):
    """Opens WebSockets for one of the two endpoints.

    Args:
        proxies: the proxies whose ``X-Forwarded-For`` headers are trusted.
        not_found: the resource of all paths below this one.

    Attributes:
        token_sources: where a token may be besides the ``Authorization`` header and the subprotocols; may be replaced.
    """

    def __init__(
        self,
        endpoint: EndpointName,
        factory: GatewayFactory,
        token_sources: OptionalTokenSources,
        proxies: TrustedProxies,
        not_found: Resource,
    ) -> None:
        super().__init__()
        self._not_found = not_found
        self._endpoint = endpoint
        self._factory = factory
        self._context = factory.context
        self.token_sources = token_sources
        self._proxies = proxies

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Return this resource for ``/ws/``, which is the same as ``/ws``; no other path exists below it."""
        return self if path == b"" else self._not_found

    def open(self, head: RequestHead, transport: TwistedTransport) -> Refusal | None:
        """Open a WebSocket on a connection that has received nothing but ``head``.

        Returns:
            None on success. Otherwise the refusal, which ``render`` must send; see ``http.first_bytes.UpgradeHandler``.
        """
        host = getattr(transport.getPeer(), "host", None)
        try:
            self._open(head, host, transport, lambda protocol: switch_protocol(transport, protocol))
        except Refusal as refusal:
            return refusal.copy()
        return None

    def render(self, request: Request) -> bytes | int:
        """Upgrade the connection, or send a refusal as JSON."""
        head = _head_of(request)
        host = getattr(request.getClientAddress(), "host", None)
        ip = self._client_ip(head, host)
        # Set if ``open`` has refused this same request.
        channel: Any = request.channel  # a GatewayChannel, which twisted.web declares as its own
        refusal: Refusal | None = channel.upgrade_refusal
        channel.upgrade_refusal = None
        if refusal is not None:
            return self._send_refusal(request, ip, refusal)
        try:
            self._open(head, host, channel.transport, lambda protocol: _switch_request_protocol(request, protocol))
        except Refusal as refused:
            return self._send_refusal(request, ip, refused)
        return NOT_DONE_YET

    def _client_ip(self, head: RequestHead, host: str | None) -> str:
        return self._proxies.client_ip(host, header_values(head, b"x-forwarded-for"))

    def _open(
        self,
        head: RequestHead,
        host: str | None,
        transport: TwistedTransport,
        switch: Callable[[GatewayProtocol], None],
    ) -> None:
        """Check the handshake, then let ``switch`` connect a new protocol to the transport.

        Raises:
            Refusal: the connection and all counts are unchanged.
        """
        check_origin = partial(self._check_origin, head, host, transport)
        try:
            handshake = read_handshake(head, self.token_sources)
        except Refusal as refusal:
            if refusal.code is ErrorCode.UPGRADE_REQUIRED:
                # A browser hides from a page why its handshake was refused. It may read the answer to a plain request.
                for origin in header_values(head, b"origin"):
                    check_origin(origin)
            raise
        if handshake.origin is not None:
            handshake = handshake._replace(origin=check_origin(handshake.origin))
        ip = self._client_ip(head, host)
        result = self._counted_result(handshake, ip, network_of(ip))
        protocol = self._factory.build()
        protocol.handshake_result = result
        try:
            switch(protocol)
            protocol.upgrade(handshake.key, speaks_subprotocol=handshake.speaks_subprotocol, deflate=handshake.deflate)
        except Exception:
            self._context.peer_limits.log.failure("unhandled error in opening a WebSocket for {ip}", Failure(), ip=ip)
            if protocol.transport is not None:
                protocol.transport.abortConnection()

    def _check_origin(
        self, head: RequestHead, host: str | None, transport: TwistedTransport, origin: str
    ) -> str | None:
        is_own = partial(self._is_own_origin, head, host, transport)
        return self._context.authenticator.check_origin(self._endpoint, origin, is_own)

    def _is_own_origin(self, head: RequestHead, host: str | None, transport: TwistedTransport, origin: str) -> bool:
        """Return whether the site that the client has connected to is that of ``origin``, behind proxies too."""
        is_encrypted = ISSLTransport.providedBy(transport)
        names = header_values(head, b"host")
        if self._proxies.trusts(self._proxies.client_ip(host, ())):
            names = _last_forwarded(head, b"x-forwarded-host") or names
            is_encrypted = "https" in _last_forwarded(head, b"x-forwarded-proto")
        return len(names) == 1 and is_own_origin(origin, names[0], is_encrypted=is_encrypted)

    def _counted_result(self, handshake: Handshake, ip: str, network: str) -> HandshakeResult:
        """Count the socket and return the result of the handshake; see ``_authenticate``."""
        admission = self._context.admission
        try:
            self._count_handshake(handshake, network)
            admission.open_socket(network)
        except Refusal as refusal:
            # A client that is sent the reason over a WebSocket is also sent when it may reconnect.
            if not handshake.speaks_subprotocol or refusal.code is ErrorCode.DRAINING:
                raise
            return self._result(handshake, ip, network, refusal=_passing(refusal), is_counted=False)
        try:
            return self._authenticate(handshake, ip, network)
        except BaseException:
            admission.close_socket(network)
            raise

    def _count_handshake(self, handshake: Handshake, network: str) -> None:
        """Count a handshake as a request if it has no token; its token is counted if it is refused.

        Raises:
            Refusal: ``rate_limited``: the network has used its share.
        """
        budget = self._context.peer_limits.budget
        if handshake.token is None:
            if seconds := budget.request(network):
                raise Refusal(ErrorCode.RATE_LIMITED, "too many handshakes from this address", retry_after=seconds)
        elif seconds := budget.seconds_until_try(network, Credential.TOKEN):
            budget.count_refused_try()
            raise Refusal(ErrorCode.RATE_LIMITED, "too many refused tokens from this address", retry_after=seconds)

    def _authenticate(self, handshake: Handshake, ip: str, network: str) -> HandshakeResult:
        """Return the result of the handshake, which holds the refusal where this is to be sent over the WebSocket.

        Raises:
            Refusal: the client does not speak the gateway's subprotocol, or the refusal is not explained to it.
        """
        principal = session_token = refused = None
        try:
            principal, session_token = self._context.authenticator.identify(self._endpoint, handshake, network)
        except Refusal as refusal:
            if handshake.token is not None and refusal.code is ErrorCode.UNAUTHORIZED:
                self._context.peer_limits.budget.credential_refused(network, Credential.TOKEN)
            elif handshake.token is not None and refusal.code is ErrorCode.TRY_LATER:
                # As a handshake without a token: any peer can make a token of an unknown key.
                self._context.peer_limits.budget.request(network)
            if not handshake.speaks_subprotocol or refusal.code not in EXPLAINED_REFUSALS:
                raise
            refused = refusal.copy()
        return self._result(handshake, ip, network, principal=principal, session_token=session_token, refusal=refused)

    def _result(
        self,
        handshake: Handshake,
        ip: str,
        network: str,
        *,
        principal: Principal | None = None,
        session_token: str | None = None,
        refusal: Refusal | None = None,
        is_counted: bool = True,
    ) -> HandshakeResult:
        return HandshakeResult(
            self._endpoint,
            ip,
            handshake.options,
            handshake.tenant_id,
            handshake.origin,
            principal=principal,
            session_token=session_token,
            refusal=refusal,
            network=network,
            is_counted=is_counted,
            gives_back_request=handshake.token is None and principal is None and is_counted,
        )

    def _send_refusal(self, request: Request, ip: str, refusal: Refusal) -> bytes:
        self._context.note_refused(ip, self._endpoint.value, refusal)
        status = HTTPStatus(refusal.entry.http_status)
        # twisted.web has no reason phrase for 426 and 429.
        request.setResponseCode(status, status.phrase.encode())
        for name, value in refusal.http_headers.items():
            request.setHeader(name, value)
        if refusal.code is ErrorCode.UPGRADE_REQUIRED:
            request.setHeader("Upgrade", "websocket")
            request.setHeader("Sec-WebSocket-Version", "13")
        elif refusal.code is ErrorCode.METHOD_NOT_ALLOWED:
            request.setHeader("Allow", "GET")
        return refusal.http_body


def _passing(refusal: Refusal) -> Refusal:
    """Return a refusal at a limit of a network or a node as one after which clients return; always another object."""
    if refusal.code is not ErrorCode.CONNECTION_LIMIT:
        return refusal.copy()
    return Refusal(ErrorCode.TRY_LATER, refusal.message, retry_after=refusal.retry_after)


def _last_forwarded(head: RequestHead, name: bytes) -> list[str]:
    """Return what the nearest proxy has appended to a header; empty if it is absent."""
    return [value.rpartition(",")[2].strip().lower() for value in header_values(head, name)[-1:]]


def _head_of(request: Request) -> RequestHead:
    fields = {name.lower(): values for name, values in request.requestHeaders.getAllRawHeaders()}
    return RequestHead(request.method, request.uri, request.clientproto, fields)


def _switch_request_protocol(request: Request, protocol: GatewayProtocol) -> None:
    """Connect ``protocol`` to the request's transport, as Autobahn's ``WebSocketResource`` does."""
    channel: Any = request.channel  # its methods have no annotations, and some are replaced
    transport = channel.transport
    channel.setTimeout(None)
    channel.release()
    transport.unregisterProducer()
    # The channel still holds frames that arrived in the same segment as the handshake.
    channel.rawDataReceived = protocol.dataReceived
    channel.transport = None
    switch_protocol(transport, protocol)
    # The channel pauses reading while it serves a request and more data arrives.
    transport.resumeProducing()
