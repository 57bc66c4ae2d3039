"""The WebSocket endpoints by path: ``/ws``, and ``/ws/public`` while that is enabled."""

from __future__ import annotations

from twisted.web.resource import Resource

from callcenter_ws.http.first_bytes import UpgradeHandler
from callcenter_ws.http.responses import JsonNotFound
from callcenter_ws.requests.admission import EndpointName
from callcenter_ws.runtime.client_address import TrustedProxies
from callcenter_ws.ws.endpoint import WebSocketEndpoint
from callcenter_ws.ws.factory import GatewayFactory
from callcenter_ws.ws.handshake import OptionalTokenSources

_PUBLIC_PATH = b"/ws/public"


class WebSocketEndpoints:
    """The two endpoints.

    Attributes:
        staff: the resource of ``/ws``; that of ``/ws/public`` is below it.
        upgrade_handlers: open WebSockets, by path; for GatewaySite.
    """

    def __init__(
        self, factory: GatewayFactory, sources: OptionalTokenSources, proxies: TrustedProxies, *, public: bool
    ) -> None:
        self.staff, self._public = (
            WebSocketEndpoint(kind, factory, sources, proxies, JsonNotFound())
            for kind in (EndpointName.STAFF, EndpointName.PUBLIC)
        )
        self.upgrade_handlers: dict[bytes, UpgradeHandler] = {b"/ws": self.staff.open}
        self.serve_public(public)

    @property
    def serves_public(self) -> bool:
        """Whether there is ``/ws/public``."""
        return _PUBLIC_PATH in self.upgrade_handlers

    def serve_public(self, enabled: bool) -> None:
        """Set whether there is ``/ws/public``; connections that are open stay open."""
        if enabled:
            self.upgrade_handlers[_PUBLIC_PATH] = self._public.open
            self.staff.putChild(b"public", self._public)
        else:
            self.upgrade_handlers.pop(_PUBLIC_PATH, None)
            self.staff.children.pop(b"public", None)

    def add_public(self, segment: bytes, resource: Resource) -> None:
        """Attach a resource below ``/ws/public``."""
        self._public.putChild(segment, resource)

    def replace_token_sources(self, sources: OptionalTokenSources) -> None:
        """Accept tokens from other places in new handshakes."""
        self.staff.token_sources = self._public.token_sources = sources
