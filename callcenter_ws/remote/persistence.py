"""Persistence: where unacknowledged events are kept besides in memory."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from callcenter_ws.events.commands import CommandKey
from callcenter_ws.remote.pending_event import PendingEvent
from callcenter_ws.remote.records import RecordChanges
from callcenter_ws.remote.taken_commands import TakenCommand


def new_instance() -> str:
    """Return a new instance of a source: the host and the process, for people, and random digits."""
    return f"{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(8)}"


class Persistence(Protocol):
    """Stores the events of a Buffer, says when each may be sent, and knows the generation of the source.

    Attributes:
        instance: identifies this store, or this process, to the gateway.
        generation: the generation of the numbers of events; None: not assigned yet.
        last_number: no event of an earlier process has a higher number.
        stored_records: the records that an earlier process left, after ``open``.
        stored_commands: the commands that an earlier process had taken, after ``open``.
    """

    instance: str
    generation: int | None
    last_number: int
    stored_records: Mapping[str, bytes]
    stored_commands: Sequence[TakenCommand]

    @property
    def unwritten_record_bytes(self) -> int:
        """The size of the changed records that wait to be stored."""

    def open(self) -> Sequence[PendingEvent]:
        """Start, and return the events that an earlier process left, in order."""

    def add(self, event: PendingEvent) -> None:
        """Store an event after those added before. May be called before ``open``.

        With the outcome of a command, that command is closed.
        """

    def add_unit(self, events: Sequence[PendingEvent], changes: RecordChanges) -> None:
        """Store events and changed records together, after what was added before. May be called before ``open``."""

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

    async def take_command(self, command: TakenCommand, forgotten: Sequence[CommandKey]) -> None:
        """Store that a command is taken, as ``keep_generation`` stores, and forget others.

        Raises:
            Refusal: ``unavailable``: it cannot be stored now, and nothing has changed.
        """

    async def flush(self) -> None:
        """Store what can be stored, and stop. ``is_durable`` is final afterwards; call ``close`` next."""

    async def close(self) -> None:
        """End. What is stored is returned by the next ``open``."""


class MemoryOnly:
    """No persistence: the events, the records and the generation are lost with the process."""

    unwritten_record_bytes = 0
    stored_commands: Sequence[TakenCommand] = ()

    def __init__(self) -> None:
        self.instance = new_instance()
        self.generation: int | None = None
        self.last_number = 0
        self._records: dict[str, bytes] = {}
        self.stored_records: Mapping[str, bytes] = self._records

    def open(self) -> Sequence[PendingEvent]:
        """Return nothing."""
        return ()

    def add(self, event: PendingEvent) -> None:
        """Do nothing."""

    def add_unit(self, events: Sequence[PendingEvent], changes: RecordChanges) -> None:
        """Keep the records for the next ``open``."""
        self._records.update({key: value for key, value in changes.items() if value is not None})
        for key in [key for key, value in changes.items() if value is None]:
            self._records.pop(key, None)

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

    async def take_command(self, command: TakenCommand, forgotten: Sequence[CommandKey]) -> None:
        """Do nothing."""

    async def flush(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""
