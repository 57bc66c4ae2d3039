"""Spool: persistence of unacknowledged events in a file, so that they survive the process."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import CommandKey
from callcenter_ws.remote.command_outcome import key_of
from callcenter_ws.remote.pending_event import PendingEvent
from callcenter_ws.remote.persistence import new_instance
from callcenter_ws.remote.records import RecordChanges
from callcenter_ws.remote.spool_file import Row, SpooledSource, SpoolFile, sqlite_reason
from callcenter_ws.remote.taken_commands import TakenCommand
from callcenter_ws.remote.unwritten import UnwrittenUnits
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.single_flight import SingleFlight

_FIRST_RETRY_SECONDS = 1.0
_MAX_RETRY_SECONDS = 30.0

_NO_CHANGES: RecordChanges = {}

T = TypeVar("T")

_log = Logger()


class SerialExecutor(Protocol):
    """Calls functions one after the other outside the reactor's thread; see ``SpoolThread``."""

    def start(self) -> None:
        """Start."""

    def call(self, function: Callable[..., T], *args: object) -> Deferred[T]:
        """Call a function after the calls before it; fires with its result."""

    def stop(self) -> None:
        """Stop after the calls made before."""


class _WriteFailed(Exception):
    """A group could not be written."""


class Spool:
    """Keeps events and records in a SpoolFile. Those that arrive while a group is being written form the next group.

    An event may be sent when it is on disk. While the disk fails, events may be sent from memory: refusing them would
    lose for certain what otherwise is lost only if the process ends during the outage. The outage is logged once. The
    events that are still unacknowledged when the disk works again are written then.

    Implements ``Persistence``.

    Args:
        path: the path of the file.
        executor: where the file is written.
        ready: called when more events may be sent.
        source: the name of the source whose events are kept; None: the events are not numbered.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        executor: SerialExecutor,
        ready: Callable[[], None],
        source: str | None = None,
    ) -> None:
        self.instance = new_instance()
        self.generation: int | None = None
        self.last_number = 0
        self.stored_records: Mapping[str, bytes] = {}
        self.stored_commands: Sequence[TakenCommand] = ()
        self._source = source
        self._path = path
        self._clock = clock
        self._executor = executor
        self._ready = ready
        self._file: SpoolFile | None = None
        self._writing: SingleFlight | None = None
        self._next_key = 1
        self._unwritten = UnwrittenUnits()
        self._deleted_keys: list[int] = []
        self._backoff = Backoff(_FIRST_RETRY_SECONDS, _MAX_RETRY_SECONDS)
        self._is_failing = False

    def open(self) -> Sequence[PendingEvent]:
        """Open the file and return its events. Reads the disk in the calling thread, unlike all other methods.

        Raises:
            SpoolUnusable: the file cannot be used; nothing was started.
        """
        file = SpoolFile(self._path)
        try:
            if self._source is not None:
                self._adopt(file.open_source(self._source, self.instance))
            recovered = [_event_of(row, numbered=self._source is not None) for row in file.rows()]
            self.stored_records = file.records()
            self.stored_commands = file.taken()
        except BaseException:
            file.close()
            raise
        self._file = file
        self._unwritten.stored_keys = set(self.stored_records)
        self._next_key = 1 + max((event.key or 0 for event in recovered), default=0)
        self._executor.start()
        # A delay of 0 collects the events of one turn of the reactor into the first group.
        self._writing = SingleFlight(
            self._write_groups, self._clock, spawn, backoff=self._backoff, delay=0, transient=(_WriteFailed,)
        )
        self._request_write()
        return recovered

    def _adopt(self, source: SpooledSource) -> None:
        """Be known to the gateway as the file is, whichever process uses it: it replaces its own old connection."""
        self.instance = source.instance
        self.generation = source.generation
        self.last_number = source.reserved

    async def keep_generation(self, generation: int) -> None:
        """Write the generation, synced to disk.

        Raises:
            Refusal: ``unavailable``: the file is closed, or cannot be written.
        """
        await self._write_synced(SpoolFile.keep_generation, generation)
        self.generation = generation

    async def leave_generation(self, known: int) -> None:
        """Remove the generation and the events up to ``known`` from the file, synced to disk.

        Raises:
            Refusal: ``unavailable``: the file is closed, or cannot be written.
        """
        await self._write_synced(SpoolFile.leave_generation, known)
        self.generation = None

    async def take_command(self, command: TakenCommand, forgotten: Sequence[CommandKey]) -> None:
        """Write a command that was taken, and delete others, synced to disk.

        Raises:
            Refusal: ``unavailable``: the file is closed, or cannot be written.
        """
        await self._write_synced(SpoolFile.take, command, forgotten)

    async def _write_synced(self, write: Callable[..., None], *values: object) -> None:
        file = self._file
        if file is None:
            raise Refusal(ErrorCode.UNAVAILABLE, "the spool is closed")
        try:
            await self._executor.call(write, file, *values)
        except sqlite3.Error as error:
            reason = f"the spool {self._path} cannot be written: {sqlite_reason(error)}"
            raise Refusal(ErrorCode.UNAVAILABLE, reason) from None

    def add(self, event: PendingEvent) -> None:
        """Write an event soon; before ``open``, as soon as that is called."""
        self.add_unit((event,), _NO_CHANGES)

    def add_unit(self, events: Sequence[PendingEvent], changes: RecordChanges) -> None:
        """Write events and changed records soon, in one transaction."""
        self._unwritten.add(events, changes)
        self._request_write()

    @property
    def unwritten_record_bytes(self) -> int:
        """The size of the changed records that are not on disk."""
        return self._unwritten.record_bytes

    def remove(self, events: Iterable[PendingEvent]) -> None:
        """Delete events soon. If the process ends before, they are sent again with the same ids."""
        for event in events:
            self._unwritten.discard(event)
            if event.key is not None:
                self._deleted_keys.append(event.key)
        self._request_write()

    def may_send(self, event: PendingEvent) -> bool:
        """Return whether the event is on disk, or the disk fails."""
        return self._is_failing or event not in self._unwritten

    def is_durable(self, event: PendingEvent) -> bool:
        """Return whether the event is on disk."""
        return event not in self._unwritten

    async def flush(self) -> None:
        """Write everything, without a time limit, and stop writing; after a failure, try once more."""
        if self._writing is None:
            return
        if self._has_work:
            self._writing.request(skip_backoff=True)
        await self._writing.stopped()

    async def close(self) -> None:
        """Close the file and stop the executor; call ``flush`` first."""
        if self._writing is not None:
            self._writing.stop()
        self._unwritten.clear()
        self._deleted_keys.clear()
        self._is_failing = False
        self._backoff.reset()
        file, self._file = self._file, None
        if file is None:
            return
        try:
            await self._executor.call(file.close)
        except sqlite3.Error as error:
            _log.error(
                "the spool {path} could not be closed cleanly: {reason}",
                path=str(self._path),
                reason=sqlite_reason(error),
            )
        finally:
            self._executor.stop()

    # Writing

    @property
    def _has_work(self) -> bool:
        return bool(self._unwritten or self._deleted_keys)

    def _request_write(self) -> None:
        if self._writing is not None and self._has_work:
            self._writing.request()

    async def _write_groups(self) -> None:
        file = self._file
        while file is not None and self._has_work:
            await self._write_group(file)

    async def _write_group(self, file: SpoolFile) -> None:
        events, changes = self._unwritten.next_group()
        for event in events:
            event.key = self._next_key
            self._next_key += 1
        deleted_keys, self._deleted_keys = self._deleted_keys, []
        closed = [key_of(event) for event in events if event.is_outcome]
        try:
            await self._executor.call(file.write, [_row_of(event) for event in events], deleted_keys, changes, closed)
        except Exception as error:
            # No row of the group was written, so its keys need no deletion: while the disk fails, the list must not
            # grow with them.
            unused_keys = {event.key for event in events}
            self._deleted_keys = deleted_keys + [key for key in self._deleted_keys if key not in unused_keys]
            for event in events:
                event.key = None
            self._unwritten.failed()
            self._report_failure(error)
            self._ready()
            raise _WriteFailed from None
        self._unwritten.written()
        self._report_success()
        self._ready()

    def _report_failure(self, error: Exception) -> None:
        if self._is_failing:
            return
        self._is_failing = True
        _log.error(
            "the spool {path} cannot be written: {reason}. Events are still sent, but those not written would be lost "
            "with this process",
            path=str(self._path),
            reason=sqlite_reason(error) if isinstance(error, sqlite3.Error) else type(error).__name__,
        )
        if not isinstance(error, sqlite3.Error):
            _log.failure("unhandled error in writing the spool")

    def _report_success(self) -> None:
        self._backoff.reset()
        if self._is_failing:
            self._is_failing = False
            _log.info("the spool {path} can be written again", path=str(self._path))


def _row_of(event: PendingEvent) -> Row:
    fields = event.fields
    return (
        event.key,
        fields["tenant_id"],
        fields["type"],
        fields["event_id"],
        fields["timestamp"],
        fields.get("user_id"),
        fields["persist"],
        event.payload,
        event.source_seq,
    )


def _event_of(row: Row, *, numbered: bool) -> PendingEvent:
    key, tenant_id, type_, event_id, timestamp, user_id, persist, payload, source_seq = row
    fields = {
        "tenant_id": tenant_id,
        "type": type_,
        "event_id": event_id,
        "timestamp": timestamp,
        "persist": bool(persist),
    }
    if user_id is not None:
        fields["user_id"] = user_id
    event = PendingEvent.create(fields, payload, key, source_seq if numbered else None)
    event.restore_kind()
    return event
