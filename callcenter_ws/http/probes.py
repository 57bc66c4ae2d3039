"""``/livez``, ``/readyz`` and ``/metrics``: what orchestrators and monitoring ask."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from typing import Protocol

from twisted.web.server import Request

from callcenter_ws.http.answers import PUBLISHERS, Answer, JsonResource, authorize, json_answer
from callcenter_ws.interfaces import Authenticator

_FORWARDED_BY = (b"Forwarded", b"X-Forwarded-For", b"X-Real-IP", b"Via")


class Readiness(Protocol):
    """Knows why the node cannot serve."""

    def reasons(self) -> list[str]:
        """Why the node is not ready, for a person; empty when it is."""


class LiveResource(JsonResource):
    """``/livez``: 200 as long as the process answers at all. Needs no token."""

    def __init__(self) -> None:
        super().__init__(get=self._live)

    async def _live(self, request: Request) -> Answer:
        return json_answer({"alive": True})


class ReadyResource(JsonResource):
    """``/readyz``: 200, or 503 with the reasons. Needs no token and says nothing of any tenant."""

    def __init__(self, readiness: Readiness) -> None:
        super().__init__(get=self._ready)
        self._readiness = readiness

    async def _ready(self, request: Request) -> Answer:
        reasons = self._readiness.reasons()
        if reasons:
            return json_answer({"ready": False, "reasons": reasons}, 503)
        return json_answer({"ready": True})


class MetricsResource(JsonResource):
    """``/metrics``: the metrics as Prometheus text.

    On a listener of its own (``web.metrics_listen``) it answers everybody. On the main site it answers a token
    of role ``service`` or ``admin``, and a peer on the loopback interface that no proxy speaks for: one with a
    ``Forwarded``, ``X-Forwarded-For``, ``X-Real-IP`` or ``Via`` header is not. A proxy on the same machine that
    sets none of them must not pass this path on. No metric says anything of a tenant, a user or an address.

    Args:
        text: returns the exposition.
        content_type: what ``text`` returns.
        authenticator: verifies tokens; None on a listener of its own.
    """

    def __init__(
        self, text: Callable[[], Awaitable[bytes]], content_type: str, authenticator: Authenticator | None = None
    ) -> None:
        super().__init__(get=self._metrics)
        self._text = text
        self._content_type = content_type
        self._authenticator = authenticator

    async def _metrics(self, request: Request) -> Answer:
        if self._authenticator is not None and not _is_local(request):
            authorize(self._authenticator, request, PUBLISHERS)
        return Answer(await self._text(), headers={"Content-Type": self._content_type})


def _is_local(request: Request) -> bool:
    if any(request.requestHeaders.hasHeader(name) for name in _FORWARDED_BY):
        return False
    try:
        address = ipaddress.ip_address(getattr(request.getClientAddress(), "host", ""))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
