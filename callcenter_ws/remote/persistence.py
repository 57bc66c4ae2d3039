"""Persistence: where unacknowledged events are kept besides in memory."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Sequence
from typing import Protocol

from callcenter_ws.remote.pending_event import PendingEvent


def new_instance() -> str:
    """Return a new instance of a source: the host and the process, for people, and random digits."""
    return f"{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(8)}"


class Persistence(Protocol):
    """Stores the events of a Buffer, says when each may be sent, and knows the generation of the source.

    Attributes:
        instance: identifies this store, or this process, to the gateway.
        generation: the generation of the numbers of events; None: not assigned yet.
        last_number: no event of an earlier process has a higher number.
    """

    instance: str
    generation: int | None
    last_number: int

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

    async def keep_generation(self, generation: int) -> None:
        """Store the generation, so that it survives a power loss.

        Raises:
            Refusal: ``unavailable``: it cannot be stored now, and ``generation`` is what it was.
        """

    async def leave_generation(self, known: int) -> None:
        """Forget the generation, and with it all events with numbers up to ``known``, as ``keep_generation`` stores it.

        Both or nothing: an event of the generation that is left must not be sent in the next one.

        Raises:
            Refusal: ``unavailable``: it cannot be stored now, and nothing has changed.
        """

    async def flush(self) -> None:
        """Store what can be stored, and stop. ``is_durable`` is final afterwards; call ``close`` next."""

    async def close(self) -> None:
        """End. What is stored is returned by the next ``open``."""


class MemoryOnly:
    """No persistence: the events, and the generation, are lost with the process."""

    def __init__(self) -> None:
        self.instance = new_instance()
        self.generation: int | None = None
        self.last_number = 0

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

    async def keep_generation(self, generation: int) -> None:
        """Keep it in memory."""
        self.generation = generation

    async def leave_generation(self, known: int) -> None:
        """Forget it; there are no events here."""
        self.generation = None

    async def flush(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""
