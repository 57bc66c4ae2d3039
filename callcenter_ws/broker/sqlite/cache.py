"""Cache: the tenants that are in memory, and how they come in and go."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.broker.sqlite.file import StoreFile
from callcenter_ws.broker.sqlite.queries import Loaded, load
from callcenter_ws.broker.sqlite.tenant import TenantRecord
from callcenter_ws.broker.sqlite.threads import Threads
from callcenter_ws.broker.stream import Stream
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.sqlite import reason_of

IDLE = 300.0
"""Seconds after which a tenant without clients, of whom nothing is heard, leaves the memory."""

IN_USE = 10.0
"""Seconds after which a tenant without clients may be dropped to make room: to read it back is dear."""

_log = Logger("callcenter_ws.broker")


class Cache:
    """Tenants' streams, loaded when they are asked for.

    What is in memory follows from the file at any time; to drop it is to forget nothing.

    Args:
        loaded: told of every stream that was read.

    Attributes:
        bytes: of all streams.
        trouble: why the last tenant that was asked for could not be read; None: it could.
        unreadable: that tenant.
    """

    def __init__(
        self,
        file: StoreFile,
        threads: Threads,
        clock: Clock,
        *,
        memory_bytes: int,
        loaded: Callable[[TenantRecord], None],
    ) -> None:
        self._file = file
        self._threads = threads
        self._clock = clock
        self._memory_bytes = memory_bytes
        self._on_loaded = loaded
        self._records: dict[str, TenantRecord] = {}
        self._attached: set[str] = set()
        self.bytes = 0
        self.trouble: str | None = None
        self.unreadable: str | None = None

    def __len__(self) -> int:
        """How many tenants there are in memory."""
        return len(self._records)

    def records(self) -> Iterable[TenantRecord]:
        """Those in memory."""
        return list(self._records.values())

    def attach(self, tenant_id: str) -> None:
        """The tenant has clients: it stays in memory as long as possible."""
        self._attached.add(tenant_id)

    def detach(self, tenant_id: str) -> None:
        """The tenant has no clients: it may go first."""
        self._attached.discard(tenant_id)

    def get(self, tenant_id: str) -> TenantRecord:
        """The record of a tenant, whose stream may not be in memory."""
        record = self._records.get(tenant_id)
        if record is None:
            record = self._records[tenant_id] = TenantRecord(tenant_id)
        record.used_at = self._clock.monotonic()
        return record

    def peek(self, tenant_id: str) -> Stream | None:
        """A tenant's stream if it is in memory."""
        record = self._records.get(tenant_id)
        return None if record is None else record.stream

    async def loaded(self, tenant_id: str) -> tuple[TenantRecord, Stream]:
        """A tenant whose stream is in memory.

        Raises:
            Refusal: ``unavailable``, the file cannot be read.
        """
        record = self.get(tenant_id)
        while record.stream is None:
            await self.load(record)
        return record, record.stream

    def load(self, record: TenantRecord) -> Deferred[None]:
        """Read a tenant's stream; fires when it is there, fails with ``Refusal`` when it cannot be read."""
        waiting: Deferred[None] = Deferred()
        if record.loading is not None:
            record.loading.append(waiting)
            return waiting
        record.loading = [waiting]
        now = self._clock.monotonic()
        reading = self._threads.read(load, self._file, record.tenant_id, now, self._clock.time() - now)
        reading.addCallback(self._take, record).addErrback(self._give_up, record)
        return waiting

    def _take(self, loaded: Loaded, record: TenantRecord) -> None:
        record.take(loaded)
        self.trouble = self.unreadable = None
        self.count(record)
        waiting, record.loading = record.loading or [], None
        self._on_loaded(record)
        for one in waiting:
            one.callback(None)

    def _give_up(self, failure: Failure, record: TenantRecord) -> None:
        error = failure.value
        if isinstance(error, sqlite3.Error):
            reason = reason_of(error)
            _log.error("the store cannot be read: {reason}", reason=reason)
        else:
            _log.failure("reading a tenant met a bug", failure)
            reason = "the gateway met an error of its own"
        self.trouble, self.unreadable = f"the store cannot be read: {reason}", record.tenant_id
        refusal = Refusal(ErrorCode.UNAVAILABLE, self.trouble, retry_after=1)
        waiting, record.loading = record.loading or [], None
        for one in waiting:
            one.errback(refusal)

    def drop(self, record: TenantRecord) -> None:
        """Forget what is in memory of a tenant; its record stays as long as something waits for it."""
        record.stream = None
        self.count(record)
        if record.idle and record.tenant_id not in self._attached:
            self._records.pop(record.tenant_id, None)

    def distrust(self, record: TenantRecord) -> None:
        """Forget what is in memory of a tenant because a write of it failed, and see what the file says."""
        record.busy, record.doubtful = False, True
        self.drop(record)
        # Whoever needs the stream is told if it cannot be read.
        self.load(record).addErrback(lambda failure: failure.trap(Refusal))

    def count(self, record: TenantRecord) -> None:
        """Bring the total up to date after a stream grew or shrank."""
        held = 0 if record.stream is None else record.stream.bytes
        self.bytes += held - record.counted
        record.counted = held

    def make_room(self) -> None:
        """Keep within the memory: tenants without clients give way, those unused for longest first.

        Who is spoken of gives way by half its history, not as a whole, or it would be read back at once. The state of
        tenants in use stays: it is bounded by number, and snapshots are made of it.
        """
        if self.bytes <= self._memory_bytes:
            return
        # Somewhat more than needed, or every event from now on would look for room.
        enough = self._memory_bytes - self._memory_bytes // 16
        by_use = sorted(self._records.values(), key=lambda record: record.used_at)
        detached = [record for record in by_use if record.tenant_id not in self._attached]
        unused = self._clock.monotonic() - IN_USE
        for record in detached:
            if self.bytes > enough and record.idle and record.used_at < unused:
                self.drop(record)
        by_size = sorted(by_use, key=lambda record: (record.tenant_id in self._attached, -record.counted))
        for record in by_size:
            stream = record.stream
            while stream is not None and stream.history and self.bytes > enough:
                stream.history.keep(len(stream.history) // 2, 0)
                self.count(record)

    def age(self, received_after: float) -> None:
        """Forget in memory what is too old, and tenants that nobody speaks of."""
        now = self._clock.monotonic()
        for record in self.records():
            stream = record.stream
            if stream is not None:
                stream.history.keep(len(stream.history), received_after)
                stream.age(now)
                self.count(record)
            if record.idle and record.tenant_id not in self._attached and record.used_at < now - IDLE:
                self.drop(record)
