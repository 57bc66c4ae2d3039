"""Persistence: where unacknowledged events are kept besides in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from callcenter_ws.remote.pending_event import PendingEvent


class Persistence(Protocol):
    """Stores the events of a Buffer, and says when each may be sent."""

    def open(self) -> Sequence[PendingEvent]:
        """Start, and return the events that an earlier process left, in order."""

    def add(self, event: PendingEvent) -> None:
        """Store an event after those added before. May be called before ``open``."""

    def remove(self, events: Iterable[PendingEvent]) -> None:
        """Delete events: they are acknowledged or refused."""

    def may_send(self, event: PendingEvent) -> bool:
        """Return whether the event is stored, or cannot be stored now."""

    def is_durable(self, event: PendingEvent) -> bool:
        """Return whether the event would survive the end of this process."""

    async def flush(self) -> None:
        """Store what can be stored, and stop. ``is_durable`` is final afterwards; call ``close`` next."""

    async def close(self) -> None:
        """End. What is stored is returned by the next ``open``."""


class MemoryOnly:
    """No persistence: the events are lost with the process."""

    def open(self) -> Sequence[PendingEvent]:
        """Return nothing."""
        return ()

    def add(self, event: PendingEvent) -> None:
        """Do nothing."""

    def remove(self, events: Iterable[PendingEvent]) -> None:
        """Do nothing."""

    def may_send(self, event: PendingEvent) -> bool:
        """Return True: there is nothing to wait for."""
        return True

    def is_durable(self, event: PendingEvent) -> bool:
        """Return False."""
        return False

    async def flush(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""
