"""Where events are kept besides in memory while the gateway has not answered for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from callcenter_ws.remote.pending_event import PendingEvent


class Persistence(Protocol):
    """What the buffer tells of its events, and asks before one is sent."""

    def open(self) -> Sequence[PendingEvent]:
        """Begin; return what an earlier process left, in order."""

    def add(self, event: PendingEvent) -> None:
        """An event is to be kept, behind those before it. It may come before ``open``."""

    def remove(self, events: Iterable[PendingEvent]) -> None:
        """These need not be kept any more."""

    def may_send(self, event: PendingEvent) -> bool:
        """Whether it is kept as well as can be."""

    def survives(self, event: PendingEvent) -> bool:
        """Whether it would still be there after the end of this process."""

    async def flush(self) -> None:
        """Keep what can be kept; ``survives`` is final then."""

    async def close(self) -> None:
        """End, with all that is kept left to the next ``open``."""


class MemoryOnly:
    """NullWriter: what the process forgets is lost."""

    def open(self) -> Sequence[PendingEvent]:
        """Nothing was left."""
        return ()

    def add(self, event: PendingEvent) -> None:
        """The buffer has it."""

    def remove(self, events: Iterable[PendingEvent]) -> None:
        """The buffer had it."""

    def may_send(self, event: PendingEvent) -> bool:
        """Always: there is nothing to wait for."""
        return True

    def survives(self, event: PendingEvent) -> bool:
        """Never."""
        return False

    async def flush(self) -> None:
        """There is nothing to do."""

    async def close(self) -> None:
        """There is nothing to do."""
