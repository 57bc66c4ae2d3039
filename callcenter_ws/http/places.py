"""Places for large responses: how many are prepared and written at the same time."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from twisted.web.server import Request

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal

RETRY_AFTER_SECONDS = 5.0


class ResponseLimits(NamedTuple):
    """How many responses a process, a tenant and a user may have at the same time."""

    process: int
    tenant: int
    user: int


class Places:
    """Counts the responses of one resource.

    Args:
        refusal: the text for requests beyond the limits.
    """

    def __init__(self, refusal: str, limits: ResponseLimits) -> None:
        self._refusal = refusal
        self.limits = limits
        self._open: dict[Hashable, int] = {}

    def __len__(self) -> int:
        """Return the responses that are being prepared or written."""
        return self._open.get((0, "process"), 0)

    @contextmanager
    def take(self, principal: Principal, request: Request) -> Iterator[None]:
        """Take a place until the response is prepared and the request has ended.

        A response is prepared to its end even if the client disconnects, so its place is not free before.

        Raises:
            Refusal: ``try_later`` if there is none.
        """
        tenant_id = principal.tenant_id
        names = ("process", tenant_id, (tenant_id, principal.user_id))
        keys: list[Hashable] = list(enumerate(names))
        for key, limit in zip(keys, self.limits, strict=True):
            if self._open.get(key, 0) >= limit:
                raise Refusal(ErrorCode.TRY_LATER, self._refusal, retry_after=RETRY_AFTER_SECONDS)
        for key in keys:
            self._open[key] = self._open.get(key, 0) + 1
        under_way = {"preparation", "request"}

        def end(part: str) -> None:
            under_way.discard(part)
            if not under_way:
                self._free(keys)

        request.notifyFinish().addBoth(lambda _: end("request"))
        try:
            yield
        finally:
            end("preparation")

    def _free(self, keys: list[Hashable]) -> None:
        for key in keys:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]
