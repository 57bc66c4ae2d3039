"""The queue of submitted events: its limits, its order, and its fairness among tenants."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from callcenter_ws.broker import submission
from callcenter_ws.broker.submission import Entry, Outcome, SubmissionQueue, set_outcome
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Event, StoreCondition, make_event
from callcenter_ws.interfaces import PublishResult

ACME, GLOBEX = "acme", "globex"
EVERYTHING = 1_000_000


def alert(event_id: str, tenant_id: str = ACME, *, received_at: float = 0.0) -> Event:
    return make_event(
        tenant_id=tenant_id,
        type_="alert",
        payload={"title": "t", "message": "m"},
        event_id=event_id,
        now=0.0,
        received_at=received_at,
    )


def alerts(event_ids: str, tenant_id: str = ACME) -> list[Event]:
    return [alert(event_id, tenant_id) for event_id in event_ids]


SIZE = len(alert("a").payload)


def ids(entries: list[Entry]) -> str:
    return "".join(entry[2].event_id for entry in entries)


def take(queue: SubmissionQueue, tenant_id: str = ACME, max_events: int = EVERYTHING) -> list[Entry]:
    """Take events, and release them."""
    entries, size = queue.take(tenant_id, max_events, EVERYTHING)
    assert size == len(entries) * SIZE
    queue.release(len(entries), size)
    return entries


def refusals(answer: Deferred[list[Outcome]]) -> list[Refusal]:
    """The outcomes of a submission, which must all be refusals."""
    assert answer.called
    outcomes: list[Outcome] = []
    answer.addCallback(outcomes.extend)
    found = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
    assert len(found) == len(outcomes)
    return found


@pytest.fixture
def queue() -> SubmissionQueue:
    return SubmissionQueue("the disk")


class TestOutcomes:
    def test_a_submission_is_answered_with_its_last_outcome_in_the_order_of_its_events(
        self, queue: SubmissionQueue
    ) -> None:
        answer = queue.submit([alert("a"), alert("b", GLOBEX), alert("c")])
        entries = [*take(queue), *take(queue, GLOBEX)]
        results = {entry[2].event_id: PublishResult("epoch", 1, entry[2].event_id) for entry in entries}
        for entry in reversed(entries):
            assert not answer.called
            set_outcome(entry, results[entry[2].event_id])
        received: list[Outcome] = []
        answer.addCallback(received.extend)
        assert received == [results[event_id] for event_id in "abc"]

    def test_submissions_are_answered_independently(self, queue: SubmissionQueue) -> None:
        first, second = queue.submit(alerts("ab")), queue.submit(alerts("c"))
        set_outcome(take(queue)[-1], PublishResult("epoch", 3, "c"))
        assert (first.called, second.called) == (False, True)


class TestOrder:
    def test_events_of_a_tenant_are_taken_in_the_order_of_their_submission(self, queue: SubmissionQueue) -> None:
        queue.submit(alerts("ab"))
        queue.submit([*alerts("c"), *alerts("x", GLOBEX), *alerts("d")])
        assert ids(take(queue, max_events=3)) == "abc"
        assert ids(take(queue)) == "d"
        assert ids(take(queue, GLOBEX)) == "x"
        assert take(queue) == []

    def test_the_bytes_of_a_batch_are_limited(self, queue: SubmissionQueue) -> None:
        queue.submit(alerts("abcd"))
        for max_bytes, taken in ((SIZE + 1, "ab"), (SIZE, "c"), (1, "d")):
            entries, size = queue.take(ACME, EVERYTHING, max_bytes)
            assert (ids(entries), size) == (taken, len(taken) * SIZE)

    def test_a_batch_is_of_one_group(self, queue: SubmissionQueue) -> None:
        queue.submit([alert(event_id, received_at=float(event_id)) for event_id in "12359"])

        def half(one: Event) -> bool:
            return one.received_at < 4

        assert ids(queue.take(ACME, 2, EVERYTHING, half)[0]) == "12"
        assert ids(queue.take(ACME, EVERYTHING, EVERYTHING, half)[0]) == "3"
        assert ids(queue.take(ACME, EVERYTHING, EVERYTHING, half)[0]) == "59"


class TestFairness:
    def test_tenants_are_ready_in_turn(self, queue: SubmissionQueue) -> None:
        queue.submit([*alerts("abcde"), *alerts("xy", GLOBEX)])
        turns = []
        while (tenant_id := queue.next_tenant()) is not None:
            turns.append((tenant_id, ids(take(queue, tenant_id, 2))))
        assert turns == [(ACME, "ab"), (GLOBEX, "xy"), (ACME, "cd"), (ACME, "e")]

    def test_a_tenant_is_ready_once(self, queue: SubmissionQueue) -> None:
        queue.submit(alerts("a"))
        queue.submit(alerts("b"))
        assert (queue.next_tenant(), queue.next_tenant()) == (ACME, None)

    def test_new_events_make_a_tenant_ready(self, queue: SubmissionQueue) -> None:
        queue.submit(alerts("a"))
        queue.next_tenant()
        queue.submit(alerts("b"))
        assert queue.next_tenant() == ACME

    def test_a_tenant_without_events_is_not_ready(self, queue: SubmissionQueue) -> None:
        queue.submit(alerts("a"))
        take(queue)
        assert queue.next_tenant() is None
        assert not queue.make_ready(ACME)
        assert not queue.has_events(ACME)

    def test_a_tenant_that_was_set_aside_can_be_made_ready(self, queue: SubmissionQueue) -> None:
        queue.submit([*alerts("a"), *alerts("x", GLOBEX)])
        assert queue.next_tenant() == ACME
        assert queue.has_events(ACME)
        assert queue.make_ready(ACME)
        assert (queue.next_tenant(), queue.next_tenant()) == (GLOBEX, ACME)


class TestLimits:
    def test_events_are_limited(self, queue: SubmissionQueue, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(submission, "MAX_WAITING_EVENTS", 3)
        assert not queue.submit(alerts("ab")).called
        refused = refusals(queue.submit([alert("c"), alert("x", GLOBEX)]))
        assert [refusal.code for refusal in refused] == [ErrorCode.OVERLOADED] * 2
        assert (refused[0].message, refused[0].retry_after) == ("2 events wait for the disk", 1)
        assert queue.waiting_events == 2
        assert not queue.has_events(GLOBEX)
        assert not queue.submit(alerts("d")).called
        assert ids(take(queue)) == "abd"

    def test_bytes_are_limited(self, queue: SubmissionQueue, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(submission, "MAX_WAITING_BYTES", 2 * SIZE)
        queue.submit(alerts("abc"))
        assert len(refusals(queue.submit(alerts("d")))) == 1
        take(queue, max_events=1)
        assert not queue.submit(alerts("e")).called

    def test_taken_events_count_until_they_are_released(
        self, queue: SubmissionQueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(submission, "MAX_WAITING_EVENTS", 2)
        queue.submit(alerts("ab"))
        entries, size = queue.take(ACME, EVERYTHING, EVERYTHING)
        assert len(refusals(queue.submit(alerts("c")))) == 1
        queue.release(len(entries), size)
        assert not queue.submit(alerts("d")).called


class TestRefusing:
    REFUSAL = Refusal(ErrorCode.UNAVAILABLE, "the store cannot be read")

    def test_the_events_of_one_tenant(self, queue: SubmissionQueue) -> None:
        answer, other = queue.submit(alerts("ab")), queue.submit(alerts("x", GLOBEX))
        queue.refuse(ACME, self.REFUSAL)
        assert refusals(answer) == [self.REFUSAL] * 2
        assert (other.called, queue.waiting_events) == (False, 1)
        assert (queue.next_tenant(), queue.next_tenant()) == (GLOBEX, None)

    def test_a_tenant_without_events(self, queue: SubmissionQueue) -> None:
        queue.refuse(ACME, self.REFUSAL)
        assert queue.waiting_events == 0

    def test_the_events_of_the_ready_tenants(self, queue: SubmissionQueue) -> None:
        waiting, first, second = (queue.submit(alerts("a", tenant_id)) for tenant_id in ("initech", ACME, GLOBEX))
        assert queue.next_tenant() == "initech"
        queue.refuse_ready(self.REFUSAL)
        assert refusals(first) == refusals(second) == [self.REFUSAL]
        assert not waiting.called
        assert (queue.waiting_events, queue.next_tenant()) == (1, None)

    def test_a_refused_publisher_may_submit_again_at_once(self, queue: SubmissionQueue) -> None:
        again: list[Deferred[list[Outcome]]] = []
        answer = queue.submit(alerts("ab"))
        answer.addCallback(lambda _: again.append(queue.submit(alerts("c"))))
        queue.refuse_ready(self.REFUSAL)
        assert not again[0].called
        assert ids(take(queue)) == "c"
        assert queue.waiting_events == 0


def test_an_event_that_follows_another_is_taken_with_it(queue: SubmissionQueue) -> None:
    events = alerts("abcde")
    for event in events[1:3]:
        event.condition = StoreCondition(follows=True)
    queue.submit(events)
    assert ids(take(queue, max_events=1)) == "abc"
    assert ids(queue.take(ACME, EVERYTHING, 1)[0]) == "d"
    later = alert("g", received_at=1.0)
    later.condition = StoreCondition(follows=True)
    queue.submit([alert("f"), later])
    entries, _ = queue.take(ACME, EVERYTHING, EVERYTHING, lambda event: event.received_at)
    assert ids(entries) == "efg"
