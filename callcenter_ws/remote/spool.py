"""The spool: unacknowledged events on disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from callcenter_ws.remote.pending_event import PendingEvent
from callcenter_ws.remote.spool_file import Row, SpoolFile, reason_of
from callcenter_ws.runtime.backoff import Backoff

_GROUP_EVENTS = 512
_GROUP_BYTES = 4_194_304
_FIRST_RETRY = 1.0
_LAST_RETRY = 30.0

_log = Logger()


class Thread(Protocol):
    """Calls functions one after the other, elsewhere."""

    def start(self) -> None:
        """Begin."""

    def call(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Have a function called."""

    def stop(self) -> None:
        """End."""


class Spool:
    """Keeps events in a SpoolFile: what comes while a group is being written makes the next one.

    An event may be sent when it is on disk. When the disk fails, that is said once, and events may be sent all the
    same: they are in memory, and refusing them would lose for certain what otherwise is lost only if the process
    ends during the outage. What was not acknowledged by then is written when the disk works again.

    Args:
        path: of the file.
        thread: where the file is written.
        ready: called when more events may be sent.
    """

    def __init__(self, path: Path, reactor: Any, thread: Thread, ready: Callable[[], None]) -> None:
        self._path = path
        self._reactor = reactor
        self._thread = thread
        self._ready = ready
        self._file: SpoolFile | None = None
        self._next_key = 1
        self._unwritten: dict[PendingEvent, None] = {}
        self._gone: list[int] = []
        self._writing: Deferred[None] | None = None
        self._backoff = Backoff(_FIRST_RETRY, _LAST_RETRY)
        self._is_failing = False
        self._retry: Any = None

    def open(self) -> Sequence[PendingEvent]:
        """Open the file, and return what it holds. This alone is done in the calling thread, and waits for the disk.

        Raises:
            SpoolUnusable: nothing was begun.
        """
        file = SpoolFile(self._path)
        try:
            left = [_event_of(row) for row in file.rows()]
        except BaseException:
            file.close()
            raise
        self._file = file
        self._next_key = 1 + max((event.key or 0 for event in left), default=0)
        self._thread.start()
        self._wake()
        return left

    def add(self, event: PendingEvent) -> None:
        """Write an event soon; before ``open``, as soon as that is called."""
        self._unwritten[event] = None
        self._wake()

    def remove(self, events: Iterable[PendingEvent]) -> None:
        """Delete events soon. The process may end before: they are sent again then, under the same ids."""
        for event in events:
            self._unwritten.pop(event, None)
            if event.key is not None:
                self._gone.append(event.key)
        self._wake()

    def may_send(self, event: PendingEvent) -> bool:
        """Whether it is on disk, or cannot be brought there."""
        return self._is_failing or event not in self._unwritten

    def survives(self, event: PendingEvent) -> bool:
        """Whether it is on disk."""
        return event not in self._unwritten

    async def flush(self) -> None:
        """Write everything, however long that takes; try once more if the disk has failed before."""
        self._cancel_retry()
        self._wake()
        if self._writing is not None:
            await self._writing

    async def close(self) -> None:
        """Close the file and end the thread; call ``flush`` first."""
        self._cancel_retry()
        self._unwritten.clear()
        self._gone.clear()
        self._is_failing = False
        self._backoff.reset()
        file, self._file = self._file, None
        if file is None:
            return
        try:
            await self._thread.call(file.close)
        except sqlite3.Error as error:
            _log.error("the spool {path} was not closed well: {reason}", path=str(self._path), reason=reason_of(error))
        finally:
            self._thread.stop()

    # Writing

    @property
    def _has_work(self) -> bool:
        return bool(self._unwritten or self._gone)

    def _wake(self) -> None:
        is_busy = self._writing is not None or self._retry is not None
        if self._file is None or is_busy or not self._has_work:
            return
        self._writing = Deferred.fromCoroutine(self._write(self._file))
        self._writing.addErrback(lambda failure: _log.failure("writing the spool failed", failure))

    async def _write(self, file: SpoolFile) -> None:
        # What else comes in this turn of the reactor joins the first group.
        await deferLater(self._reactor, 0)
        try:
            while self._has_work and self._retry is None:
                await self._write_group(file)
        finally:
            self._writing = None

    async def _write_group(self, file: SpoolFile) -> None:
        events = self._next_group()
        gone, self._gone = self._gone, []
        try:
            await self._thread.call(file.write, [_row_of(event) for event in events], gone)
        except Exception as error:
            # No row of the group is there. Keys of such rows must not gather for as long as the disk fails.
            unused = {event.key for event in events}
            self._gone = gone + [key for key in self._gone if key not in unused]
            for event in events:
                event.key = None
            self._failed(error)
        else:
            for event in events:
                self._unwritten.pop(event, None)
            self._succeeded()
        self._ready()

    def _next_group(self) -> list[PendingEvent]:
        """The oldest events that are not on disk; their keys say in which order they came."""
        events: list[PendingEvent] = []
        size = 0
        for event in self._unwritten:
            size += event.size
            if events and (len(events) == _GROUP_EVENTS or size > _GROUP_BYTES):
                break
            event.key = self._next_key
            self._next_key += 1
            events.append(event)
        return events

    def _failed(self, error: Exception) -> None:
        if not self._is_failing:
            self._is_failing = True
            _log.error(
                "the spool {path} cannot be written: {reason}. Events are sent all the same, but would not survive the "
                "end of this process now",
                path=str(self._path),
                reason=reason_of(error) if isinstance(error, sqlite3.Error) else type(error).__name__,
            )
            if not isinstance(error, sqlite3.Error):
                _log.failure("writing the spool failed")
        self._retry = self._reactor.callLater(self._backoff.delay(), self._try_again)

    def _succeeded(self) -> None:
        self._backoff.reset()
        if self._is_failing:
            self._is_failing = False
            _log.info("the spool {path} is written again", path=str(self._path))

    def _try_again(self) -> None:
        self._retry = None
        self._wake()

    def _cancel_retry(self) -> None:
        retry, self._retry = self._retry, None
        if retry is not None:
            retry.cancel()


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
    )


def _event_of(row: Row) -> PendingEvent:
    key, tenant_id, type_, event_id, timestamp, user_id, persist, payload = row
    fields = {
        "tenant_id": tenant_id,
        "type": type_,
        "event_id": event_id,
        "timestamp": timestamp,
        "persist": bool(persist),
    }
    if user_id is not None:
        fields["user_id"] = user_id
    return PendingEvent.of(fields, payload, key)
