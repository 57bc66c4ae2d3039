"""``/livez``, ``/readyz`` and ``/metrics``, for orchestrators and monitoring."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Protocol

from twisted.web.server import Request

from callcenter_ws.http.request_peer import RequestPeer
from callcenter_ws.http.responses import PUBLISHER_ROLES, JsonResource, Response, authorize, json_response
from callcenter_ws.interfaces import Authenticator

METRICS_UNITS = 16
"""Units of a turn (``runtime.turns``) for rendering the metrics, which takes one to two milliseconds."""

_PROXY_HEADERS = (b"Forwarded", b"X-Forwarded-For", b"X-Real-IP", b"Via")
"""Headers that mark a request as forwarded by a proxy."""


class Readiness(Protocol):
    """The readiness of the node."""

    def reasons(self) -> list[str]:
        """Return why the node is not ready, as readable texts; empty if it is ready."""


class LiveResource(JsonResource):
    """``/livez``: responds with 200 while the process runs. Requires no token."""

    def __init__(self) -> None:
        super().__init__(get=self._live)

    async def _live(self, request: Request) -> Response:
        return json_response({"alive": True})


class ReadyResource(JsonResource):
    """``/readyz``: responds with 200, or with 503 and the reasons. Requires no token and names no tenant."""

    def __init__(self, readiness: Readiness) -> None:
        super().__init__(get=self._ready)
        self._readiness = readiness

    async def _ready(self, request: Request) -> Response:
        reasons = self._readiness.reasons()
        if reasons:
            return json_response({"ready": False, "reasons": reasons}, 503)
        return json_response({"ready": True})


class MetricsResource(JsonResource):
    """``/metrics``: the metrics as Prometheus text.

    On a listener of its own (``web.metrics_listen``) it requires no token. On the main site it requires a token with
    the role ``service`` or ``admin``, except from peers on the loopback interface whose requests have none of the
    headers ``Forwarded``, ``X-Forwarded-For``, ``X-Real-IP`` and ``Via``. A proxy on the same machine that sets none of
    these headers must not forward this path. No metric contains a tenant, a user or an address.

    Args:
        text: returns the metrics in the exposition format.
        content_type: the media type of that format.
        authenticator: verifies tokens; None if no token is required.
    """

    def __init__(
        self, text: Callable[[], Awaitable[bytes]], content_type: str, authenticator: Authenticator | None = None
    ) -> None:
        super().__init__(get=self._metrics)
        self._text = text
        self._content_type = content_type
        self._authenticator = authenticator

    async def _metrics(self, request: Request) -> Response:
        if self._authenticator is not None and not _is_local(request):
            authorize(self._authenticator, request, PUBLISHER_ROLES)
        peer: RequestPeer = request.peer  # type: ignore[attr-defined]  # a BoundedRequest, which has one
        peer.spend(METRICS_UNITS)
        return Response(await self._text(), headers={"Content-Type": self._content_type})


def _is_local(request: Request) -> bool:
    if any(request.requestHeaders.hasHeader(name) for name in _PROXY_HEADERS):
        return False
    try:
        address = ipaddress.ip_address(getattr(request.getClientAddress(), "host", ""))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
