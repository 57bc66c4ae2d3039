"""Buffer: the events that the gateway has not acknowledged, in order, within limits."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal

from twisted.internet.defer import Deferred

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.remote.pending_event import PendingEvent
from callcenter_ws.remote.persistence import Persistence
from callcenter_ws.remote.records import RecordChanges, Records, changes_size
from callcenter_ws.remote.source import SourceNumbers

BATCH_EVENTS = 100
BATCH_BYTES = 262_144
"""The limits of one batch. A larger event is sent alone."""

WhenFull = Literal["refuse_newest", "refuse_oldest"]
"""What a full buffer refuses: the new event, or the oldest ones that are not being sent."""

_STOPPED = "stopped before the gateway answered"
_STOPPED_AND_KEPT = f"{_STOPPED}; the event is kept in the spool and will be sent at the next start"


class Buffer:
    """A queue of events, from which batches are sent. Events that the gateway did not accept return to its head.

    Args:
        max_events: the limit of events, those being sent included.
        max_bytes: the limit of their bytes.
        persistence: where the events are kept besides in memory; it says when each may be sent.
        when_full: which events are refused at a limit.
        numbers: numbers the events; None without a source.

    Attributes:
        records: the values as they are once all events are sent.
    """

    def __init__(
        self,
        max_events: int,
        max_bytes: int,
        persistence: Persistence,
        when_full: WhenFull = "refuse_newest",
        numbers: SourceNumbers | None = None,
    ) -> None:
        self._numbers = numbers
        self._is_open = False
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._persistence = persistence
        self._when_full = when_full
        self._queue: deque[PendingEvent] = deque()
        self._in_flight: list[PendingEvent] = []
        self._bytes = 0
        # Outcomes of commands are never refused for others.
        self._outcomes = self._outcome_bytes = 0
        self._room_waiters: list[Deferred[None]] = []
        self.records = Records()

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self._queue) + len(self._in_flight)

    @property
    def is_ready(self) -> bool:
        """Whether the first event of the queue may be sent."""
        return bool(self._queue) and self._persistence.may_send(self._queue[0])

    @property
    def unspooled(self) -> int:
        """The number of events that would be lost with this process."""
        return sum(not self._persistence.is_durable(event) for event in (*self._in_flight, *self._queue))

    def open(self) -> Sequence[PendingEvent]:
        """Put the events that an earlier process left at the head of the queue, and return them.

        Events that were published before are numbered now.
        """
        recovered = self._persistence.open()
        self._is_open = True
        self.records.open(self._persistence.stored_records)
        if self._numbers is not None:
            self._numbers.open(self._persistence.last_number)
            for event in self._queue:
                event.source_seq = self._numbers.next()
        for event in recovered:
            self._count(event)
        self._queue.extendleft(reversed(recovered))
        return recovered

    def append(self, event: PendingEvent) -> None:
        """Add an event.

        Raises:
            Refusal: ``overloaded``: the buffer is full.
        """
        refused = self._make_room(event.size)
        self._enqueue(event)
        self._persistence.add(event)
        for older in refused:
            older.resolve(
                Refusal(
                    ErrorCode.OVERLOADED,
                    f"refused in favor of a newer event: {len(self)} events wait for the gateway already",
                )
            )

    def append_outcome(self, event: PendingEvent) -> None:
        """Add the outcome of a command, also to a full buffer: few are kept at a time, and none may be lost."""
        self._enqueue(event)
        self._persistence.add(event)

    def append_unit(self, events: Sequence[PendingEvent], changes: RecordChanges) -> None:
        """Add events, and change records; all or nothing.

        Raises:
            Refusal: ``overloaded``: the buffer is not empty and has no room for all; or a record is refused.
        """
        effective = self.records.checked(changes)
        size = sum(event.size for event in events) + changes_size(effective)
        # An empty buffer takes a unit of any size: else a large one could never be sent.
        if len(self) and events and self._is_full(size + self._persistence.unwritten_record_bytes, len(events)):
            raise Refusal(
                ErrorCode.OVERLOADED,
                f"{len(self)} events wait for the gateway, there is no room for {len(events)} more",
                retry_after=1,
            )
        self.records.apply(effective)
        for event in events:
            self._enqueue(event)
        if events or effective:
            self._persistence.add_unit(events, effective)

    def room(self) -> Deferred[None]:
        """Return a Deferred that fires when the buffer is at most half full."""
        waiter: Deferred[None] = Deferred()
        self._room_waiters.append(waiter)
        self._check_room()
        return waiter

    def _check_room(self) -> None:
        if self._room_waiters and len(self) <= self._max_events // 2 and self._bytes <= self._max_bytes // 2:
            waiters, self._room_waiters = self._room_waiters, []
            for waiter in waiters:
                if not waiter.called:
                    waiter.callback(None)

    def _enqueue(self, event: PendingEvent) -> None:
        if self._numbers is not None and self._is_open:
            event.source_seq = self._numbers.next()
        self._count(event)
        self._queue.append(event)

    def _count(self, event: PendingEvent) -> None:
        event.send_alone = event.size > BATCH_BYTES or event.scope is not None or event.is_outcome
        self._bytes += event.size
        if event.is_outcome:
            self._outcomes += 1
            self._outcome_bytes += event.size

    def _uncount(self, event: PendingEvent) -> None:
        self._bytes -= event.size
        if event.is_outcome:
            self._outcomes -= 1
            self._outcome_bytes -= event.size

    def _make_room(self, size: int) -> Sequence[PendingEvent]:
        """Remove and return the oldest events that have to be refused for one of ``size`` bytes."""
        if not self._is_full(size):
            return ()
        kept_bytes = self._outcome_bytes + sum(event.size for event in self._in_flight)
        can_fit = len(self._in_flight) + self._outcomes < self._max_events and kept_bytes + size <= self._max_bytes
        if self._when_full == "refuse_newest" or not can_fit:
            raise Refusal(
                ErrorCode.OVERLOADED, f"{len(self)} events wait for the gateway, no more are kept", retry_after=1
            )
        refused = []
        passed: list[PendingEvent] = []
        while self._is_full(size, 1 + len(passed)):
            event = self._queue.popleft()
            if event.is_outcome:
                passed.append(event)
                continue
            self._bytes -= event.size
            refused.append(event)
        self._queue.extendleft(reversed(passed))
        self._persistence.remove(refused)
        return refused

    def _is_full(self, size: int, count: int = 1) -> bool:
        return len(self) + count > self._max_events or self._bytes + size > self._max_bytes

    def next_batch(self) -> list[PendingEvent]:
        """Remove the oldest events that may be sent from the queue and return them; finish the batch before first.

        The events of a batch are of one tenant: the gateway answers a batch with one epoch, and tenants may have
        different ones.
        """
        queue, batch = self._queue, self._in_flight
        size = 0
        while self.is_ready and len(batch) < BATCH_EVENTS:
            event = queue[0]
            size += event.size
            if batch and (event.send_alone or size > BATCH_BYTES or event.tenant_id != batch[0].tenant_id):
                break
            batch.append(queue.popleft())
            if event.send_alone:
                break
        if self._numbers is not None and batch:
            self._numbers.sent(batch[-1].source_seq or 0)
        return list(batch)

    def drop_known(self, number: int) -> None:
        """Remove the queued events up to a number, as published: the gateway has them, at positions unknown here."""
        known = []
        while self._queue and (self._queue[0].source_seq or 0) <= number:
            known.append(self._queue.popleft())
        self._persistence.remove(known)
        for event in known:
            self._uncount(event)
            event.resolve(PublishResult("", 0, event.fields["event_id"]))
        self._check_room()

    def finish_batch(self, batch: Sequence[PendingEvent], outcomes: Sequence[PublishResult | Refusal | None]) -> None:
        """Resolve the events of the batch in flight; those without an outcome return to the head of the queue.

        Does nothing if ``refuse_all`` was called meanwhile.
        """
        if not self._in_flight or self._in_flight[0] is not batch[0]:
            return
        self._in_flight = []
        unsent = [event for event, outcome in zip(batch, outcomes, strict=True) if outcome is None]
        self._queue.extendleft(reversed(unsent))
        self._persistence.remove(event for event, outcome in zip(batch, outcomes, strict=True) if outcome is not None)
        for event, outcome in zip(batch, outcomes, strict=True):
            if outcome is not None:
                self._uncount(event)
                event.resolve(outcome)
        self._check_room()

    def refuse_all(self, refusal: Refusal | None = None) -> None:
        """Remove all events, those in flight included, and refuse them; the spool keeps those that are in it.

        Args:
            refusal: what they are refused with; None: the daemon is stopped, and the text says whether the spool keeps
                the event.
        """
        events = [*self._in_flight, *self._queue]
        self._queue.clear()
        self._in_flight, self._bytes = [], 0
        self._outcomes = self._outcome_bytes = 0
        for event in events:
            text = _STOPPED_AND_KEPT if self._persistence.is_durable(event) else _STOPPED
            event.resolve(Refusal(ErrorCode.UNAVAILABLE, text) if refusal is None else refusal.copy())
