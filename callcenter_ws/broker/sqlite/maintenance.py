"""Maintenance: what is done now and then, in small pieces, so that the file does not grow."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.broker.sqlite.cache import Cache
from callcenter_ws.broker.sqlite.file import StoreFile
from callcenter_ws.broker.sqlite.queries import dormant
from callcenter_ws.broker.sqlite.tenant import TenantRecord
from callcenter_ws.broker.sqlite.threads import Threads
from callcenter_ws.broker.sqlite.transaction import TRIM_EVENTS, end_mail, forget_attendance, trim
from callcenter_ws.cluster.local_presence import MAX_REMEMBERED
from callcenter_ws.errors import Refusal
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.sqlite import reason_of

INTERVAL = 60.0
LOG_BYTES = 67_108_864
"""SQLite keeps its log to some megabytes. One that is larger could not be moved to its place in the file."""

DORMANT_TENANTS = 100
"""Tenants that nobody speaks of any more, and whose history is looked after in one round."""

_log = Logger("callcenter_ws.broker")


class Maintenance:
    """Forgets what is too old or too much.

    Each piece is a transaction of its own in the writing thread, so that a group waits for one piece at the most.

    Attributes:
        trouble: why the log grows, for a person; None: it does not.

    Args:
        note_alive: has it written down that the process lives.
        checkpoint: has a tenant's checkpoint written, and ``trim`` called after it.
    """

    def __init__(
        self,
        file: StoreFile,
        threads: Threads,
        clock: Clock,
        cache: Cache,
        *,
        history_events: int,
        history_seconds: float,
        checkpoint: Callable[[TenantRecord], None],
        note_alive: Callable[[], None],
    ) -> None:
        self._file = file
        self._threads = threads
        self._clock = clock
        self._cache = cache
        self._history_events = history_events
        self._history_seconds = history_seconds
        self._checkpoint = checkpoint
        self._note_alive = note_alive
        self._wanting: dict[TenantRecord, None] = {}
        self._is_trimming = False
        self._is_stopped = False
        self._timer: Timer | None = None
        self.trouble: str | None = None

    def start(self) -> None:
        """Look around every minute."""
        self._timer = self._clock.call_later(INTERVAL, self._look_around)

    def stop(self) -> None:
        """Begin nothing any more."""
        self._is_stopped = True
        self._wanting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def trim(self, record: TenantRecord) -> None:
        """Forget what a tenant's history need not hold any more, soon."""
        self._wanting[record] = None
        if not self._is_trimming and not self._is_stopped:
            self._is_trimming = True
            self._run(self._trim_all())

    async def _trim_all(self) -> None:
        try:
            while self._wanting:
                record = next(iter(self._wanting))
                del self._wanting[record]
                await self._trim_some(record)
        finally:
            self._is_trimming = False

    async def _trim_some(self, record: TenantRecord) -> None:
        if record.stream is None or record.number is None:
            return
        wanted = record.next_trim(record.stream, self._history_events, self._clock.time() - self._history_seconds)
        trimmed = await self._threads.write(trim, self._file, wanted)
        record.floor, record.oldest = max(record.floor, trimmed.floor), trimmed.oldest
        if trimmed.more and not self._is_stopped:
            self._wanting[record] = None

    def _look_around(self) -> None:
        self._timer = self._clock.call_later(INTERVAL, self._look_around)
        self._note_alive()
        self._cache.age(self._clock.monotonic() - self._history_seconds)
        too_old = self._clock.time() - self._history_seconds
        for record in self._cache.records():
            if record.stream is not None and record.oldest is not None and self._holds_too_much(record, too_old):
                self._checkpoint(record)
        self._run(self._clean_up(too_old - INTERVAL))

    def _holds_too_much(self, record: TenantRecord, too_old: float) -> bool:
        stream = record.stream
        if stream is None or record.oldest is None:
            return False
        return record.oldest < too_old or stream.history.head - record.floor > self._history_events + TRIM_EVENTS

    async def _clean_up(self, too_old: float) -> None:
        now = self._clock.time()
        if self._file.log_bytes() > LOG_BYTES or self.trouble is not None:
            await self._move_log()
        while self._runs() and await self._threads.write(end_mail, self._file, now):
            continue
        if self._runs():
            await self._threads.write(forget_attendance, self._file, MAX_REMEMBERED)
        names = await self._threads.read(dormant, self._file, too_old, DORMANT_TENANTS) if self._runs() else []
        if self._cache.unreadable is not None:
            # Nobody may be sent to a node that is not ready, so that nobody else would find out.
            names.append(self._cache.unreadable)
        for tenant_id in names:
            if self._runs():
                await self._look_after(tenant_id)

    async def _look_after(self, tenant_id: str) -> None:
        """Let age take its toll on a tenant that nobody speaks of; one that cannot be read costs the others nothing."""
        try:
            record, _ = await self._cache.loaded(tenant_id)
        except Refusal as refusal:
            _log.warn("a tenant cannot be looked after: {reason}", reason=refusal.message)
        else:
            self._checkpoint(record)

    async def _move_log(self) -> None:
        """SQLite says nothing when it cannot: see whether it can, and tell if not."""
        try:
            await self._threads.write(self._file.move_log)
        except sqlite3.Error as error:
            self.trouble = f"the store's log grows, because the file cannot be written: {reason_of(error)}"
            _log.error("{trouble}", trouble=self.trouble)
        else:
            self.trouble = None

    def _runs(self) -> bool:
        return not self._is_stopped

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        Deferred.fromCoroutine(work).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        """It is tried again at the next round; publishers are told by their own failures."""
        error = failure.value
        if isinstance(error, sqlite3.Error):
            _log.warn("the store cannot be tidied up: {reason}", reason=reason_of(error))
        elif not isinstance(error, Refusal):
            _log.failure("tidying up the store met a bug", failure)
