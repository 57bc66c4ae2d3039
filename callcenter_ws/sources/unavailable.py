"""The registry of a store that does not support sources yet: every ``Hello`` is refused for the time being."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.sources.claim import Claim
from callcenter_ws.sources.link import SourceLink
from callcenter_ws.sources.registry import SourceCounters


class UnavailableSources:
    """Refuses every source."""

    def __init__(self, lease: float) -> None:
        self.lease = lease
        self.counters = SourceCounters()

    async def register(self, claim: Claim, close: Callable[[str], None]) -> SourceLink:
        """Refuse."""
        raise Refusal(ErrorCode.UNAVAILABLE, "this store does not support sources")

    def link_lost(self, link: SourceLink) -> None:
        """Do nothing: there is no link."""

    async def forget(self, name: str, tenant_id: str | None) -> int:
        """Return 0: there is no source."""
        return 0

    async def sources(self, tenant_id: str | None) -> Sequence[JsonObject]:
        """Return no sources."""
        return ()

    async def chats_are_owned(self, tenant_id: str) -> bool:
        """Return False: there is no source."""
        return False
