"""Admission of published events: the queue in which they wait for the store, and the limits of that queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, succeed

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Event
from callcenter_ws.interfaces import PublishResult

MAX_WAITING_EVENTS = 20_000
MAX_WAITING_BYTES = 67_108_864
"""Events, and bytes of payload, that may wait for the store; more are refused with ``overloaded``."""

RETRY_AFTER_SECONDS = 1
"""The ``retry_after`` of that refusal."""

Outcome = PublishResult | Refusal


@dataclass(slots=True, eq=False)
class Submission:
    """One call of ``publish``.

    Attributes:
        outcomes: one for each event; None while it is not known.
        open: the number of events without an outcome.
        answer: fires with the outcomes when the last of them is known.
    """

    outcomes: list[Outcome | None]
    open: int
    answer: Deferred[list[Outcome]] = field(default_factory=Deferred)

    @classmethod
    def of(cls, events: Sequence[Event]) -> Submission:
        """Return a submission in which no event has an outcome."""
        return cls([None] * len(events), len(events))


Entry = tuple[Submission, int, Event]
"""A submission, the index of one event in it, and that event. A tuple, because one is made for each event."""


def set_outcome(entry: Entry, outcome: Outcome) -> None:
    """Set the outcome of one event; with that of the last event the submission is answered."""
    submission, index, _ = entry
    submission.outcomes[index] = outcome
    submission.open -= 1
    if not submission.open:
        submission.answer.callback([outcome for outcome in submission.outcomes if outcome is not None])


def _follows(event: Event) -> bool:
    return event.condition is not None and event.condition.follows


class SubmissionQueue:
    """Submitted events that wait for the store: bounded, in order within a tenant, and fair among the tenants.

    ``submit`` queues events and makes their tenants *ready*. ``next_tenant`` returns the ready tenants in turn, and
    ``take`` the oldest events of one. A tenant with events left is ready again, after the others. Taken events count
    towards the limits until ``release``.

    Args:
        store: what the events wait for, for the text of the refusal: ``"the disk"``.

    Attributes:
        waiting_events: the number of events that count towards the limit.
    """

    __slots__ = ("_queues", "_ready", "_store", "_waiting_bytes", "waiting_events")

    def __init__(self, store: str) -> None:
        self._store = store
        # Only tenants with events; an empty queue is removed.
        self._queues: dict[str, deque[Entry]] = {}
        self._ready: dict[str, None] = {}
        self._waiting_bytes = 0
        self.waiting_events = 0

    def submit(self, events: Sequence[Event]) -> Deferred[list[Outcome]]:
        """Queue events; fires with one outcome for each of them, in order.

        All of them are refused with ``overloaded`` when that exceeds the limits.
        """
        if self.waiting_events + len(events) > MAX_WAITING_EVENTS or self._waiting_bytes > MAX_WAITING_BYTES:
            text = f"{self.waiting_events} events wait for {self._store}"
            refusal = Refusal(ErrorCode.OVERLOADED, text, retry_after=RETRY_AFTER_SECONDS)
            return succeed([refusal for _ in events])
        submission = Submission.of(events)
        queue: deque[Entry] | None = None
        tenant_id, size = "", 0
        for index, event in enumerate(events):
            if queue is None or event.tenant_id != tenant_id:
                tenant_id = event.tenant_id
                queue = self._queue_of(tenant_id)
                self._ready[tenant_id] = None
            queue.append((submission, index, event))
            size += len(event.payload)
        self._waiting_bytes += size
        self.waiting_events += len(events)
        return submission.answer

    def _queue_of(self, tenant_id: str) -> deque[Entry]:
        queue = self._queues.get(tenant_id)
        if queue is None:
            queue = self._queues[tenant_id] = deque()
        return queue

    def has_events(self, tenant_id: str) -> bool:
        """Return whether events of the tenant are queued."""
        return tenant_id in self._queues

    @property
    def has_ready(self) -> bool:
        """Whether any tenant is ready."""
        return bool(self._ready)

    def next_tenant(self) -> str | None:
        """Return the tenant that has been ready for longest, which is ready no longer; None when there is none."""
        if not self._ready:
            return None
        tenant_id = next(iter(self._ready))
        del self._ready[tenant_id]
        return tenant_id

    def make_ready(self, tenant_id: str) -> bool:
        """Make a tenant ready again if events of it are queued; return whether there are any."""
        if tenant_id not in self._queues:
            return False
        self._ready[tenant_id] = None
        return True

    def take(
        self, tenant_id: str, max_events: int, max_bytes: int, group_by: Callable[[Event], object] | None = None
    ) -> tuple[list[Entry], int]:
        """Remove the oldest events of a tenant from the queue, at least one if there is one.

        An event that is appended only with the one before it (``StoreCondition.follows``) is taken with it: a store
        appends what was taken in one step.

        Args:
            max_bytes: bytes of payload after which no further event is taken.
            group_by: take only events for which this returns the same value as for the first.

        Returns:
            The events, and the bytes of their payloads; both are to be given to ``release``.
        """
        queue = self._queues.get(tenant_id)
        entries: list[Entry] = []
        size = 0
        if queue is None:
            return entries, size
        group = None if group_by is None else group_by(queue[0][2])
        while queue:
            event = queue[0][2]
            is_full = len(entries) >= max_events or size >= max_bytes
            is_other = group_by is not None and group_by(event) != group
            if (is_full or is_other) and not (entries and _follows(event)):
                break
            entry = queue.popleft()
            entries.append(entry)
            size += len(entry[2].payload)
        if queue:
            self._ready[tenant_id] = None
        else:
            del self._queues[tenant_id]
            self._ready.pop(tenant_id, None)
        return entries, size

    def release(self, events: int, size: int) -> None:
        """Stop counting taken events, and the bytes of their payloads, towards the limits."""
        self.waiting_events -= events
        self._waiting_bytes -= size

    def refuse(self, tenant_id: str, refusal: Refusal) -> None:
        """Remove all queued events of a tenant, with this outcome."""
        entries = self._queues.pop(tenant_id, ())
        self._ready.pop(tenant_id, None)
        self.release(len(entries), sum(len(entry[2].payload) for entry in entries))
        for entry in entries:
            set_outcome(entry, refusal)

    def refuse_ready(self, refusal: Refusal) -> None:
        """Remove all queued events of the ready tenants, with this outcome."""
        for tenant_id in list(self._ready):
            self.refuse(tenant_id, refusal)
