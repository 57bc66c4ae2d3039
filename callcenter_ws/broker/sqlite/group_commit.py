"""Group commit: writes submitted events to the file, in one transaction after the other.

Events submitted while a transaction is written go into the next one. When a transaction is committed, its events are
delivered, then their publishers answered. When it fails, the streams of its tenants are reloaded from the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.broker.command_table import CommandTable
from callcenter_ws.broker.counters import StoreCounters
from callcenter_ws.broker.sqlite.cache import Cache
from callcenter_ws.broker.sqlite.figure_rows import FigureChanges
from callcenter_ws.broker.sqlite.file import StoreFile
from callcenter_ws.broker.sqlite.pending_writes import PendingWrites
from callcenter_ws.broker.sqlite.staged_commands import StagedCommands
from callcenter_ws.broker.sqlite.staging import Staging, TenantPart
from callcenter_ws.broker.sqlite.tenant import TenantRecord
from callcenter_ws.broker.sqlite.threads import Threads
from callcenter_ws.broker.sqlite.transaction import MailKey, Transaction, write
from callcenter_ws.broker.submission import Outcome, SubmissionQueue, set_outcome
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Event
from callcenter_ws.interfaces import Deliver, PublishResult
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.slicer import SECONDS_PER_TURN
from callcenter_ws.runtime.sqlite import sqlite_reason

TRANSACTION_EVENTS = 512
TRANSACTION_BYTES = 4_194_304
TENANT_SHARE = 256
"""Events, and bytes of payload, in one transaction; and events of one tenant before those of the next."""

MAX_LOADS = 32
"""Tenants that are loaded at once because events of them wait; a client's own load waits for no more than these."""

RETRY_SECONDS = 1.0
"""Interval between attempts to write to a file that is not writable. Meanwhile publishing is refused."""

ALIVE_INTERVAL_SECONDS = 5.0
"""Minimum interval between records that the process is running; after a crash they show when it ended."""

MIN_PROBE_BYTES = 65_536
"""Bytes that must be writable before publishing is accepted again; or as many as the failed transaction had."""

_log = Logger("callcenter_ws.broker")


@dataclass(slots=True)
class _Batch:
    """A transaction that is being written, and what it was made from.

    Attributes:
        checkpoints: the tenants with a checkpoint in the transaction, and its position.
        writes: the pending writes in the transaction.
        waiters: the callers of ``written`` whose writes are in the transaction.
    """

    transaction: Transaction = field(default_factory=Transaction)
    parts: list[TenantPart] = field(default_factory=list)
    checkpoints: list[tuple[TenantRecord, int]] = field(default_factory=list)
    writes: PendingWrites = field(default_factory=PendingWrites)
    waiters: list[Deferred[None]] = field(default_factory=list)


class GroupCommit:
    """Makes events durable.

    Args:
        deliver: called with committed events; see ``interfaces.Deliver``.
        checkpoint_written: called with a tenant whose checkpoint was committed.
        counters: of the store.
        commands: the commands in memory.
        memory_events, history_seconds: the limits of a tenant's history in memory.

    Attributes:
        pending_writes: what is written with the next transaction; call ``request`` after a change.
        commands: those that the transaction being written closes.
        write_error: why the file is not writable, for an operator; None when it is.
    """

    def __init__(
        self,
        reactor: Reactor,
        clock: Clock,
        file: StoreFile,
        threads: Threads,
        cache: Cache,
        queue: SubmissionQueue,
        deliver: Deliver,
        checkpoint_written: Callable[[TenantRecord], None],
        counters: StoreCounters,
        commands: CommandTable,
        *,
        memory_events: int,
        history_seconds: float,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._file = file
        self._threads = threads
        self._cache = cache
        self._queue = queue
        self._deliver = deliver
        self._checkpoint_written = checkpoint_written
        self._counters = counters
        self._epoch = file.epoch
        self._memory_events = memory_events
        self._history_seconds = history_seconds
        tenants = file.writer.execute("SELECT max(id) FROM tenant").fetchone()[0] or 0
        self.pending_writes = PendingWrites()
        self.commands = StagedCommands(commands, self.pending_writes)
        self._staging = Staging(self._epoch, self.commands, next_number=1 + tenants)
        self._checkpoints_due: dict[TenantRecord, None] = {}
        # Tenants with events that are not in memory, and the number of those that are being loaded.
        self._to_load: dict[str, None] = {}
        self._loads = 0
        self._is_requested = self._is_writing = False
        self._retry: Timer | None = None
        self._finished: Deferred[None] | None = None
        self._writes_in_progress = PendingWrites()
        self._waiters: list[Deferred[None]] = []
        self._probe_bytes = MIN_PROBE_BYTES
        self._alive_recorded_at = 0.0
        self.write_error: str | None = None

    # Requests

    def publish(self, events: Sequence[Event]) -> Deferred[list[Outcome]]:
        """Append the events; see ``interfaces.Broker.publish``."""
        if self.write_error is not None:
            refusal = self._unwritable()
            return succeed([refusal for _ in events])
        answer = self._queue.submit(events)
        self.request()
        return answer

    def written(self) -> Deferred[None]:
        """Write ``pending_writes`` with the next transaction; fires when it is committed.

        Fails with ``Refusal``, ``unavailable``, when the file is not writable; the writes then stay pending.
        """
        if self.write_error is not None:
            return fail(self._unwritable())
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        self.request()
        return waiter

    def check_writable(self) -> None:
        """Raise ``unavailable`` while the file is not writable.

        For changes that are undone when they cannot be written: each would leave a pending write, which removes what a
        failed write may have stored.
        """
        if self.write_error is not None:
            raise self._unwritable()

    def _unwritable(self) -> Refusal:
        text = f"the store cannot be written: {self.write_error}"
        return Refusal(ErrorCode.UNAVAILABLE, text, retry_after=RETRY_SECONDS)

    def request_checkpoint(self, record: TenantRecord) -> None:
        """Write a checkpoint of a tenant's stream with the next transaction."""
        self._checkpoints_due[record] = None
        self.request()

    def tenant_loaded(self, record: TenantRecord) -> None:
        """Continue with the events of a tenant whose stream was loaded."""
        stream = record.stream
        assert stream is not None  # noqa: S101 - narrows the type: it was just loaded
        head, delivered = stream.history.head, record.delivered
        self.commands.loaded(record.tenant_id, head)
        if delivered is not None and delivered < head:
            # A transaction was committed although its write failed. Its publishers were refused, and may repeat it.
            self._deliver(stream.history.after(delivered, head - delivered))
        record.delivered = head
        stream.history.trim(self._memory_events, self._clock.monotonic() - self._history_seconds)
        self._cache.update_bytes(record)
        if self._queue.make_ready(record.tenant_id):
            self.request()

    def pending_acknowledgements(self, tenant: int, user_id: str) -> set[str]:
        """Return the event ids of a user's mailbox items that are acknowledged, but may still be in the file."""
        return _of_user(tenant, user_id, self._writes_in_progress.acknowledged, self.pending_writes.acknowledged)

    def pending_sent(self, tenant: int, user_id: str) -> set[str]:
        """Return the event ids of a user's mailbox items that were sent, but may not be marked in the file."""
        return _of_user(tenant, user_id, self._writes_in_progress.sent, self.pending_writes.sent)

    def pending_figures(self, tenant_id: str) -> list[FigureChanges]:
        """Return the rows of a tenant's fold that may not be in the file yet, oldest first."""
        pending = (self._writes_in_progress.figures, self.pending_writes.figures)
        return [figures[tenant_id] for figures in pending if tenant_id in figures]

    def finish(self) -> Deferred[None]:
        """Write everything that was submitted; fires when it is written, or the file is not writable."""
        finished = self._finished = Deferred()
        self.pending_writes.metadata["alive_at"] = self._clock.time()
        if self.write_error is not None:
            self._queue.refuse_ready(self._unwritable())
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self.request()
        return finished

    def request(self) -> None:
        """Begin a transaction in the next turn of the reactor, or when the current one is written."""
        if not self._is_requested and not self._is_writing:
            self._is_requested = True
            self._reactor.callLater(0, self._begin)

    def record_alive(self) -> None:
        """Record in the file that the process is running."""
        self._alive_recorded_at = self.pending_writes.metadata["alive_at"] = self._clock.time()
        self.request()

    # Making a transaction

    def _begin(self) -> None:
        self._is_requested = False
        if self._is_writing:
            return
        batch = _Batch()
        offset = self._clock.time() - self._clock.monotonic()
        # While the file is not writable, ``_retry`` makes the attempts.
        if self.write_error is None or self._finished is not None:
            # Until the checkpoints are made, nothing else is staged.
            self._is_writing = True
            self._take_steps(self._add_checkpoints(batch, offset), batch, offset)
        else:
            self._queue.refuse_ready(self._unwritable())
            self._write_unless_empty(batch)

    def _take_steps(self, steps: Iterator[None], batch: _Batch, offset: float) -> None:
        """Take as many steps of the checkpoints as one turn has time for; after the last one, complete the batch."""
        deadline = self._clock.monotonic() + SECONDS_PER_TURN
        try:
            for _ in steps:
                if self._clock.monotonic() >= deadline:
                    self._reactor.callLater(0, self._take_steps, steps, batch, offset)
                    return
        except BaseException:
            self._is_writing = False
            raise
        self._is_writing = False
        self._add_events(batch, offset)
        self._add_alive(batch.transaction)
        batch.writes = self.pending_writes.move_to(batch.transaction)
        batch.waiters, self._waiters = self._waiters, []
        self._write_unless_empty(batch)

    def _write_unless_empty(self, batch: _Batch) -> None:
        if batch.transaction:
            self._write(batch)
            return
        if self._queue.has_ready:
            self.request()
        elif not self._queue.waiting_events:
            self._fire_finished()
        # What they wait for was committed before.
        for waiter in batch.waiters:
            waiter.callback(None)

    def _add_alive(self, transaction: Transaction) -> None:
        """Record that the process is running, if there is a transaction anyway and it was not recorded recently."""
        now = self._clock.time()
        if transaction and now - self._alive_recorded_at > ALIVE_INTERVAL_SECONDS:
            self._alive_recorded_at = transaction.metadata["alive_at"] = now

    def _add_checkpoints(self, batch: _Batch, offset: float) -> Iterator[None]:
        """Add the checkpoints that are due. Now every staged event is committed: memory equals the file."""
        due, self._checkpoints_due = self._checkpoints_due, {}
        for record in due:
            if record.stream is not None and record.number is not None:
                # Not evicted meanwhile.
                record.in_transaction = True
                checkpoint = yield from record.next_checkpoint(record.stream, offset, self._clock.time())
                batch.transaction.checkpoints.append(checkpoint)
                batch.checkpoints.append((record, checkpoint.seq))

    def _add_events(self, batch: _Batch, offset: float) -> None:
        """Stage events of the tenants in turn, up to the limits of a transaction."""
        parts: dict[TenantRecord, TenantPart] = {}
        size = not_loaded = 0
        while batch.transaction.event_count + not_loaded < TRANSACTION_EVENTS and size < TRANSACTION_BYTES:
            tenant_id = self._queue.next_tenant()
            if tenant_id is None:
                break
            record = self._cache.get(tenant_id)
            if record.stream is None:
                self._to_load[tenant_id] = None
                not_loaded += 1
                continue
            part = parts.get(record)
            if part is None:
                part = parts[record] = TenantPart(record, record.stream)
            entries, taken_bytes = self._queue.take(tenant_id, TENANT_SHARE, TRANSACTION_BYTES - size)
            self._queue.release(len(entries), taken_bytes)
            size += taken_bytes
            self._staging.stage(part, entries, batch.transaction, offset)
        batch.parts = [part for part in parts.values() if part.staged or part.others]
        self._load_next()

    def _load_next(self) -> None:
        """Load the tenants whose events wait, a few at once: thousands may be new in one batch."""
        while self._to_load and self._loads < MAX_LOADS:
            tenant_id = next(iter(self._to_load))
            del self._to_load[tenant_id]
            record = self._cache.get(tenant_id)
            if record.stream is not None:
                # It was loaded for another caller.
                if self._queue.make_ready(tenant_id):
                    self.request()
                continue
            self._loads += 1
            # Also while it is being loaded for another caller: a failure must refuse these events.
            self._cache.load(record).addErrback(self._load_failed, tenant_id).addBoth(self._load_ended)

    def _load_ended(self, _: object) -> None:
        self._loads -= 1
        self._load_next()

    # Its outcome

    def _write(self, batch: _Batch) -> None:
        self._is_writing = True
        self._writes_in_progress = batch.writes
        writing = self._threads.write(write, self._file, batch.transaction)
        writing.addCallbacks(self._committed, self._failed, callbackArgs=(batch,), errbackArgs=(batch,))
        writing.addErrback(lambda failure: _log.failure("unhandled error in delivering committed events", failure))

    def _committed(self, _: None, batch: _Batch) -> None:
        self._is_writing = False
        self._count(batch.transaction)
        self._writes_in_progress = PendingWrites()
        self.commands.committed()
        if self.write_error is not None:
            self.write_error = None
            self._probe_bytes = MIN_PROBE_BYTES
            self.pending_writes.metadata["probe"] = b""
            _log.info("the store can be written again")
        for part in batch.parts:
            self._append(part)
        for record, seq in batch.checkpoints:
            record.in_transaction = False
            record.checkpoint = seq
            self._checkpoint_written(record)
        self._cache.free_memory()
        # The thread writes the next transaction while this one is delivered.
        self._begin()
        for part in batch.parts:
            self._deliver_and_answer(part)
        for waiter in batch.waiters:
            waiter.callback(None)

    def _count(self, transaction: Transaction) -> None:
        counters = self._counters
        counters.commit_seconds.observe(transaction.seconds)
        counters.mail_stored += len(transaction.mail_rows)
        counters.mail_displaced += transaction.mail_displaced

    def _append(self, part: TenantPart) -> None:
        record, stream = part.record, part.stream
        record.in_transaction = False
        if not part.staged:
            return
        size = 0
        for _, publication in part.staged:
            stream.append(publication)
            size += len(publication.event.payload)
        record.bytes_since_checkpoint += size
        record.stored_bytes += size
        stream.history.trim(self._memory_events, part.staged[-1][1].event.received_at - self._history_seconds)
        self._cache.update_bytes(record)
        if record.needs_checkpoint(stream):
            self._checkpoints_due[record] = None

    def _deliver_and_answer(self, part: TenantPart) -> None:
        if part.staged:
            part.record.delivered = part.staged[-1][1].seq
            self._deliver([publication for _, publication in part.staged])
        for entry, publication in part.staged:
            set_outcome(entry, PublishResult(self._epoch, publication.seq, publication.event.event_id))
        for entry, result in part.others:
            set_outcome(entry, result)

    def _failed(self, failure: Failure, batch: _Batch) -> None:
        """Handle a failed write: nothing was committed, or it is not known whether it was."""
        self._is_writing = False
        self._counters.commits_failed += 1
        self._writes_in_progress = PendingWrites()
        error = failure.value
        if isinstance(error, sqlite3.Error):
            reason = sqlite_reason(error)
        else:
            _log.failure("unhandled error in writing events", failure)
            reason = "internal error"
        if self.write_error is None:
            _log.error("the store cannot be written, publishing is refused: {reason}", reason=reason)
        self.write_error = reason
        size = sum(len(entry[2].payload) for part in batch.parts for entry, _ in part.staged)
        self._probe_bytes = max(MIN_PROBE_BYTES, self._probe_bytes, size)
        for record in (*[record for record, _ in batch.checkpoints], *[part.record for part in batch.parts]):
            self._cache.reload(record)
        self.pending_writes.put_back(batch.writes)
        self.commands.failed()
        if self._finished is None:
            self._retry = self._clock.call_later(RETRY_SECONDS, self._try_again)
        for part in batch.parts:
            for entry, _ in (*part.staged, *part.others):
                set_outcome(entry, self._unwritable())
        self._queue.refuse_ready(self._unwritable())
        waiters, self._waiters = [*batch.waiters, *self._waiters], []
        for waiter in waiters:
            waiter.errback(self._unwritable())
        self._fire_finished()

    def _try_again(self) -> None:
        """Write as many bytes as the failed transaction had, to find out whether the file is writable again.

        Fewer bytes might fit on a disk that is nearly full, and the outage would end only for a moment.
        """
        self._retry = None
        if not self._is_writing:
            self.pending_writes.metadata |= {"alive_at": self._clock.time(), "probe": bytes(self._probe_bytes)}
            batch = _Batch()
            batch.writes = self.pending_writes.move_to(batch.transaction)
            self._write(batch)

    def _fire_finished(self) -> None:
        if self._finished is not None and not self._finished.called:
            self._finished.callback(None)

    def _load_failed(self, failure: Failure, tenant_id: str) -> None:
        error = failure.value
        if not isinstance(error, Refusal):
            _log.failure("unhandled error in loading a tenant", failure)
            error = Refusal(ErrorCode.UNAVAILABLE, "internal error")
        self._queue.refuse(tenant_id, error)
        if self._finished is not None:
            self.request()


def _of_user(tenant: int, user_id: str, *writes: Iterable[MailKey]) -> set[str]:
    return {key[2] for keys in writes for key in keys if key[:2] == (tenant, user_id)}
