"""The endpoints ``/ws`` and ``/ws/public``: from an HTTP request to a WebSocket.

A handshake of the usual shape comes through the door of the site's entrance. Any other was parsed by twisted.web,
strictly and within bounds, and comes to the resource; what was read is handed over, not parsed again.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.requests.admission import Endpoint
from callcenter_ws.runtime.http_head import Head
from callcenter_ws.runtime.transports import switch_protocol
from callcenter_ws.ws.client_address import TrustedProxies
from callcenter_ws.ws.factory import GatewayFactory
from callcenter_ws.ws.handshake import Handshake, HandshakeResult, TokenPlaces, header_values, read_handshake
from callcenter_ws.ws.protocol import OF_THE_PEER, GatewayProtocol

_log = Logger()


class WebSocketEndpoint(Resource):
    """Opens WebSockets for one of the two endpoints."""

    def __init__(
        self,
        endpoint: Endpoint,
        factory: GatewayFactory,
        places: TokenPlaces,
        proxies: TrustedProxies,
        not_found: Resource,
    ) -> None:
        super().__init__()
        self._not_found = not_found
        self._endpoint = endpoint
        self._factory = factory
        self._places = places
        self._proxies = proxies

    def getChild(self, path: bytes, request: Request) -> Resource:
        """``/ws/`` is ``/ws``; anything else below it does not exist."""
        return self if path == b"" else self._not_found

    def open(self, head: Head, transport: Any) -> Refusal | None:
        """Open a WebSocket on a connection that has read nothing but ``head``; see ``http.first_bytes.UpgradeHandler``.

        Nobody is refused here: who would be is for ``render`` to answer.
        """
        host = getattr(transport.getPeer(), "host", None)
        try:
            self._open(head, self._ip(head, host), lambda protocol: switch_protocol(transport, protocol))
        except Refusal as refusal:
            return refusal
        return None

    def render(self, request: Request) -> bytes | int:
        """Upgrade the connection, or refuse in JSON."""
        head = _head_of(request)
        ip = self._ip(head, getattr(request.getClientAddress(), "host", None))
        # The door has looked already, and at no more than this.
        channel: Any = request.channel
        refused, channel.upgrade_refusal = getattr(channel, "refused_at_door", None), None
        if refused is not None:
            return self._refuse(request, ip, refused)
        try:
            self._open(head, ip, lambda protocol: _take_over(request, protocol))
        except Refusal as refusal:
            return self._refuse(request, ip, refusal)
        return NOT_DONE_YET

    def _ip(self, head: Head, host: str | None) -> str:
        return self._proxies.client_ip(host, header_values(head, b"x-forwarded-for"))

    def _open(self, head: Head, ip: str, take_over: Callable[[GatewayProtocol], None]) -> None:
        """Find out who comes and let him in.

        Raises:
            Refusal: nothing has been done.
        """
        handshake = read_handshake(head, self._places)
        self._factory.handshake_authenticator.check_origin(self._endpoint, handshake.origin)
        self._factory.admission.open_socket(ip)
        try:
            handshake_result = self._visit(handshake, ip)
        except BaseException:
            self._factory.admission.close_socket(ip)
            raise
        protocol = self._factory.build()
        protocol.handshake_result = handshake_result
        try:
            take_over(protocol)
            protocol.upgrade(handshake.key, speaks_subprotocol=handshake.speaks_subprotocol, deflate=handshake.deflate)
        except Exception:
            _log.failure("opening a WebSocket for {ip} met a bug", ip=ip)
            if protocol.transport is not None:
                protocol.transport.abortConnection()

    def _visit(self, handshake: Handshake, ip: str) -> HandshakeResult:
        """Find out who it is.

        A browser cannot read the status of a refused handshake: a client that speaks our subprotocol is let in
        to be told why it is refused.

        Raises:
            Refusal: the client does not speak our subprotocol, or may come again as it is.
        """
        principal = session_token = refused = None
        try:
            principal, session_token = self._factory.handshake_authenticator.identify(self._endpoint, handshake)
        except Refusal as refusal:
            if not handshake.speaks_subprotocol or refusal.code not in OF_THE_PEER:
                raise
            refused = refusal
        return HandshakeResult(
            self._endpoint,
            ip,
            handshake.options,
            handshake.tenant_id,
            handshake.origin,
            principal=principal,
            session_token=session_token,
            refusal=refused,
        )

    def _refuse(self, request: Request, ip: str, refusal: Refusal) -> bytes:
        self._factory.note_refused(ip, refusal)
        status = HTTPStatus(refusal.entry.http_status)
        # twisted.web has no words for 426 and 429.
        request.setResponseCode(status, status.phrase.encode())
        for name, value in refusal.http_headers.items():
            request.setHeader(name, value)
        if refusal.code is ErrorCode.UPGRADE_REQUIRED:
            request.setHeader("Upgrade", "websocket")
            request.setHeader("Sec-WebSocket-Version", "13")
        elif refusal.code is ErrorCode.METHOD_NOT_ALLOWED:
            request.setHeader("Allow", "GET")
        return refusal.http_body


def _head_of(request: Any) -> Head:
    fields = {name.lower(): values for name, values in request.requestHeaders.getAllRawHeaders()}
    return Head(request.method, request.uri, request.clientproto, fields)


def _take_over(request: Any, protocol: GatewayProtocol) -> None:
    """Give the request's connection to ``protocol``, as Autobahn's ``WebSocketResource`` does."""
    channel = request.channel
    transport = channel.transport
    channel.setTimeout(None)
    transport.unregisterProducer()
    # A first frame that came in one segment with the handshake is still in the channel's hands.
    channel.rawDataReceived = protocol.dataReceived
    channel.transport = None
    switch_protocol(transport, protocol)
    # The channel pauses reading while it serves a request whose client sends on.
    transport.resumeProducing()
