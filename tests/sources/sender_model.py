"""A sender with a spool, and nodes whose store fails in every way that a store can, for model tests."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

from twisted.internet.defer import Deferred

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.broker.submission import Submission, set_outcome
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Event
from callcenter_ws.interfaces import PublishResult, SourceRecord
from callcenter_ws.sources.link import SourceLink
from callcenter_ws.sources.publishing import SourcePublisher
from callcenter_ws.testing import FakeClock, run

SOURCE = "pbx1"
TENANTS = ("acme", "globex")

Fate = Literal["stored", "refused", "unknown", "late"]
"""What becomes of a call of the store: it works; it does not run; it runs, and the answer is lost; it runs later."""


class UnreliableBroker:
    """A node's way to a store that nodes share: one queue for each tenant, whose calls are made on request.

    Attributes:
        late: calls that the node has given up, and which the store has not run yet.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self._queues: dict[str, deque[Any]] = {tenant: deque() for tenant in TENANTS}
        self.late: list[list[Event]] = []

    def publish(self, events: Sequence[Event]) -> Deferred[list[PublishResult | Refusal]]:
        submission = Submission.of(events)
        for index, event in enumerate(events):
            self._queues[event.tenant_id].append((submission, index, event))
        return submission.answer

    def call(self, tenant_id: str, size: int, fate: Fate) -> None:
        """Make the next call for a tenant, with at most ``size`` events."""
        queue = self._queues[tenant_id]
        entries = [queue.popleft() for _ in range(min(size, len(queue)))]
        events = [event for _, _, event in entries]
        outcomes: list[Any] = [Refusal(ErrorCode.UNAVAILABLE) for _ in events]
        if fate == "late":
            self.late.append(events)
        elif fate != "refused":
            found = run(self._store.publish(events))
            outcomes = found if fate == "stored" else outcomes
        for entry, outcome in zip(entries, outcomes, strict=True):
            set_outcome(entry, outcome)

    def run_late(self) -> None:
        """Have the store run the oldest call that was given up."""
        if self.late:
            run(self._store.publish(self.late.pop(0)))

    @property
    def waits(self) -> bool:
        """Whether any event waits for a call."""
        return any(self._queues.values())


class Node:
    """A gateway: its way to the store, and what publishes the events of sources."""

    def __init__(self, store: Any, clock: FakeClock) -> None:
        self.broker = UnreliableBroker(store)
        broker: Any = self.broker
        self.publisher = SourcePublisher(EventBroadcaster(broker, clock), broker, clock)


class Sender:
    """A source that numbers its events and keeps each until it is answered.

    It sends the events in order on each connection. After a refusal it either goes back, or sends what was refused
    again while new events follow.
    """

    def __init__(self, generation: int = 1) -> None:
        self.generation = generation
        self.events: dict[int, dict[str, Any]] = {}
        self.answered: set[int] = set()
        self._next = 1
        self._link: SourceLink | None = None
        self._node: Node | None = None
        # On this connection: sent and not answered; refused; the number from which nothing was sent yet.
        self._under_way: set[int] = set()
        self._unsent_from = 1
        self.links = 0

    def add(self, tenant_id: str, *, is_valid: bool = True, gap: int = 0) -> None:
        """Put an event into the spool."""
        number, self._next = self._next + gap, self._next + gap + 1
        type_ = "alert" if is_valid else "no.such.event"
        payload = {"title": "t", "message": str(number)}
        self.events[number] = {"tenant_id": tenant_id, "type": type_, "payload": payload}

    def connect(self, node: Node) -> None:
        """Make a new connection; answers on the old one are lost."""
        self.links += 1
        record = SourceRecord(
            scope="*",
            subject="",
            name=SOURCE,
            kind="x",
            version="",
            instance="i",
            generation=self.generation,
            lease=1,
            tenants=TENANTS,
            claimed=TENANTS,
            capabilities=(),
        )
        self._link, self._node = SourceLink(record, str(self.links), lambda _: None), node
        self._under_way = set()
        self._unsent_from = 1

    @property
    def unanswered(self) -> list[int]:
        """The numbers of events without an answer, in order."""
        return [number for number in self.events if number not in self.answered]

    def send(self, size: int, *, new_first: bool = False) -> None:
        """Send a batch."""
        link, node = self._link, self._node
        if link is None or node is None:
            return
        waiting = [number for number in self.unanswered if number not in self._under_way]
        if new_first:
            # What was refused on this connection comes later.
            waiting = [number for number in waiting if number >= self._unsent_from]
        numbers = waiting[:size]
        if not numbers:
            return
        # No number is passed over on a connection.
        self._unsent_from = max(self._unsent_from, numbers[-1] + 1)
        self._under_way.update(numbers)
        drafts = [{**self.events[number], "source_seq": number} for number in numbers]
        answer = Deferred.fromCoroutine(node.publisher.publish(link, drafts))
        answer.addCallback(self._answer, link, numbers)

    def _answer(self, outcomes: Sequence[PublishResult | Refusal], link: SourceLink, numbers: list[int]) -> None:
        if link is not self._link:
            return
        self._under_way.difference_update(numbers)
        for number, outcome in zip(numbers, outcomes, strict=True):
            if not isinstance(outcome, Refusal) or outcome.code is not ErrorCode.UNAVAILABLE:
                self.answered.add(number)

    def expected(self, tenant_id: str) -> list[int]:
        """Return the numbers of a tenant's events that are to be stored, in order."""
        return [
            number
            for number, event in self.events.items()
            if event["tenant_id"] == tenant_id and event["type"] == "alert"
        ]
