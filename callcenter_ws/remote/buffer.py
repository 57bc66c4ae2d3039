"""The events that the gateway has not answered for: bounded, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.remote.pending_event import PendingEvent
from callcenter_ws.remote.persistence import Persistence

BATCH_EVENTS = 100
BATCH_BYTES = 262_144

WhenFull = Literal["refuse_newest", "refuse_oldest"]
"""Whom a full buffer refuses: the event that comes, or those that wait longest and are not under way."""

_STOPPED = "stopped before the gateway answered"
_STOPPED_AND_KEPT = f"{_STOPPED}; the event is kept in the spool and will be sent at the next start"


class Buffer:
    """A queue whose head is taken as a batch, and put back if the gateway did not take it.

    Args:
        max_events: how many events are kept, those under way included.
        max_bytes: how many bytes of them are kept.
        keeping: where they are kept besides in memory. What is not is not taken yet.
    """

    def __init__(
        self, max_events: int, max_bytes: int, keeping: Persistence, when_full: WhenFull = "refuse_newest"
    ) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._keeping = keeping
        self._when_full = when_full
        self._waiting: deque[PendingEvent] = deque()
        self._taken: list[PendingEvent] = []
        self._bytes = 0

    def __len__(self) -> int:
        """How many events are kept."""
        return len(self._waiting) + len(self._taken)

    @property
    def is_ready(self) -> bool:
        """Whether there is something to take."""
        return bool(self._waiting) and self._keeping.may_send(self._waiting[0])

    @property
    def mortal(self) -> int:
        """How many events would be lost with this process."""
        return sum(not self._keeping.survives(event) for event in (*self._taken, *self._waiting))

    def open(self) -> Sequence[PendingEvent]:
        """Take up, and return, what an earlier process left; it goes before all that has come since."""
        left = self._keeping.open()
        for event in left:
            self._count(event)
        self._waiting.extendleft(reversed(left))
        return left

    def append(self, event: PendingEvent) -> None:
        """Keep an event.

        Raises:
            Refusal: ``overloaded``, the buffer is full.
        """
        given_up = self._make_room(event.size)
        self._count(event)
        self._waiting.append(event)
        self._keeping.add(event)
        for older in given_up:
            older.settle(
                Refusal(ErrorCode.OVERLOADED, f"given up for a newer event: {len(self)} wait for the gateway already")
            )

    def _count(self, event: PendingEvent) -> None:
        event.alone = event.size > BATCH_BYTES
        self._bytes += event.size

    def _make_room(self, size: int) -> Sequence[PendingEvent]:
        if not self._is_full(size):
            return ()
        under_way = sum(event.size for event in self._taken)
        fits_at_all = len(self._taken) < self._max_events and under_way + size <= self._max_bytes
        if self._when_full == "refuse_newest" or not fits_at_all:
            raise Refusal(
                ErrorCode.OVERLOADED, f"{len(self)} events wait for the gateway, no more are kept", retry_after=1
            )
        given_up = []
        while self._is_full(size):
            event = self._waiting.popleft()
            self._bytes -= event.size
            given_up.append(event)
        self._keeping.remove(given_up)
        return given_up

    def _is_full(self, size: int) -> bool:
        return len(self) >= self._max_events or self._bytes + size > self._max_bytes

    def take(self) -> list[PendingEvent]:
        """Take the oldest events as the batch that is under way; the one before must be settled.

        They are of one tenant, because the gateway answers a batch with one epoch, and tenants need not share theirs.
        """
        waiting, batch = self._waiting, self._taken
        size = 0
        while self.is_ready and len(batch) < BATCH_EVENTS:
            event = waiting[0]
            size += event.size
            if batch and (event.alone or size > BATCH_BYTES or event.tenant_id != batch[0].tenant_id):
                break
            batch.append(waiting.popleft())
            if event.alone:
                break
        return list(batch)

    def settle(self, batch: Sequence[PendingEvent], outcomes: Sequence[PublishResult | Refusal | None]) -> None:
        """End the batch under way; what has no outcome goes back to the head of the queue, in order.

        Does nothing for a batch that ``give_up`` has ended before.
        """
        if not self._taken or self._taken[0] is not batch[0]:
            return
        self._taken = []
        again = [event for event, outcome in zip(batch, outcomes, strict=True) if outcome is None]
        self._waiting.extendleft(reversed(again))
        self._keeping.remove(event for event, outcome in zip(batch, outcomes, strict=True) if outcome is not None)
        for event, outcome in zip(batch, outcomes, strict=True):
            if outcome is not None:
                self._bytes -= event.size
                event.settle(outcome)

    def give_up(self) -> None:
        """Forget everything, that under way included, and tell the publishers what becomes of it."""
        events = [*self._taken, *self._waiting]
        self._waiting.clear()
        self._taken, self._bytes = [], 0
        for event in events:
            text = _STOPPED_AND_KEPT if self._keeping.survives(event) else _STOPPED
            event.settle(Refusal(ErrorCode.UNAVAILABLE, text))
