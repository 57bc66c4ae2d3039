"""GroupCommit: from events that were handed in to events that are durable, one transaction after the other.

Events that come while one group is being written make up the next. Only when a group is committed are its events
delivered, and then answered. When a group fails, what memory holds of its tenants is thrown away: the file is right.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.broker.mailboxes import mail_ends_at
from callcenter_ws.broker.sqlite.cache import Cache
from callcenter_ws.broker.sqlite.codec import row_of
from callcenter_ws.broker.sqlite.file import StoreFile
from callcenter_ws.broker.sqlite.pending_writes import PendingWrites
from callcenter_ws.broker.sqlite.tenant import TenantRecord
from callcenter_ws.broker.sqlite.threads import Threads
from callcenter_ws.broker.sqlite.transaction import Transaction, write
from callcenter_ws.broker.stream import Stream
from callcenter_ws.broker.submission import Entry, Outcome, Submission, settle
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Event, Origin
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Deliver, PublishResult
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.json import decode_json
from callcenter_ws.runtime.sqlite import reason_of

GROUP_EVENTS = 512
GROUP_BYTES = 4_194_304
TENANT_SHARE = 256
"""Events, and bytes of payload, in one transaction; and events of one tenant before the next has its turn."""

MAX_WAITING_EVENTS = 20_000
MAX_WAITING_BYTES = 67_108_864
"""What waits for a transaction at most; more is refused with ``overloaded``."""

RETRY = 1.0
"""Seconds between two tries to write to a file that cannot be written. Meanwhile publishing is refused at once."""

ALIVE_INTERVAL = 5.0
"""Seconds between two notes that the process lives, by which the next one knows until when it did."""

LEAST_PROBE = 65_536
"""Bytes that have to fit on the disk before publishing is tried again; or as many as did not fit the last time."""

_PRESENCE = "presence.changed"

_log = Logger("callcenter_ws.broker")


@dataclass(slots=True)
class _Part:
    """The events of one tenant in a group.

    Attributes:
        fresh: what was given a position.
        repeated: what repeats an event of this very group, and that event's position.
    """

    record: TenantRecord
    stream: Stream
    fresh: list[tuple[Entry, Publication]] = field(default_factory=list)
    repeated: list[tuple[Entry, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Batch:
    """A group that is being written, and what follows from it."""

    group: Transaction = field(default_factory=Transaction)
    parts: list[_Part] = field(default_factory=list)
    checked: list[tuple[TenantRecord, int]] = field(default_factory=list)
    notes: PendingWrites = field(default_factory=PendingWrites)


class GroupCommit:
    """Makes events durable.

    Args:
        deliver: takes what was committed; see ``interfaces.Deliver``.
        checked: told of a tenant whose checkpoint was written.
        epoch: of all events.
        memory_events, history_seconds: how much of a tenant's history stays in memory.
    """

    def __init__(
        self,
        reactor: Any,
        clock: Clock,
        file: StoreFile,
        threads: Threads,
        cache: Cache,
        deliver: Deliver,
        checked: Callable[[TenantRecord], None],
        *,
        memory_events: int,
        history_seconds: float,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._file = file
        self._threads = threads
        self._cache = cache
        self._deliver = deliver
        self._checked = checked
        self._epoch = file.epoch
        self._memory_events = memory_events
        self._history_seconds = history_seconds
        self._next_number = 1 + (file.writer.execute("SELECT max(id) FROM tenant").fetchone()[0] or 0)
        self._ready: dict[TenantRecord, None] = {}
        self._due: dict[TenantRecord, None] = {}
        self._waiting_bytes = 0
        self._is_writing = self._is_asked = False
        self._retry: Timer | None = None
        self._finished: Deferred[None] | None = None
        self._notes_under_way = PendingWrites()
        self._probe_bytes = LEAST_PROBE
        self._alive_at = 0.0
        self.notes = PendingWrites()
        self.waiting_events = 0
        self.trouble: str | None = None

    # What is wanted

    def publish(self, events: Sequence[Event]) -> Deferred[list[Outcome]]:
        """Append the events; see ``interfaces.Broker.publish``."""
        refusal = self._refusal(events)
        if refusal is not None:
            return succeed([refusal for _ in events])
        submission = Submission.of(events)
        record = None
        for place, event in enumerate(events):
            if record is None or record.tenant_id != event.tenant_id:
                record = self._cache.get(event.tenant_id)
                self._ready[record] = None
            record.waiting.append((submission, place, event))
            self._waiting_bytes += len(event.payload)
        self.waiting_events += len(events)
        self.go_on()
        return submission.answer

    def _refusal(self, events: Sequence[Event]) -> Refusal | None:
        if self.trouble is not None:
            return self._unwritable()
        if self.waiting_events + len(events) > MAX_WAITING_EVENTS or self._waiting_bytes > MAX_WAITING_BYTES:
            return Refusal(ErrorCode.OVERLOADED, f"{self.waiting_events} events wait for the disk", retry_after=1)
        return None

    def _unwritable(self) -> Refusal:
        return Refusal(ErrorCode.UNAVAILABLE, f"the store cannot be written: {self.trouble}", retry_after=RETRY)

    def want_checkpoint(self, record: TenantRecord) -> None:
        """Write down what a tenant's stream has come to."""
        self._due[record] = None
        self.go_on()

    def tenant_is_loaded(self, record: TenantRecord) -> None:
        """A tenant's stream was read: what waited for it goes on."""
        stream = record.stream
        assert stream is not None  # noqa: S101 - narrows the type: it was just loaded
        head, delivered = stream.history.head, record.delivered
        if delivered is not None and delivered < head:
            # A commit that was taken for failed and was none: its publishers were told to come again.
            self._deliver(stream.history.after(delivered, head - delivered))
        record.delivered = head
        stream.history.keep(self._memory_events, self._clock.monotonic() - self._history_seconds)
        self._cache.count(record)
        if record.waiting:
            self._ready[record] = None
            self.go_on()

    def acknowledged(self, tenant: int, user_id: str) -> set[str]:
        """Identifiers of a user's mail that the file may still hold although the user has it."""
        noted = (*self._notes_under_way.taken, *self.notes.taken)
        return {key[2] for key in noted if key[:2] == (tenant, user_id)}

    def finish(self) -> Deferred[None]:
        """Write what was handed in; fires when nothing is left to write, or it cannot be written."""
        finished = self._finished = Deferred()
        self.notes.facts["alive_at"] = self._clock.time()
        if self.trouble is not None:
            self._refuse_waiting()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self.go_on()
        return finished

    def go_on(self) -> None:
        """Have a group made in the next turn, of all that comes until then."""
        if not self._is_asked and not self._is_writing:
            self._is_asked = True
            self._reactor.callLater(0, self._next)

    # Making a group

    def _next(self) -> None:
        self._is_asked = False
        if self._is_writing:
            return
        batch = _Batch()
        offset = self._clock.time() - self._clock.monotonic()
        # In trouble the next try is for the retry to make.
        if self.trouble is None or self._finished is not None:
            self._take_checkpoints(batch, offset)
            self._take_events(batch, offset)
            self._note_alive(batch.group)
            batch.notes = self.notes.take(batch.group)
        else:
            self._refuse_waiting()
        if batch.group:
            self._write(batch)
        elif self._finished is not None and not self.waiting_events and not self._finished.called:
            self._finished.callback(None)

    def note_alive(self) -> None:
        """Have it written down that the process lives."""
        self._alive_at = self.notes.facts["alive_at"] = self._clock.time()
        self.go_on()

    def _note_alive(self, group: Transaction) -> None:
        """Along with what is written anyhow, but not with each group."""
        now = self._clock.time()
        if group and now - self._alive_at > ALIVE_INTERVAL:
            self._alive_at = group.facts["alive_at"] = now

    def _write(self, batch: _Batch) -> None:
        self._is_writing = True
        self._notes_under_way = batch.notes
        writing = self._threads.write(write, self._file, batch.group)
        writing.addCallbacks(self._written, self._not_written, callbackArgs=(batch,), errbackArgs=(batch,))
        writing.addErrback(lambda failure: _log.failure("handing over what was written met a bug", failure))

    def _take_checkpoints(self, batch: _Batch, offset: float) -> None:
        """Nothing is staged at this moment that is not settled: what memory holds is what the file holds."""
        due, self._due = self._due, {}
        for record in due:
            if record.stream is not None and record.number is not None:
                checkpoint = record.next_checkpoint(record.stream, offset, self._clock.time())
                record.busy = True
                batch.group.checkpoints.append(checkpoint)
                batch.checked.append((record, checkpoint.seq))

    def _take_events(self, batch: _Batch, offset: float) -> None:
        """Stage events of the tenants in turn, up to the size of a group."""
        parts: dict[TenantRecord, _Part] = {}
        size = 0
        while self._ready and batch.group.events < GROUP_EVENTS and size < GROUP_BYTES:
            record = next(iter(self._ready))
            del self._ready[record]
            stream = record.stream
            if stream is None:
                # Even if it is being read for somebody else: each of those who wait is told when it cannot be.
                self._cache.load(record).addErrback(self._refuse_tenant, record)
                continue
            part = parts.get(record)
            if part is None:
                part = parts[record] = _Part(record, stream)
            size += self._stage(part, batch.group, offset)
            if record.waiting:
                self._ready[record] = None
        batch.parts = [part for part in parts.values() if part.fresh or part.repeated]

    def _stage(self, part: _Part, group: Transaction, offset: float) -> int:
        """Stage some events of one tenant; return how many bytes they have."""
        record, stream = part.record, part.stream
        size = 0
        for _ in range(min(TENANT_SHARE, len(record.waiting))):
            entry = record.waiting.popleft()
            event = entry[2]
            self.waiting_events -= 1
            self._waiting_bytes -= len(event.payload)
            first = stream.first_seq_of(event)
            if first is None:
                part.fresh.append((entry, self._stage_event(part, event, group, offset)))
                size += len(event.payload)
            elif first <= stream.history.head:
                settle(entry, PublishResult(self._epoch, first, event.event_id, duplicate=True))
            else:
                part.repeated.append((entry, first))
            if size > GROUP_BYTES:
                break
        return size

    def _stage_event(self, part: _Part, event: Event, group: Transaction, offset: float) -> Publication:
        record = part.record
        record.busy = True
        if record.number is None:
            record.number, self._next_number = self._next_number, self._next_number + 1
        if record.oldest is None:
            record.oldest = event.received_at + offset
            group.tenants.append((record.number, record.tenant_id, record.oldest))
        publication = part.stream.stage(event)
        row = row_of(publication, record.number, offset)
        group.values += row
        group.events += 1
        if event.call_id is not None:
            record.changed_calls.add(event.call_id)
        if event.type.name == _PRESENCE and event.origin is Origin.GATEWAY:
            told = decode_json(event.payload)
            group.announced[event.tenant_id, str(told["user_id"])] = told["online"]
        if event.is_mail:
            record.expect_mail(event.user_id or "")
            group.items.append((*row, record.number, mail_ends_at(event, event.received_at + offset)))
        return publication

    # What comes of it

    def _written(self, _: None, batch: _Batch) -> None:
        self._is_writing = False
        self._notes_under_way = PendingWrites()
        if self.trouble is not None:
            self.trouble = None
            self._probe_bytes = LEAST_PROBE
            self.notes.facts["probe"] = b""
            _log.info("the store can be written again")
        for part in batch.parts:
            self._settle(part)
        for record, seq in batch.checked:
            record.busy = False
            record.checkpoint = seq
            self._checked(record)
        self._cache.make_room()
        # The writing thread goes on while this one delivers.
        self._next()
        for part in batch.parts:
            self._hand_over(part)

    def _settle(self, part: _Part) -> None:
        record, stream = part.record, part.stream
        record.busy = False
        if not part.fresh:
            return
        for _, publication in part.fresh:
            stream.settle(publication)
            record.unchecked_bytes += len(publication.event.payload)
        stream.history.keep(self._memory_events, part.fresh[-1][1].event.received_at - self._history_seconds)
        self._cache.count(record)
        if record.wants_checkpoint(stream):
            self._due[record] = None

    def _hand_over(self, part: _Part) -> None:
        if part.fresh:
            part.record.delivered = part.fresh[-1][1].seq
            self._deliver([publication for _, publication in part.fresh])
        for entry, publication in part.fresh:
            settle(entry, PublishResult(self._epoch, publication.seq, publication.event.event_id))
        for entry, seq in part.repeated:
            settle(entry, PublishResult(self._epoch, seq, entry[2].event_id, duplicate=True))

    def _not_written(self, failure: Failure, batch: _Batch) -> None:
        """Nothing of the group was written, or it cannot be known."""
        self._is_writing = False
        self._notes_under_way = PendingWrites()
        error = failure.value
        if isinstance(error, sqlite3.Error):
            reason = reason_of(error)
        else:
            _log.failure("writing events met a bug", failure)
            reason = "the gateway met an error of its own"
        if self.trouble is None:
            _log.error("the store cannot be written, publishing is refused: {reason}", reason=reason)
        self.trouble = reason
        size = sum(len(entry[2].payload) for part in batch.parts for entry, _ in part.fresh)
        self._probe_bytes = max(LEAST_PROBE, self._probe_bytes, size)
        for record in (*[record for record, _ in batch.checked], *[part.record for part in batch.parts]):
            self._cache.distrust(record)
        self.notes.put_back(batch.notes)
        if self._finished is None:
            self._retry = self._clock.call_later(RETRY, self._try_again)
        for part in batch.parts:
            for entry, _ in (*part.fresh, *part.repeated):
                settle(entry, self._unwritable())
        self._refuse_waiting()
        if self._finished is not None and not self._finished.called:
            self._finished.callback(None)

    def _try_again(self) -> None:
        """Write as much as could not be written, to find out whether it can be now.

        Less might fit on a disk that is nearly full, and would end the outage for a moment only.
        """
        self._retry = None
        if not self._is_writing:
            self.notes.facts |= {"alive_at": self._clock.time(), "probe": bytes(self._probe_bytes)}
            batch = _Batch()
            batch.notes = self.notes.take(batch.group)
            self._write(batch)

    # Refusing

    def _refuse_waiting(self) -> None:
        ready, self._ready = self._ready, {}
        for record in ready:
            self._refuse_entries(record, self._unwritable())

    def _refuse_tenant(self, failure: Failure, record: TenantRecord) -> None:
        error = failure.value
        if not isinstance(error, Refusal):
            _log.failure("loading a tenant met a bug", failure)
            error = Refusal(ErrorCode.UNAVAILABLE, "the gateway met an error of its own")
        self._refuse_entries(record, error)

    def _refuse_entries(self, record: TenantRecord, refusal: Refusal) -> None:
        entries, record.waiting = record.waiting, deque()
        for entry in entries:
            self.waiting_events -= 1
            self._waiting_bytes -= len(entry[2].payload)
        for entry in entries:
            settle(entry, refusal)
        if self._finished is not None:
            self.go_on()
