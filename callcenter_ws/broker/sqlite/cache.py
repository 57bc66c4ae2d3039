"""The tenants whose streams are in memory: loading, and eviction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.broker.sqlite.file import StoreFile
from callcenter_ws.broker.sqlite.restore import RestoredTenant, restore_tenant
from callcenter_ws.broker.sqlite.tenant import TenantRecord
from callcenter_ws.broker.sqlite.threads import Threads
from callcenter_ws.broker.stream import Stream
from callcenter_ws.broker.submission import SubmissionQueue
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.slicer import SECONDS_PER_TURN
from callcenter_ws.runtime.sqlite import sqlite_reason

IDLE_SECONDS = 300.0
"""After so long without use, a tenant without clients is evicted."""

IN_USE_SECONDS = 10.0
"""A tenant used within this time is not evicted to free memory: loading it again is expensive."""

_log = Logger("callcenter_ws.broker")


class Cache:
    """The streams of tenants, loaded on demand.

    What is in memory can always be restored from the file; eviction loses nothing.

    Args:
        memory_bytes: the limit of ``bytes``.
        chat_messages: messages of each open chat in the state.
        queue: tenants with submitted events are not evicted.
        loaded: called with each tenant whose stream was loaded.

    Attributes:
        bytes: memory of all streams.
        read_error: why the last load failed, for an operator; None if it succeeded.
        unreadable_tenant: the tenant of that load.
    """

    def __init__(
        self,
        file: StoreFile,
        threads: Threads,
        clock: Clock,
        queue: SubmissionQueue,
        *,
        memory_bytes: int,
        chat_messages: int,
        loaded: Callable[[TenantRecord], None],
    ) -> None:
        self._file = file
        self._threads = threads
        self._clock = clock
        self._queue = queue
        self._memory_bytes = memory_bytes
        self._chat_messages = chat_messages
        self._on_loaded = loaded
        self._records: dict[str, TenantRecord] = {}
        self._attached: set[str] = set()
        self._is_freeing = False
        self.bytes = 0
        self.read_error: str | None = None
        self.unreadable_tenant: str | None = None

    def __len__(self) -> int:
        """The number of tenants in memory."""
        return len(self._records)

    def records(self) -> list[TenantRecord]:
        """Return the records of the tenants in memory."""
        return list(self._records.values())

    def ids_removed_early(self) -> int:
        """Return how many identifiers of the tenants in memory were removed before their window ended."""
        return sum(record.stream.ids_removed_early for record in self._records.values() if record.stream is not None)

    def attach(self, tenant_id: str) -> None:
        """Count the tenant as one with clients, which stays in memory as long as possible."""
        self._attached.add(tenant_id)

    def detach(self, tenant_id: str) -> None:
        """Count the tenant as one without clients, which is evicted first."""
        self._attached.discard(tenant_id)

    def get(self, tenant_id: str) -> TenantRecord:
        """Return the record of a tenant; its stream may not be in memory."""
        record = self._records.get(tenant_id)
        if record is None:
            record = self._records[tenant_id] = TenantRecord(tenant_id)
        record.used_at = self._clock.monotonic()
        return record

    def peek(self, tenant_id: str) -> Stream | None:
        """Return a tenant's stream if it is in memory, without counting this as use."""
        record = self._records.get(tenant_id)
        return None if record is None else record.stream

    async def get_loaded(self, tenant_id: str) -> tuple[TenantRecord, Stream]:
        """Return the record of a tenant, and its stream, which is loaded first if necessary.

        Raises:
            Refusal: ``unavailable``: the file cannot be read.
        """
        record = self.get(tenant_id)
        while record.stream is None:
            await self.load(record)
        return record, record.stream

    def load(self, record: TenantRecord) -> Deferred[None]:
        """Load a tenant's stream; fires when it is in memory, fails with ``Refusal`` when it cannot be read."""
        waiter: Deferred[None] = Deferred()
        if record.loading is not None:
            record.loading.append(waiter)
            return waiter
        record.loading = [waiter]
        now = self._clock.monotonic()
        loading = self._threads.read(
            restore_tenant, self._file, record.tenant_id, now, self._clock.time() - now, self._chat_messages
        )
        loading.addCallback(self._load_succeeded, record).addErrback(self._load_failed, record)
        return waiter

    def _load_succeeded(self, restored: RestoredTenant, record: TenantRecord) -> None:
        record.set_restored(restored)
        self.read_error = self.unreadable_tenant = None
        self.update_bytes(record)
        waiters, record.loading = record.loading or [], None
        self._on_loaded(record)
        for waiter in waiters:
            waiter.callback(None)

    def _load_failed(self, failure: Failure, record: TenantRecord) -> None:
        error = failure.value
        if isinstance(error, sqlite3.Error):
            reason = sqlite_reason(error)
            _log.error("the store cannot be read: {reason}", reason=reason)
        else:
            _log.failure("unhandled error in loading a tenant", failure)
            reason = "internal error"
        self.read_error, self.unreadable_tenant = f"the store cannot be read: {reason}", record.tenant_id
        refusal = Refusal(ErrorCode.UNAVAILABLE, self.read_error, retry_after=1)
        waiters, record.loading = record.loading or [], None
        for waiter in waiters:
            waiter.errback(refusal)

    def evict(self, record: TenantRecord) -> None:
        """Remove a tenant's stream from memory, and its record unless it is in use."""
        record.stream = None
        self.update_bytes(record)
        if self._is_unused(record):
            self._records.pop(record.tenant_id, None)

    def reload(self, record: TenantRecord) -> None:
        """Replace a tenant's stream by what the file has: a write of the tenant failed, and may have been committed."""
        record.in_transaction, record.in_doubt = False, True
        self.evict(record)
        # Callers that need the stream load it themselves, and get the refusal.
        self.load(record).addErrback(lambda failure: failure.trap(Refusal))

    def update_bytes(self, record: TenantRecord) -> None:
        """Update the total after a stream has changed."""
        size = 0 if record.stream is None else record.stream.bytes
        self.bytes += size - record.counted_bytes
        record.counted_bytes = size

    def free_memory(self) -> None:
        """Evict tenants, then trim histories in memory, until ``bytes`` is within its limit.

        Unused tenants without clients are evicted, those longest unused first. Then the histories of all tenants are
        halved, those of tenants without clients first, then the largest; evicting tenants in use would force reloads.
        Their states stay: these are bounded by number, and snapshots are made of them.
        """
        if self.bytes > self._memory_bytes and not self._is_freeing:
            self._is_freeing = True
            self._take_steps(self._free_steps())

    def _take_steps(self, steps: Iterator[None]) -> None:
        """Free as much memory as one turn has time for, and the rest in the next turns."""
        deadline = self._clock.monotonic() + SECONDS_PER_TURN
        for _ in steps:
            if self._clock.monotonic() >= deadline:
                self._clock.call_later(0, self._take_steps, steps)
                return
        self._is_freeing = False

    def _free_steps(self) -> Iterator[None]:
        # Free more than necessary, or every further event would have to free memory.
        max_bytes = self._memory_bytes - self._memory_bytes // 16
        by_use = sorted(self._records.values(), key=lambda record: record.used_at)
        used_before = self._clock.monotonic() - IN_USE_SECONDS
        for record in by_use:
            if self.bytes > max_bytes and record.used_at < used_before and self._is_unused(record):
                self.evict(record)
                yield
        by_size = sorted(by_use, key=lambda record: (record.tenant_id in self._attached, -record.counted_bytes))
        for record in by_size:
            stream = record.stream
            while stream is not None and stream.history and self.bytes > max_bytes:
                stream.history.trim(len(stream.history) // 2, 0)
                self.update_bytes(record)
                yield

    def forget_expired(self, record: TenantRecord, received_after: float) -> None:
        """Remove what has expired of a tenant from memory; evict it if it was not used for ``IDLE_SECONDS``.

        Args:
            received_after: the time, of the monotonic clock, before which events of histories have expired.
        """
        now = self._clock.monotonic()
        stream = record.stream
        if stream is not None:
            stream.history.trim(len(stream.history), received_after)
            stream.forget_expired(now)
            self.update_bytes(record)
        if record.used_at < now - IDLE_SECONDS and self._is_unused(record):
            self.evict(record)

    def _is_unused(self, record: TenantRecord) -> bool:
        tenant_id = record.tenant_id
        return record.is_idle and tenant_id not in self._attached and not self._queue.has_events(tenant_id)
