"""``queue.stats`` of senders for queues whose figures the gateway derives: accepted, counted, and not published."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.errors import Refusal
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.source_rules import SourceNumber
from callcenter_ws.events.state_sync import SCOPES
from callcenter_ws.figures.plan import Plan, TenantPlan
from callcenter_ws.interfaces import PublishResult, SourceRecord
from callcenter_ws.sources.link import SourceLink
from callcenter_ws.sources.publishing import SourcePublisher
from callcenter_ws.sources.reconciler import Reconciler, SourceState
from callcenter_ws.testing import FakeClock, run

DERIVED = Plan(TenantPlan(producers_of={"old": True}), {"globex": None})
FIGURES = {"calls_waiting": 1, "available_agents": 2, "logged_in_agents": 3}


def stats(queue: str = "sales", tenant_id: str = "acme", **fields: Any) -> dict[str, Any]:
    payload = {"queue_name": queue, **FIGURES}
    return {"tenant_id": tenant_id, "type": "queue.stats", "payload": payload, **fields}


def alert(**fields: Any) -> dict[str, Any]:
    return {"tenant_id": "acme", "type": "alert", "payload": {"title": "t", "message": "m"}, **fields}


@dataclass
class ChangingPolicy:
    """A policy that a reload changes."""

    plan: Plan = DERIVED

    def is_enabled(self, tenant_id: str) -> bool:
        return self.plan.is_enabled(tenant_id)

    def takes_producers(self, tenant_id: str, queue_name: str | None) -> bool:
        return self.plan.takes_producers(tenant_id, queue_name)


class Bench:
    """The way of events into a store in memory."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.policy = ChangingPolicy()
        self.broker = MemoryBroker(self.clock)
        self.broadcaster = EventBroadcaster(self.broker, self.clock, figure_policy=self.policy)
        self.publisher = SourcePublisher(self.broadcaster, self.broker, self.clock)
        self.delivered: list[Publication] = []
        run(self.broker.start(self.delivered.extend))
        record = SourceRecord(
            scope="*",
            subject="",
            name="pbx1",
            kind="x",
            version="",
            instance="i",
            generation=1,
            lease=1,
            tenants=frozenset(("acme", "globex")),
            claimed=frozenset(("acme", "globex")),
            capabilities=(),
        )
        self.link = SourceLink(record, "1", lambda _: None)

    def shown(self) -> list[str]:
        """Return the queues of the delivered ``queue.stats``, and the types of other events."""
        events = [publication.event for publication in self.delivered]
        return [event.queue_name or "" if event.type.name == "queue.stats" else event.type.name for event in events]

    def publish(self, *drafts: dict[str, Any]) -> list[tuple[int, bool]]:
        return positions(self.broadcaster.publish_batch(drafts))

    def send(self, *drafts: dict[str, Any]) -> list[tuple[int, bool]]:
        return positions(self.publisher.publish(self.link, drafts))

    def sync(self, number: int, *listed: dict[str, Any]) -> int:
        """Publish the difference between the state and the queues of the source; return how many events."""
        scope = SCOPES["queues"]
        entities = {scope.key_of(entity): entity for entity in listed}
        rule = SourceNumber(1, number, number - 1, 1)
        reconciler = Reconciler(self.broker, self.clock, self.policy)
        state = SourceState("acme", scope, "pbx1", rule, entities, None)
        done = Deferred.fromCoroutine(reconciler.reconcile(state))
        counts: list[int] = []
        done.addCallback(lambda reconciled: counts.append(reconciled.events))
        # It compares in slices.
        for _ in range(100):
            if counts:
                break
            self.clock.advance(0.001)
        return counts[0]


def positions(publishing: Awaitable[list[PublishResult | Refusal]]) -> list[tuple[int, bool]]:
    """Return the ``seq`` of each outcome, and whether it has an epoch."""
    outcomes = run(publishing)
    assert all(isinstance(outcome, PublishResult) for outcome in outcomes)
    return [(outcome.seq, outcome.epoch != "") for outcome in outcomes]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_they_are_accepted_and_counted_but_take_no_position(bench: Bench) -> None:
    assert bench.publish(stats(), alert(), stats("old"), stats(tenant_id="globex")) == [
        (0, False),
        (1, True),
        (2, True),
        (1, True),
    ]
    assert bench.shown() == ["alert", "old", "sales"]
    counters = bench.broadcaster.counters
    assert (counters.accepted, counters.duplicates, counters.unused_queue_stats) == (3, 0, 1)


def test_an_invalid_one_is_still_refused(bench: Bench) -> None:
    (outcome,) = run(bench.broadcaster.publish_batch([stats(timestamp="yesterday")]))
    assert isinstance(outcome, Refusal)
    assert bench.broadcaster.counters.unused_queue_stats == 0


def test_a_reload_counts_for_the_next_event(bench: Bench) -> None:
    bench.publish(stats())
    bench.policy.plan = Plan()
    assert bench.publish(stats()) == [(1, True)]
    bench.policy.plan = DERIVED
    bench.publish(stats())
    assert bench.shown() == ["sales"]


def test_of_a_source_only_the_number_is_stored(bench: Bench) -> None:
    drafts = [alert(source_seq=1), stats(source_seq=2), alert(source_seq=3), stats(), stats("old", source_seq=4)]
    expected = [(1, True), (0, False), (2, True), (0, False), (3, True)]
    assert bench.send(*[dict(draft) for draft in drafts]) == expected
    assert bench.shown() == ["alert", "alert", "old"]
    assert run(bench.broker.highest_number("pbx1", ["acme"])) == (1, 4)
    counters = bench.broadcaster.counters
    assert (counters.accepted, counters.source_duplicates, counters.unused_queue_stats) == (3, 0, 2)


def test_the_last_number_of_a_source_may_be_that_of_an_unused_event(bench: Bench) -> None:
    bench.send(alert(source_seq=1), stats(source_seq=2))
    assert run(bench.broker.highest_number("pbx1", ["acme"])) == (1, 2)
    # It comes again, and is answered the same.
    again = SourceLink(bench.link.record, "2", lambda _: None)
    outcomes = run(bench.publisher.publish(again, [alert(source_seq=1), stats(source_seq=2), alert(source_seq=3)]))
    assert [outcome.seq for outcome in outcomes if isinstance(outcome, PublishResult)] == [0, 0, 2]
    assert bench.shown() == ["alert", "alert"]


def test_a_sync_of_queues_publishes_only_those_that_are_shown(bench: Bench) -> None:
    assert bench.sync(1, {"queue_name": "sales", **FIGURES}, {"queue_name": "old", **FIGURES}) == 1
    assert bench.sync(2) == 1
    assert bench.shown() == ["old", "old"]
    bench.policy.plan = Plan()
    assert bench.sync(3, {"queue_name": "sales", **FIGURES}) == 1
    # What was published before the gateway derived the figures stays as it is.
    bench.policy.plan = DERIVED
    assert bench.sync(4) == 0
    assert run(bench.broker.highest_number("pbx1", ["acme"])) == (1, 4)
