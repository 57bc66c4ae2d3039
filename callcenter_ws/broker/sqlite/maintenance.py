"""Periodic maintenance: removes what has expired or exceeds its limits, in small transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from twisted.logger import Logger

from callcenter_ws.broker.counters import StoreCounters
from callcenter_ws.broker.retention import MAX_PRESENCE_RECORDS
from callcenter_ws.broker.sqlite.account_rows import remove_ended_accounts
from callcenter_ws.broker.sqlite.cache import Cache
from callcenter_ws.broker.sqlite.expiry import BATCH_ROWS, remove_expired_mail, remove_old_presence, trim_history
from callcenter_ws.broker.sqlite.file import StoreFile
from callcenter_ws.broker.sqlite.queries import tenants_with_old_events
from callcenter_ws.broker.sqlite.tenant import HistoryLimits, TenantRecord
from callcenter_ws.broker.sqlite.threads import Threads
from callcenter_ws.errors import Refusal
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.log_fields import Name
from callcenter_ws.runtime.single_flight import SingleFlight
from callcenter_ws.runtime.slicer import SECONDS_PER_TURN
from callcenter_ws.runtime.sqlite import sqlite_reason

INTERVAL_SECONDS = 60.0

MAX_WAL_BYTES = 67_108_864
"""SQLite keeps its write-ahead log at a few megabytes. A larger one could not be moved into the file."""

OLD_TENANTS = 100
"""Tenants that are loaded in one interval because their oldest events have expired."""

_log = Logger("callcenter_ws.broker")


class Maintenance:
    """Removes what has expired or exceeds its limits.

    Each step is a transaction of its own in the writing thread, so that a group commit waits for one step at most. A
    step that fails is repeated after the next interval; publishers get refusals of their own.

    Args:
        limits: those of each tenant's history.
        hold: returns the position above which the statistics need a tenant's log; None: they need none.
        request_checkpoint: has a checkpoint of a tenant written, after which ``trim`` is called.
        record_alive: has it recorded in the file that the process is running.
        forget_commands: forgets the commands that are too old at a Unix time.
        counters: of the store.

    Attributes:
        wal_error: why the write-ahead log grows, for an operator; None when it does not.
    """

    def __init__(
        self,
        file: StoreFile,
        threads: Threads,
        clock: Clock,
        cache: Cache,
        *,
        limits: HistoryLimits,
        hold: Callable[[str], int | None],
        request_checkpoint: Callable[[TenantRecord], None],
        record_alive: Callable[[], None],
        forget_commands: Callable[[float], None],
        counters: StoreCounters,
    ) -> None:
        self._file = file
        self._threads = threads
        self._clock = clock
        self._cache = cache
        self._limits = limits
        self._hold = hold
        self._request_checkpoint = request_checkpoint
        self._record_alive = record_alive
        self._forget_commands = forget_commands
        self._counters = counters
        self._to_trim: dict[TenantRecord, None] = {}
        self._trimming = SingleFlight(self._trim_all, clock, spawn)
        self._removal = SingleFlight(self._remove_expired, clock, spawn)
        self._timer: Timer | None = None
        self._is_stopped = False
        self.wal_error: str | None = None

    def start(self) -> None:
        """Begin the periodic work."""
        self._timer = self._clock.call_later(INTERVAL_SECONDS, self._run_periodic)

    def stop(self) -> None:
        """Start no further step; one in progress is finished."""
        self._is_stopped = True
        self._to_trim.clear()
        self._trimming.stop()
        self._removal.stop()
        if self._timer is not None:
            self._timer.cancel()

    def trim(self, record: TenantRecord) -> None:
        """Remove events of a tenant's history that exceed its limits, in the background."""
        if not self._is_stopped:
            self._to_trim[record] = None
            # A run in progress takes care of this tenant too.
            if not self._trimming.is_running:
                self._trimming.request()

    async def _trim_all(self) -> None:
        with _sqlite_errors_logged():
            while self._to_trim:
                record = next(iter(self._to_trim))
                del self._to_trim[record]
                await self._trim_batch(record)

    async def _trim_batch(self, record: TenantRecord) -> None:
        if record.stream is None or record.number is None:
            return
        request = record.next_trim(record.stream, self._limits, self._clock.time())
        result = await self._threads.write(trim_history, self._file, request)
        record.floor, record.oldest = max(record.floor, result.floor), result.oldest
        record.stored_bytes = max(0, record.stored_bytes - result.removed_bytes)
        if result.more and not self._is_stopped:
            self._to_trim[record] = None

    def _run_periodic(self) -> None:
        self._timer = self._clock.call_later(INTERVAL_SECONDS, self._run_periodic)
        self._forget_commands(self._clock.time())
        self._record_alive()
        self._sweep(iter(self._cache.records()))
        self._removal.request()

    def _sweep(self, records: Iterator[TenantRecord]) -> None:
        """Remove from memory what has expired, and request checkpoints, of as many tenants as one turn has time for."""
        if self._is_stopped:
            return
        now = self._clock.monotonic()
        received_after, expired_before = now - self._limits.seconds, self._clock.time() - self._limits.seconds
        for record in records:
            self._cache.forget_expired(record, received_after)
            if self._exceeds_limits(record, expired_before):
                self._request_checkpoint(record)
            if self._clock.monotonic() >= now + SECONDS_PER_TURN:
                self._clock.call_later(0, self._sweep, records)
                return

    def _exceeds_limits(self, record: TenantRecord, expired_before: float) -> bool:
        """Return whether a history must be trimmed. Events after the last checkpoint are not, so it needs one first."""
        stream = record.stream
        if stream is None or record.oldest is None:
            return False
        if record.is_held(stream, self._limits, self._hold(record.tenant_id)):
            return False
        max_events = self._limits.events + BATCH_ROWS
        if record.stored_bytes > self._limits.bytes:
            return True
        return record.oldest < expired_before or stream.history.head - record.floor > max_events

    async def _remove_expired(self) -> None:
        now = self._clock.time()
        with _sqlite_errors_logged():
            if self._file.wal_bytes() > MAX_WAL_BYTES or self.wal_error is not None:
                await self._checkpoint_wal()
            removed = BATCH_ROWS
            while not self._is_stopped and removed == BATCH_ROWS:
                removed = await self._threads.write(remove_expired_mail, self._file, now)
                self._counters.mail_expired += removed
            if not self._is_stopped:
                await self._threads.write(remove_old_presence, self._file, MAX_PRESENCE_RECORDS)
            if not self._is_stopped:
                await self._threads.write(remove_ended_accounts, self._file, now)
            await self._checkpoint_old_tenants(now - self._limits.seconds - INTERVAL_SECONDS)

    async def _checkpoint_old_tenants(self, expired_before: float) -> None:
        """Request checkpoints of tenants with expired events; they may not be in memory."""
        if self._is_stopped:
            return
        tenants = await self._threads.read(tenants_with_old_events, self._file, expired_before, OLD_TENANTS)
        if self._cache.unreadable_tenant is not None:
            # While the store is not ready, load balancers send no requests that would show that it is readable again.
            tenants.append(self._cache.unreadable_tenant)
        for tenant_id in tenants:
            if not self._is_stopped:
                await self._checkpoint_tenant(tenant_id)

    async def _checkpoint_tenant(self, tenant_id: str) -> None:
        """Load a tenant and request its checkpoint; one that cannot be read does not affect the others."""
        try:
            record, _ = await self._cache.get_loaded(tenant_id)
        except Refusal as refusal:
            _log.warn(
                "the history of tenant {tenant} cannot be trimmed: {reason}",
                tenant=Name(tenant_id),
                reason=refusal.message,
            )
        else:
            # The file may be closed by now.
            if not self._is_stopped:
                self._request_checkpoint(record)

    async def _checkpoint_wal(self) -> None:
        """Move the write-ahead log into the file: SQLite's own attempts report no errors."""
        try:
            await self._threads.write(self._file.checkpoint_wal)
        except sqlite3.Error as error:
            reason = sqlite_reason(error)
            self.wal_error = f"the store's log grows, because the file cannot be written: {reason}"
            _log.error("the store's log grows, because the file cannot be written: {reason}", reason=reason)
        else:
            self.wal_error = None


@contextmanager
def _sqlite_errors_logged() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        _log.warn("maintenance of the store failed: {reason}", reason=sqlite_reason(error))
