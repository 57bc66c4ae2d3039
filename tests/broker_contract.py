"""The tests that every implementation of ``interfaces.Broker`` passes.

The test module of a store provides a fixture ``bench``, a started Bench, and derives from ``BrokerContract`` and
``MailContract``, and from ``DurableContract`` if its events survive the process. The tests do not assume that a call
returns at once, nor that deliveries precede its result.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import pytest_twisted
from reference import compacted
from twisted.internet import reactor, task

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Event, Origin, make_event, void_event
from callcenter_ws.events.frames import PLAIN
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.redaction import View
from callcenter_ws.events.source_rules import Announcement, SourceNumber, SourceRule
from callcenter_ws.events.visibility import may_see
from callcenter_ws.interfaces import Broker, MailboxGap, PublishResult
from callcenter_ws.runtime.json import rfc3339
from callcenter_ws.statistics.store import FigureStore, LiveFigure
from callcenter_ws.testing import FakeClock

A, B = "acme", "globex"
CALL = {"unique_id": "1.1", "call_id": "c-1"}
STATS = {"calls_waiting": 1, "available_agents": 1, "logged_in_agents": 1}
WINDOW = 300.0
WEEK = 7 * 86_400.0
DEADLINE = 30.0


class Bench(ABC):
    """A store under test, its clock, and everything that it delivered."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.delivered: list[Publication] = []
        self.broker: Broker
        self.announced: list[tuple[str, Sequence[LiveFigure] | None]] = []
        # Limits of a log that is held, of the stores that are made from now on.
        self.unfolded: dict[str, int] = {}
        self._ids = 0

    @abstractmethod
    def make(self, *, history_events: int, history_seconds: float, history_bytes: int = 2**40) -> Broker:
        """Return a store with these limits of history; all stores of one Bench use the same file or server."""

    async def open(
        self, *, history_events: int = 1_000, history_seconds: float = 86_400.0, history_bytes: int = 2**40
    ) -> Broker:
        """Stop the current store, make another and start it."""
        if hasattr(self, "broker"):
            await self.broker.stop()
        self.broker = self.make(
            history_events=history_events, history_seconds=history_seconds, history_bytes=history_bytes
        )
        await self.broker.start(self.delivered.extend)
        return self.broker

    @property
    def figures(self) -> FigureStore:
        """The rows of the statistics in the store."""
        figures: FigureStore = self.broker.figures  # type: ignore[attr-defined]
        return figures

    def listen_to_figures(self) -> None:
        """Record in ``announced`` what the store announces from now on."""
        self.figures.announced = lambda tenant_id, changed: self.announced.append((tenant_id, changed))

    async def close(self) -> None:
        """Stop the store."""
        await self.broker.stop()

    def event(
        self, type_: str = "alert", payload: dict[str, Any] | None = None, *, tenant_id: str = A, **fields: Any
    ) -> Event:
        """Return a validated event, received now."""
        self._ids += 1
        return make_event(
            tenant_id=tenant_id,
            type_=type_,
            payload={"title": "t", "message": "m"} if payload is None else payload,
            event_id=fields.pop("event_id", f"event-{self._ids}"),
            now=self.clock.time(),
            received_at=self.clock.monotonic(),
            **fields,
        )

    def of_source(self, rule: SourceRule, type_: str = "alert", *, source: str = "pbx1", **fields: Any) -> Event:
        """Return an event of a source, or one of the gateway about a source."""
        payload = {"source": source} if type_.startswith("source.") else None
        event = self.event(type_, payload, **fields)
        event.source, event.source_rule = source, rule
        return event

    def numbered(self, seq: int, generation: int = 1, after: int = 0, lease: int = 1, **fields: Any) -> Event:
        """Return an event of a source with a number."""
        return self.of_source(SourceNumber(generation, seq, after, lease), **fields)

    def void(self, seq: int, generation: int = 1, after: int = 0) -> Event:
        """Return what is stored of an event that was refused for good."""
        return void_event(A, "pbx1", SourceNumber(generation, seq, after, 1), self.clock.monotonic())

    async def seqs_of(self, *events: Event) -> list[int | None]:
        """Publish events; return their positions, negative for duplicates; None: an event is missing before it."""
        found: list[int | None] = []
        for outcome in await self.broker.publish(events):
            if isinstance(outcome, Refusal):
                assert outcome.code is ErrorCode.UNAVAILABLE
                found.append(None)
            else:
                found.append(-outcome.seq if outcome.duplicate else outcome.seq)
        return found

    async def publish(self, *events: Event) -> list[PublishResult]:
        """Publish events, which must be accepted; return the results."""
        outcomes = await self.broker.publish(events)
        results = [outcome for outcome in outcomes if isinstance(outcome, PublishResult)]
        assert len(results) == len(outcomes) == len(events)
        return results

    async def alerts(self, count: int, tenant_id: str = A) -> list[int]:
        """Publish ``count`` events; return their positions."""
        return [result.seq for result in await self.publish(*[self.event(tenant_id=tenant_id) for _ in range(count)])]

    async def state(self, tenant_id: str = A) -> list[int]:
        """Return the positions of the publications in the snapshot."""
        return [message.seq for message in (await self.broker.snapshot(tenant_id)).publications]

    def seqs(self, tenant_id: str = A) -> list[int]:
        """Return the positions that were delivered for a tenant."""
        return [message.seq for message in self.delivered if message.event.tenant_id == tenant_id]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until ``condition`` returns a true value; fail after ``DEADLINE`` seconds."""
        deadline = reactor.seconds() + DEADLINE
        while not condition():
            assert reactor.seconds() < deadline, "the condition did not become true"
            await task.deferLater(reactor, 0.002)


def seen_by(event: Event) -> str:
    """Return which agents see an event under ``agent_calls = "own"``.

    The result begins with ``s`` if a supervisor of queue a sees it.
    """
    agents = [user for user in "789" if may_see(Principal(event.tenant_id, user, Role.AGENT), event, "own")]
    supervisor = Principal(event.tenant_id, "1", Role.SUPERVISOR, queues=frozenset({"a"}))
    return "".join(["s" * may_see(supervisor, event), *agents])


def positions(publications: Sequence[Publication]) -> list[int]:
    return [publication.seq for publication in publications]


# Published events, and the positions of those in the snapshot afterwards (docs/events.rst).
SLOT_RULES: list[tuple[list[tuple[str, dict[str, Any]]], list[int]]] = [
    ([("agent.login", {})], [1]),
    ([("agent.login", {}), ("agent.state.changed", {})], [2]),
    ([("agent.login", {}), ("agent.logout", {})], []),
    ([("agent.logout", {}), ("agent.login", {})], [2]),
    ([("agent.login", {"user_id": "1"}), ("agent.login", {"user_id": 2}), ("agent.logout", {"user_id": 1})], [2]),
    ([("agent.login", {"user_id": 1}), ("agent.logout", {"user_id": "1"})], []),
    ([("call.incoming", {}), ("call.ringing", {}), ("call.answered", {}), ("call.transferred", {})], [1, 2, 3, 4]),
    ([("call.incoming", {}), ("call.ringing", {}), ("call.incoming", {})], [2, 3]),
    ([("call.incoming", {}), ("call.missed", {})], [1]),
    ([("call.hold", {}), ("call.unhold", {})], [2]),
    ([("call.hold", {}), ("call.unhold", {}), ("call.hold", {})], [3]),
    ([("call.incoming", {}), ("queue.joined", {}), ("queue.left", {})], [1]),
    ([("queue.joined", {}), ("queue.left", {})], []),
    ([("queue.left", {}), ("queue.joined", {})], [2]),
    ([("call.incoming", {}), ("queue.joined", {}), ("call.hold", {}), ("call.ended", {})], []),
    ([("call.incoming", {}), ("queue.joined", {}), ("call.abandoned", {})], []),
    ([("call.incoming", {}), ("call.ended", {"unique_id": "another leg"})], []),
    ([("call.incoming", {}), ("call.ended", {"call_id": "another call"})], [1]),
    ([("call.incoming", {"call_id": None}), ("call.ended", {"call_id": None})], []),
    ([("call.incoming", {"call_id": None}), ("call.ringing", {"call_id": "1.1"})], [1, 2]),
    ([("queue.stats", {}), ("queue.stats", {"queue_name": "b"}), ("queue.stats", {})], [2, 3]),
    ([("queue.member.added", {}), ("queue.member.paused", {}), ("queue.member.unpaused", {})], [3]),
    ([("queue.member.added", {}), ("queue.member.added", {"queue_name": "b"}), ("queue.member.removed", {})], [2]),
    ([("chat.session.started", {}), ("chat.transferred", {}), ("chat.transferred", {})], [1, 3]),
    ([("chat.session.started", {}), ("chat.message", {}), ("chat.typing", {})], [1, 2]),
    ([("chat.message", {}), ("chat.session.started", {}), ("chat.message", {"session_id": "s-2"})], [2]),
    ([("chat.session.started", {}), ("chat.message", {}), ("chat.session.ended", {}), ("chat.message", {})], []),
    ([("chat.session.started", {}), *[("chat.message", {})] * 52], [1, *range(4, 54)]),
    ([("chat.session.started", {}), ("chat.transferred", {}), ("chat.session.ended", {})], []),
    ([("alert", {}), ("call.missed", {})], []),
]


class BrokerContract:
    """What holds for every store."""

    # Positions

    @pytest_twisted.ensureDeferred
    async def test_a_tenant_that_never_published_is_at_zero(self, bench: Bench) -> None:
        position = await bench.broker.position(A)
        assert position.seq == 0
        assert position.epoch
        assert isinstance(position.epoch, str)
        assert position == await bench.broker.position(A)

    @pytest_twisted.ensureDeferred
    async def test_positions_count_from_one_without_holes(self, bench: Bench) -> None:
        assert await bench.alerts(3) == [1, 2, 3]
        assert await bench.alerts(1) == [4]
        assert (await bench.broker.position(A)).seq == 4
        assert (await bench.broker.read(A, 3, 1)).head == 4

    @pytest_twisted.ensureDeferred
    async def test_one_epoch_for_everything(self, bench: Bench) -> None:
        (published,) = await bench.publish(bench.event())
        epochs = {
            published.epoch,
            (await bench.broker.position(A)).epoch,
            (await bench.broker.read(A, 0, 1)).epoch,
            (await bench.broker.snapshot(A)).epoch,
        }
        assert len(epochs) == 1

    @pytest_twisted.ensureDeferred
    async def test_tenants_are_independent(self, bench: Bench) -> None:
        results = await bench.publish(*[bench.event(tenant_id=tenant) for tenant in (A, B, B, A, B)])
        assert [result.seq for result in results] == [1, 1, 2, 2, 3]
        for tenant, seqs in ((A, [1, 2]), (B, [1, 2, 3])):
            page = await bench.broker.read(tenant, 0, 100)
            assert positions(page.publications) == seqs
            assert {message.event.tenant_id for message in page.publications} == {tenant}
            assert (await bench.broker.position(tenant)).seq == len(seqs)
            await bench.until(lambda tenant=tenant, seqs=seqs: bench.seqs(tenant) == seqs)

    # Deliveries

    @pytest_twisted.ensureDeferred
    async def test_delivered_once_in_order(self, bench: Bench) -> None:
        calls = [bench.broker.publish([bench.event() for _ in range(size)]) for size in (1, 7, 2, 30, 1)]
        outcomes = [outcome for call in calls for outcome in await call]
        assert [outcome.seq for outcome in outcomes if isinstance(outcome, PublishResult)] == list(range(1, 42))
        await bench.until(lambda: len(bench.delivered) >= 41)
        assert bench.seqs() == list(range(1, 42))

    @pytest_twisted.ensureDeferred
    async def test_what_is_delivered_is_what_was_published(self, bench: Bench) -> None:
        payload = {"type": "x", "title": "Grüße", "message": "m", "data": {"n": 1.5, "l": [None, True]}, "extra": "e"}
        event = bench.event("notification", payload, user_id="7", persist=True)
        (published,) = await bench.publish(event)
        await bench.until(lambda: bench.delivered)
        for message in (bench.delivered[0], (await bench.broker.read(A, 0, 1)).publications[0]):
            assert message.seq == published.seq
            for name in ("type", "tenant_id", "event_id", "timestamp", "user_id", "payload", "persist", "origin"):
                assert getattr(message.event, name) == getattr(event, name), name
            for name in ("queue_name", "session_id", "private", "agents", "entity", "conflation_key"):
                assert getattr(message.event, name) == getattr(event, name), name

    @pytest_twisted.ensureDeferred
    async def test_what_is_delivered_can_be_read(self, bench: Bench) -> None:
        """A client whose outbox overflows during a delivery must find the publication in the history."""
        await bench.alerts(5)
        await bench.until(lambda: len(bench.delivered) == 5)
        page = await bench.broker.read(A, bench.delivered[-1].seq - 1, 10)
        assert positions(page.publications) == [5]

    @pytest_twisted.ensureDeferred
    async def test_every_query_includes_what_was_acknowledged(self, bench: Bench) -> None:
        for number in range(1, 6):
            await bench.publish(bench.event("agent.login", {"user_id": str(number), "username": "n"}))
            assert (await bench.broker.position(A)).seq == number
            assert (await bench.broker.read(A, number - 1, 1)).head == number
            snapshot = await bench.broker.snapshot(A)
            assert (snapshot.seq, positions(snapshot.publications)) == (number, list(range(1, number + 1)))

    # Outcomes

    @pytest_twisted.ensureDeferred
    async def test_nothing_to_publish(self, bench: Bench) -> None:
        assert await bench.broker.publish([]) == []

    @pytest_twisted.ensureDeferred
    async def test_mixed_outcomes_in_order(self, bench: Bench) -> None:
        await bench.publish(bench.event(event_id="known"))
        results = await bench.publish(
            bench.event(event_id="x"),
            bench.event(event_id="known"),
            bench.event(event_id="y", tenant_id=B),
            bench.event(event_id="x"),
            bench.event(event_id="z"),
        )
        assert [(result.event_id, result.seq, result.duplicate) for result in results] == [
            ("x", 2, False),
            ("known", 1, True),
            ("y", 1, False),
            ("x", 2, True),
            ("z", 3, False),
        ]
        await bench.until(lambda: len(bench.delivered) == 4)
        assert bench.seqs() == [1, 2, 3]

    # Idempotency

    @pytest_twisted.ensureDeferred
    async def test_a_repetition_is_answered_and_not_published(self, bench: Bench) -> None:
        await bench.alerts(3)
        (first,) = await bench.publish(bench.event(event_id="once"))
        bench.clock.advance(WINDOW - 1)
        (again,) = await bench.publish(bench.event("alert", {"title": "other", "message": "m"}, event_id="once"))
        assert (again.epoch, again.seq, again.event_id, again.duplicate) == (first.epoch, 4, "once", True)
        assert (await bench.broker.position(A)).seq == 4
        await bench.alerts(1)
        await bench.until(lambda: len(bench.delivered) >= 5)
        assert bench.seqs() == [1, 2, 3, 4, 5]

    @pytest_twisted.ensureDeferred
    async def test_identifiers_are_separate_for_each_tenant(self, bench: Bench) -> None:
        results = await bench.publish(bench.event(event_id="x"), bench.event(event_id="x", tenant_id=B))
        assert [(result.seq, result.duplicate) for result in results] == [(1, False), (1, False)]

    @pytest_twisted.ensureDeferred
    async def test_an_identifier_expires(self, bench: Bench) -> None:
        await bench.publish(bench.event(event_id="x"))
        bench.clock.advance(WINDOW + 1)
        (again,) = await bench.publish(bench.event(event_id="x"))
        assert (again.seq, again.duplicate) == (2, False)

    @pytest_twisted.ensureDeferred
    async def test_a_repetition_does_not_extend_the_window(self, bench: Bench) -> None:
        await bench.publish(bench.event(event_id="x"))
        bench.clock.advance(WINDOW - 1)
        await bench.publish(bench.event(event_id="x"))
        bench.clock.advance(2)
        (again,) = await bench.publish(bench.event(event_id="x"))
        assert again.duplicate is False

    @pytest_twisted.ensureDeferred
    async def test_identifiers_of_clients_and_daemons_are_separate(self, bench: Bench) -> None:
        await bench.publish(bench.event(event_id="x"))
        (of_client,) = await bench.publish(bench.event(event_id="x", origin=Origin.CLIENT))
        assert (of_client.seq, of_client.duplicate) == (2, False)
        again = await bench.publish(bench.event(event_id="x", origin=Origin.CLIENT), bench.event(event_id="x"))
        assert [(result.seq, result.duplicate) for result in again] == [(2, True), (1, True)]

    @pytest_twisted.ensureDeferred
    async def test_an_identifier_that_the_gateway_made_is_not_remembered(self, bench: Bench) -> None:
        event, same = bench.event(event_id="x"), bench.event(event_id="x")
        event.has_new_id = True
        await bench.publish(event)
        (result,) = await bench.publish(same)
        assert (result.seq, result.duplicate) == (2, False)

    # Reading

    @pytest_twisted.ensureDeferred
    async def test_read_in_pages(self, bench: Bench) -> None:
        await bench.alerts(10)
        for after, limit, seqs in (
            (0, 4, [1, 2, 3, 4]),
            (4, 4, [5, 6, 7, 8]),
            (8, 4, [9, 10]),
            (10, 4, []),
            (0, 100, list(range(1, 11))),
            (3, 0, []),
        ):
            page = await bench.broker.read(A, after, limit)
            assert (positions(page.publications), page.reachable, page.head) == (seqs, True, 10), (after, limit)

    @pytest_twisted.ensureDeferred
    async def test_read_beyond_the_head(self, bench: Bench) -> None:
        await bench.alerts(2)
        page = await bench.broker.read(A, 7, 10)
        assert (positions(page.publications), page.reachable, page.head) == ([], True, 2)

    @pytest_twisted.ensureDeferred
    async def test_read_a_tenant_that_never_published(self, bench: Bench) -> None:
        page = await bench.broker.read(A, 0, 10)
        assert (positions(page.publications), page.reachable, page.head) == ([], True, 0)

    @pytest_twisted.ensureDeferred
    async def test_history_by_count(self, bench: Bench) -> None:
        await bench.open(history_events=5)
        await bench.alerts(3)
        await bench.alerts(3)
        await bench.alerts(4, B)
        for after, reachable, seqs in ((0, False, []), (1, True, [2, 3, 4, 5, 6]), (4, True, [5, 6]), (6, True, [])):
            for limit in (0, 100):
                page = await bench.broker.read(A, after, limit)
                assert (positions(page.publications), page.reachable) == (seqs[:limit], reachable), (after, limit)
                assert page.head == 6
        assert (await bench.broker.read(B, 0, 1)).reachable

    @pytest_twisted.ensureDeferred
    async def test_a_batch_that_is_larger_than_the_history_is_delivered_whole(self, bench: Bench) -> None:
        await bench.open(history_events=5)
        await bench.alerts(20)
        await bench.until(lambda: len(bench.delivered) == 20)
        assert bench.seqs() == list(range(1, 21))
        assert positions((await bench.broker.read(A, 15, 100)).publications) == [16, 17, 18, 19, 20]

    @pytest_twisted.ensureDeferred
    async def test_small_events_are_not_trimmed_by_bytes(self, bench: Bench) -> None:
        await bench.open(history_bytes=2_097_152)
        for _ in range(5):
            await bench.alerts(20)
            bench.clock.advance(60)
        page = await bench.broker.read(A, 0, 1_000)
        assert (positions(page.publications), page.reachable) == (list(range(1, 101)), True)

    @pytest_twisted.ensureDeferred
    async def test_history_by_age(self, bench: Bench) -> None:
        await bench.open(history_seconds=100.0)
        await bench.alerts(2)
        bench.clock.advance(60)
        await bench.alerts(2)
        assert (await bench.broker.read(A, 0, 0)).reachable
        bench.clock.advance(50)
        await bench.alerts(1)
        assert not (await bench.broker.read(A, 1, 10)).reachable
        assert positions((await bench.broker.read(A, 2, 10)).publications) == [3, 4, 5]

    @pytest_twisted.ensureDeferred
    async def test_history_by_age_of_a_tenant_without_new_events(self, bench: Bench) -> None:
        await bench.open(history_seconds=100.0)
        await bench.alerts(2)
        # Long enough for the periodic maintenance of any store.
        for _ in range(20):
            bench.clock.advance(60)
        assert not (await bench.broker.read(A, 1, 10)).reachable
        page = await bench.broker.read(A, 2, 10)
        assert (page.reachable, page.head) == (True, 2)
        assert await bench.alerts(1) == [3]

    # Snapshots

    @pytest_twisted.ensureDeferred
    async def test_snapshot_of_a_tenant_that_never_published(self, bench: Bench) -> None:
        snapshot = await bench.broker.snapshot(A)
        assert (snapshot.seq, list(snapshot.publications)) == (0, [])

    @pytest.mark.parametrize(("published", "kept"), SLOT_RULES)
    @pytest_twisted.ensureDeferred
    async def test_snapshot_slots(
        self, bench: Bench, published: list[tuple[str, dict[str, Any]]], kept: list[int]
    ) -> None:
        await bench.publish(*[bench.event(type_, payload_of(type_, **fields)) for type_, fields in published])
        snapshot = await bench.broker.snapshot(A)
        assert snapshot.seq == len(published)
        assert positions(snapshot.publications) == kept
        assert [message.event.type.name for message in snapshot.publications] == [published[seq - 1][0] for seq in kept]

    @pytest_twisted.ensureDeferred
    async def test_an_agent_and_a_call_of_the_same_name(self, bench: Bench) -> None:
        await bench.publish(
            bench.event("agent.login", payload_of("agent.login", user_id="x")),
            bench.event("call.incoming", payload_of("call.incoming", call_id="x")),
            bench.event("call.ended", payload_of("call.ended", call_id="x")),
        )
        assert await bench.state() == [1]

    @pytest_twisted.ensureDeferred
    async def test_events_for_one_user_have_slots_of_their_own(self, bench: Bench) -> None:
        """Events for one user do not change the slots of others; events for all users empty the slots of all."""
        call = payload_of("call.incoming")
        await bench.publish(
            bench.event("call.incoming", call),
            bench.event("call.incoming", call, user_id="7"),
            bench.event("call.incoming", call, user_id="8"),
        )
        assert await bench.state() == [1, 2, 3]
        await bench.publish(bench.event("call.ended", payload_of("call.ended"), user_id="7"))
        assert await bench.state() == [1, 3]
        await bench.publish(bench.event("call.ended", payload_of("call.ended")))
        assert await bench.state() == []

    @pytest_twisted.ensureDeferred
    async def test_the_state_outlives_the_history(self, bench: Bench) -> None:
        await bench.open(history_events=2)
        await bench.publish(bench.event("agent.login", payload_of("agent.login")))
        await bench.alerts(10)
        assert not (await bench.broker.read(A, 0, 1)).reachable
        snapshot = await bench.broker.snapshot(A)
        assert (snapshot.seq, positions(snapshot.publications)) == (11, [1])

    @pytest_twisted.ensureDeferred
    async def test_an_entity_without_an_end_is_removed_after_a_day(self, bench: Bench) -> None:
        login = payload_of("agent.login", user_id="1")
        await bench.publish(
            bench.event("agent.login", login), bench.event("call.incoming", payload_of("call.incoming"))
        )
        bench.clock.advance(23 * 3600)
        await bench.publish(bench.event("call.ringing", payload_of("call.ringing")))
        assert await bench.state() == [1, 2, 3]
        bench.clock.advance(3601)
        assert await bench.state() == [2, 3]
        bench.clock.advance(24 * 3600)
        assert await bench.state() == []
        assert (await bench.broker.snapshot(A)).seq == 3

    @pytest_twisted.ensureDeferred
    async def test_the_age_of_an_entity_counts_from_its_last_event(self, bench: Bench) -> None:
        """Events that only empty a slot count."""
        await bench.publish(bench.event("call.incoming", payload_of("call.incoming")))
        bench.clock.advance(3600)
        await bench.publish(bench.event("agent.login", payload_of("agent.login")))
        await bench.publish(bench.event("queue.joined", payload_of("queue.joined")))
        bench.clock.advance(3600)
        await bench.publish(bench.event("queue.left", payload_of("queue.left")))
        bench.clock.advance(23 * 3600 + 1)
        assert await bench.state() == [1]
        bench.clock.advance(3600)
        assert await bench.state() == []

    @pytest.mark.parametrize("seed", range(8))
    @pytest_twisted.ensureDeferred
    async def test_random_events_against_the_reference(self, bench: Bench, seed: int) -> None:
        source = random.Random(seed)
        await bench.open(history_events=20)
        streams: dict[str, list[Publication]] = {A: [], B: []}
        for _ in range(60):
            batch = [random_event(bench, source, source.choice([A, A, B])) for _ in range(source.randint(1, 4))]
            for result, event in zip(await bench.publish(*batch), batch, strict=True):
                stream = streams[event.tenant_id]
                if result.duplicate:
                    assert stream[result.seq - 1].event.event_id == event.event_id
                else:
                    stream.append(Publication(event, result.seq))
            bench.clock.advance(source.choice([0, 0, 1, 60, 20_000]))
            tenant = source.choice([A, B])
            await check_against(bench, tenant, streams[tenant], 20, source)
        await bench.until(lambda: len(bench.delivered) == sum(map(len, streams.values())))
        for tenant, stream in streams.items():
            assert bench.seqs(tenant) == positions(stream) == list(range(1, len(stream) + 1))

    # Visibility

    @pytest_twisted.ensureDeferred
    async def test_who_may_see_an_event_follows_from_the_whole_call(self, bench: Bench) -> None:
        """An event that omits queue and agents has those of its call's earlier events; see ``broker.calls``."""
        events_of_call = [
            ("queue.joined", {"queue_name": "a"}, "s"),
            ("call.ringing", {"agent_id": "7"}, "s7"),
            ("call.ringing", {"agent_id": "8"}, "s8"),
            ("call.answered", {"agent_id": "7"}, "s78"),
            ("call.hold", {}, "s7"),
            ("call.disposition", {"code": "sale", "agent_id": "8", "queue_name": "b"}, "78"),
            ("call.unhold", {}, "s7"),
            ("call.transferred", {"destination": "9", "to_agent_id": "9"}, "s79"),
            ("call.ended", {"duration": 1}, "s79"),
            ("call.disposition", {"code": "sale", "agent_id": "7", "queue_name": "a"}, "s7"),
            ("call.disposition", {"code": "other"}, ""),
        ]
        events = [
            bench.event(type_, {**CALL, "unique_id": f"leg {leg}", **payload})
            for leg, (type_, payload, _) in enumerate(events_of_call)
        ]
        payloads = [event.payload for event in events]
        await bench.publish(bench.event("call.answered", payload_of("call.answered"), tenant_id=B), *events)
        await bench.until(lambda: len(bench.delivered) == 12)
        delivered = [message for message in bench.delivered if message.event.tenant_id == A]
        for messages in (delivered, (await bench.broker.read(A, 0, 12)).publications):
            assert [seen_by(message.event) for message in messages] == [expected for _, _, expected in events_of_call]
            assert [message.event.payload for message in messages] == payloads

    @pytest_twisted.ensureDeferred
    async def test_a_repetition_does_not_change_the_agents_of_a_call(self, bench: Bench) -> None:
        await bench.publish(bench.event("call.answered", {**CALL, "agent_id": "7"}, event_id="x"))
        await bench.publish(bench.event("call.answered", {**CALL, "agent_id": "8"}, event_id="x"))
        await bench.publish(bench.event("call.hold", CALL))
        await bench.until(lambda: len(bench.delivered) == 2)
        assert seen_by(bench.delivered[1].event) == "7"

    # Conflation

    @pytest_twisted.ensureDeferred
    async def test_the_newest_of_a_key(self, bench: Bench) -> None:
        sales = bench.event("queue.stats", payload_of("queue.stats", queue_name="sales"))
        support = bench.event("queue.stats", payload_of("queue.stats", queue_name="support"))
        key = sales.conflation_key
        assert key is not None
        assert bench.broker.newest_of(A, key) == 0
        bench.broker.attach(A)
        await bench.publish(sales, support)
        await bench.until(lambda: bench.broker.newest_of(A, key) == 1)
        await bench.publish(bench.event("queue.stats", payload_of("queue.stats", queue_name="sales")))
        await bench.until(lambda: bench.broker.newest_of(A, key) == 3)
        assert bench.broker.newest_of(B, key) == 0

    # Start and stop

    @pytest_twisted.ensureDeferred
    async def test_ready_while_it_runs(self, bench: Bench) -> None:
        assert bench.broker.not_ready() is None
        state = bench.broker.state()
        assert state["ready"] is True
        assert isinstance(state["kind"], str)
        await bench.broker.stop()
        assert bench.broker.not_ready()
        assert bench.broker.state()["ready"] is False

    @pytest_twisted.ensureDeferred
    async def test_a_stopped_store_accepts_nothing(self, bench: Bench) -> None:
        await bench.alerts(1)
        await bench.broker.stop()
        outcomes = await bench.broker.publish([bench.event(), bench.event(tenant_id=B)])
        assert [type(outcome) for outcome in outcomes] == [Refusal, Refusal]
        assert {outcome.code for outcome in outcomes if isinstance(outcome, Refusal)} == {ErrorCode.UNAVAILABLE}
        assert bench.seqs() == [1]

    @pytest_twisted.ensureDeferred
    async def test_stopping_finishes_what_was_accepted(self, bench: Bench) -> None:
        calls = [bench.broker.publish([bench.event()]) for _ in range(5)]
        await bench.broker.stop()
        outcomes = [outcome for call in calls for outcome in await call]
        seqs = [outcome.seq for outcome in outcomes if isinstance(outcome, PublishResult)]
        assert seqs == list(range(1, len(seqs) + 1))
        assert bench.seqs() == seqs

    @pytest_twisted.ensureDeferred
    async def test_attached_or_not_the_stream_is_the_same(self, bench: Bench) -> None:
        bench.broker.detach(A)
        await bench.alerts(2)
        bench.broker.attach(A)
        bench.broker.attach(A)
        await bench.alerts(2)
        bench.broker.detach(A)
        bench.broker.detach(A)
        await bench.alerts(2)
        assert positions((await bench.broker.read(A, 0, 10)).publications) == [1, 2, 3, 4, 5, 6]
        await bench.until(lambda: bench.seqs() == [1, 2, 3, 4, 5, 6])


class SourceContract:
    """Numbered events of sources, and announcements about sources."""

    @pytest_twisted.ensureDeferred
    async def test_a_number_is_stored_once(self, bench: Bench) -> None:
        assert await bench.seqs_of(bench.numbered(1), bench.numbered(2), bench.numbered(2)) == [1, 2, 0]
        bench.clock.advance(3 * WINDOW)
        assert await bench.seqs_of(bench.numbered(1), bench.numbered(2), bench.numbered(5)) == [0, 0, 3]
        await bench.until(lambda: len(bench.delivered) >= 3)
        assert bench.seqs() == [1, 2, 3]

    @pytest_twisted.ensureDeferred
    async def test_a_duplicate_has_its_position_while_it_is_known(self, bench: Bench) -> None:
        assert await bench.seqs_of(bench.numbered(1, event_id="a"), bench.numbered(1, event_id="a")) == [1, -1]
        assert await bench.seqs_of(bench.numbered(1, event_id="a")) == [-1]
        bench.clock.advance(3 * WINDOW)
        assert await bench.seqs_of(bench.numbered(1, event_id="a")) == [0]

    @pytest_twisted.ensureDeferred
    async def test_generations_come_before_numbers(self, bench: Bench) -> None:
        assert await bench.seqs_of(bench.numbered(9), bench.numbered(1, 2)) == [1, 2]
        assert await bench.seqs_of(bench.numbered(1, 2), bench.numbered(2, 2)) == [0, 3]

    @pytest_twisted.ensureDeferred
    async def test_an_event_of_an_earlier_generation_is_refused_whether_or_not_it_is_stored(self, bench: Bench) -> None:
        """A gateway that stood still publishes what its source sent, after another instance has taken over."""
        assert await bench.seqs_of(bench.numbered(1), bench.numbered(7, 2)) == [1, 2]
        late = [bench.numbered(1), bench.numbered(2), bench.numbered(9, after=8), bench.void(10)]
        late += [bench.of_source(SourceNumber(1, 0, 0, 1), "source.up"), bench.numbered(8, 2)]
        *refused, last = await bench.broker.publish(late)
        for outcome in refused:
            assert isinstance(outcome, Refusal)
            assert outcome.code is ErrorCode.STALE_GENERATION
        assert isinstance(last, PublishResult)
        assert last.seq == 3
        assert await bench.seqs_of(bench.numbered(2, tenant_id=B)) == [1]
        assert positions((await bench.broker.read(A, 0, 10)).publications) == [1, 2, 3]

    @pytest_twisted.ensureDeferred
    async def test_marks_are_of_a_tenant_and_a_source(self, bench: Bench) -> None:
        assert await bench.seqs_of(
            bench.numbered(5), bench.numbered(4, tenant_id=B), bench.numbered(3, source="pbx2"), bench.numbered(4)
        ) == [1, 1, 2, 0]

    @pytest_twisted.ensureDeferred
    async def test_an_event_waits_for_the_one_before_it(self, bench: Bench) -> None:
        assert await bench.seqs_of(bench.numbered(3, after=2), bench.numbered(4, after=3)) == [None, None]
        assert await bench.seqs_of(bench.numbered(2, after=1)) == [None]
        assert await bench.seqs_of(bench.numbered(1), bench.numbered(2, after=1), bench.numbered(4, after=3)) == [
            *(1, 2, None)
        ]
        # A mark above it will do: another connection has sent more.
        assert await bench.seqs_of(bench.numbered(7), bench.numbered(8, after=3)) == [3, 4]
        # A mark of an earlier generation will not.
        assert await bench.seqs_of(bench.numbered(3, 2, after=2)) == [None]

    @pytest_twisted.ensureDeferred
    async def test_a_void_event_raises_the_mark_and_is_not_stored(self, bench: Bench) -> None:
        assert await bench.seqs_of(bench.numbered(1), bench.void(2, after=1), bench.numbered(3, after=2)) == [1, 0, 2]
        assert await bench.seqs_of(bench.void(4)) == [0]
        assert await bench.seqs_of(bench.numbered(4), bench.numbered(5, after=4)) == [0, 3]
        assert await bench.seqs_of(bench.void(9, after=8)) == [None]
        await bench.until(lambda: len(bench.delivered) >= 3)
        assert bench.seqs() == [1, 2, 3]

    @pytest_twisted.ensureDeferred
    async def test_a_repeated_event_id_raises_the_mark(self, bench: Bench) -> None:
        """An event was published before without a number."""
        assert await bench.seqs_of(bench.event(event_id="a"), bench.numbered(1, event_id="a")) == [1, -1]
        assert await bench.seqs_of(bench.numbered(2, event_id="a"), bench.numbered(3, after=2)) == [-1, 2]

    @pytest_twisted.ensureDeferred
    async def test_large_numbers(self, bench: Bench) -> None:
        top = 2**53 - 1
        assert await bench.seqs_of(
            bench.numbered(top - 1, top), bench.numbered(top, top, after=top - 1), bench.numbered(top, top)
        ) == [1, 2, 0]

    @pytest_twisted.ensureDeferred
    async def test_events_know_their_source(self, bench: Bench) -> None:
        await bench.seqs_of(bench.numbered(1), bench.event(), bench.numbered(2, source="größe"))
        page = await bench.broker.read(A, 0, 10)
        assert [message.event.source for message in page.publications] == ["pbx1", None, "größe"]

    @pytest_twisted.ensureDeferred
    async def test_an_announcement_is_made_once_for_each_lease(self, bench: Bench) -> None:
        async def say(kind: Any, lease: int) -> int | None:
            type_ = "source.down" if kind == "down" else "source.up"
            (seq,) = await bench.seqs_of(bench.of_source(Announcement(kind, lease), type_))
            return seq

        assert [await say("down", 0), await say("again", 1), await say("up", 1), await say("up", 1)] == [0, 0, 1, 0]
        assert [await say("again", 1), await say("down", 0), await say("down", 1), await say("down", 1)] == [2, 0, 3, 0]
        assert [await say("up", 1), await say("up", 3), await say("down", 2), await say("again", 2)] == [4, 5, 0, 0]
        assert [await say("up", 2), await say("down", 3), await say("again", 3)] == [0, 6, 0]
        assert await bench.state() == [6]

    @pytest_twisted.ensureDeferred
    async def test_a_source_may_announce_itself(self, bench: Bench) -> None:
        up, down = (bench.of_source(Announcement(kind, 2), f"source.{kind}") for kind in ("up", "down"))
        assert await bench.seqs_of(bench.numbered(1, lease=2, type_="source.up"), up, down) == [1, 0, 2]
        # Without a number as well, and as often as it likes.
        free = [bench.of_source(SourceNumber(1, 0, 0, 2), "source.up") for _ in range(2)]
        assert await bench.seqs_of(*free, bench.numbered(2, lease=2, type_="source.down")) == [3, 4, 5]
        assert await bench.seqs_of(bench.of_source(Announcement("down", 2), "source.down")) == [0]

    @pytest_twisted.ensureDeferred
    async def test_marks_equal_those_of_the_reference(self, bench: Bench) -> None:
        """Random numbers in random batches: what is stored follows the rules, whatever the store."""
        source = random.Random(11)
        mark, stored = (0, 0), []
        for _ in range(30):
            batch, expected = [], []
            for _ in range(source.randint(1, 8)):
                number = (source.randint(1, 3), source.randint(1, 40))
                after = source.choice([0, 0, source.randint(1, 40)])
                is_void = source.random() < 0.2
                batch.append(
                    bench.void(number[1], number[0], after) if is_void else bench.numbered(*number[::-1], after)
                )
                if number[0] < mark[0]:
                    expected.append("stale")
                elif number <= mark:
                    expected.append("known")
                elif after and mark < (number[0], after):
                    expected.append("early")
                else:
                    mark = number
                    expected.append("void" if is_void else "new")
                    stored += [] if is_void else [batch[-1].event_id]
            found = [_verdict(outcome) for outcome in await bench.broker.publish(batch)]
            assert found == ["known" if one == "void" else one for one in expected]
        page = await bench.broker.read(A, 0, 1_000)
        assert [message.event.event_id for message in page.publications] == stored


def _verdict(outcome: PublishResult | Refusal) -> str:
    if isinstance(outcome, Refusal):
        return {ErrorCode.UNAVAILABLE: "early", ErrorCode.STALE_GENERATION: "stale"}[outcome.code]
    return "known" if outcome.duplicate else "new"


class CountersContract:
    """What a store counts for the metrics."""

    @pytest_twisted.ensureDeferred
    async def test_commits_and_mailbox_items_are_counted(self, bench: Bench) -> None:
        counters: Any = bench.broker.counters  # type: ignore[attr-defined]  # of each store
        payload = {"type": "reminder", "title": "t", "message": "m"}
        ids = [str(number) for number in range(1_002)]
        for part in (ids[:501], ids[501:]):
            await bench.publish(
                *[bench.event("notification", payload, event_id=one, user_id="7", persist=True) for one in part]
            )
        await bench.alerts(1)
        assert (counters.mail_stored, counters.mail_displaced) == (1_002, 2)
        bench.broker.mark_mail_sent(A, "7", ["3", "4"])
        bench.broker.acknowledge_mail(A, "7", ["3"])
        assert (counters.mail_sent, counters.mail_acknowledged) == (2, 1)
        assert counters.commits_failed == 0
        assert bool(sum(counters.commit_seconds.counts)) is (bench.broker.state()["kind"] != "memory")


class MailContract:
    """Mailboxes (``docs/protocol.rst``, anchor ``mailbox``)."""

    @staticmethod
    async def notify(
        bench: Bench, *event_ids: str, user_id: str = "7", tenant_id: str = A, **payload: Any
    ) -> list[int]:
        """Publish notifications for a user; return their positions."""
        notification = {"type": "x", "title": "t", "message": "m", **payload}
        events = [
            bench.event("notification", notification, user_id=user_id, tenant_id=tenant_id, event_id=event_id)
            for event_id in event_ids
        ]
        return [result.seq for result in await bench.publish(*events)]

    @staticmethod
    async def waiting(bench: Bench, user_id: str = "7", tenant_id: str = A) -> list[str]:
        """Return the event ids in a user's mailbox."""
        page = await bench.broker.read_mailbox(tenant_id, user_id, 0, 2_000)
        return [item.publication.event.event_id for item in page.items]

    @pytest_twisted.ensureDeferred
    async def test_a_new_mailbox_is_empty(self, bench: Bench) -> None:
        page = await bench.broker.read_mailbox(A, "7", 0, 10)
        assert (list(page.items), page.gap) == ([], None)
        bench.broker.mark_mail_sent(A, "7", ["x"])
        bench.broker.acknowledge_mail(A, "7", ["x"])
        assert (await bench.broker.position(A)).seq == 0

    @pytest_twisted.ensureDeferred
    async def test_items_are_read_oldest_first(self, bench: Bench) -> None:
        await bench.alerts(1)
        assert await self.notify(bench, "a", "b", "c") == [2, 3, 4]
        page = await bench.broker.read_mailbox(A, "7", 0, 10)
        assert positions([item.publication for item in page.items]) == [2, 3, 4]
        assert [item.sent for item in page.items] == [False] * 3
        assert page.gap is None
        await bench.until(lambda: len(bench.delivered) == 4)
        for item, delivered in zip(page.items, bench.delivered[1:], strict=True):
            assert item.publication.frame(PLAIN[View.FULL]) == delivered.frame(PLAIN[View.FULL])

    @pytest_twisted.ensureDeferred
    async def test_a_mailbox_is_read_in_pages(self, bench: Bench) -> None:
        await self.notify(bench, *"abcde")
        for after, limit, found in ((0, 2, [1, 2]), (2, 2, [3, 4]), (4, 2, [5]), (5, 2, [])):
            page = await bench.broker.read_mailbox(A, "7", after, limit)
            assert positions([item.publication for item in page.items]) == found

    @pytest_twisted.ensureDeferred
    async def test_which_events_are_mail(self, bench: Bench) -> None:
        """Notifications, and events that are published with ``persist`` for one user."""
        login = payload_of("agent.login")
        await bench.publish(
            bench.event("agent.login", login, event_id="for all", persist=True),
            bench.event("agent.login", login, event_id="for one", user_id="7"),
            bench.event("agent.login", login, event_id="kept", user_id="7", persist=True),
        )
        await self.notify(bench, "note")
        assert await self.waiting(bench) == ["kept", "note"]

    @pytest_twisted.ensureDeferred
    async def test_mailboxes_are_separate_for_each_user_and_tenant(self, bench: Bench) -> None:
        await self.notify(bench, "a", "b")
        await self.notify(bench, "c", user_id="8")
        await self.notify(bench, "a", tenant_id=B)
        bench.broker.acknowledge_mail(A, "8", ["a", "c"])
        await bench.alerts(1)
        assert await self.waiting(bench) == ["a", "b"]
        assert await self.waiting(bench, "8") == []
        assert await self.waiting(bench, tenant_id=B) == ["a"]

    @pytest_twisted.ensureDeferred
    async def test_sent_items_are_marked_and_acknowledged_items_removed(self, bench: Bench) -> None:
        await self.notify(bench, "a", "b", "c")
        bench.broker.mark_mail_sent(A, "7", ["a", "b"])
        bench.broker.acknowledge_mail(A, "7", ["b", "unknown"])
        await bench.alerts(1)
        page = await bench.broker.read_mailbox(A, "7", 0, 10)
        assert [(item.publication.event.event_id, item.sent) for item in page.items] == [("a", True), ("c", False)]

    @pytest_twisted.ensureDeferred
    async def test_a_read_that_follows_at_once_has_the_marks(self, bench: Bench) -> None:
        await self.notify(bench, "a", "b", "c")
        bench.broker.mark_mail_sent(A, "7", ["a", "b"])
        bench.broker.acknowledge_mail(A, "7", ["b"])
        page = await bench.broker.read_mailbox(A, "7", 0, 10)
        assert [(item.publication.event.event_id, item.sent) for item in page.items] == [("a", True), ("c", False)]

    @pytest_twisted.ensureDeferred
    async def test_a_repeated_event_is_one_item(self, bench: Bench) -> None:
        await self.notify(bench, "a", "a")
        await self.notify(bench, "a")
        assert await self.waiting(bench) == ["a"]
        bench.broker.acknowledge_mail(A, "7", ["a"])
        await self.notify(bench, "a")
        assert await self.waiting(bench) == []

    @pytest_twisted.ensureDeferred
    async def test_an_identifier_used_again_after_the_window_is_another_item(self, bench: Bench) -> None:
        await self.notify(bench, "a", "b")
        for _ in range(2):
            bench.clock.advance(WINDOW + 1)
            await self.notify(bench, "a")
        assert await self.waiting(bench) == ["a", "b", "a", "a"]
        bench.broker.mark_mail_sent(A, "7", ["a"])
        page = await bench.broker.read_mailbox(A, "7", 0, 10)
        sent = [(item.publication.seq, item.sent) for item in page.items]
        assert sent == [(1, True), (2, False), (3, True), (4, True)]
        bench.broker.acknowledge_mail(A, "7", ["a"])
        assert await self.waiting(bench) == ["b"]
        bench.clock.advance(WINDOW + 1)
        await self.notify(bench, "a")
        assert await self.waiting(bench) == ["b", "a"]

    @pytest_twisted.ensureDeferred
    async def test_a_full_mailbox_loses_its_oldest_items_and_has_a_gap(self, bench: Bench) -> None:
        await self.notify(bench, "other", user_id="8")
        for start in range(0, 1_002, 167):
            await self.notify(bench, *[str(number) for number in range(start, start + 167)])
        page = await bench.broker.read_mailbox(A, "7", 0, 1)
        assert (page.items[0].publication.event.event_id, page.gap) == ("2", MailboxGap(2, 3))
        assert await self.waiting(bench, "8") == ["other"]
        bench.broker.acknowledge_mail(A, "7", ["2"])
        await bench.alerts(1)
        page = await bench.broker.read_mailbox(A, "7", 0, 1)
        assert (page.items[0].publication.event.event_id, page.gap) == ("3", None)

    @pytest_twisted.ensureDeferred
    async def test_acknowledging_an_unknown_identifier_leaves_the_gap(self, bench: Bench) -> None:
        await self.notify(bench, *[str(number) for number in range(1_001)])
        bench.broker.acknowledge_mail(A, "7", ["unknown", "0"])
        await bench.alerts(1)
        assert (await bench.broker.read_mailbox(A, "7", 0, 1)).gap == MailboxGap(1, 1)

    @pytest_twisted.ensureDeferred
    async def test_an_identifier_with_a_nul_is_no_other_identifier(self, bench: Bench) -> None:
        await self.notify(bench, "a")
        bench.broker.acknowledge_mail(A, "7\0x", ["a"])
        bench.broker.mark_mail_sent(A, "7", ["a\0x"])
        await bench.alerts(1)
        page = await bench.broker.read_mailbox(A, "7", 0, 10)
        assert [(item.publication.event.event_id, item.sent) for item in page.items] == [("a", False)]

    @pytest_twisted.ensureDeferred
    async def test_items_expire_after_a_week(self, bench: Bench) -> None:
        await self.notify(bench, "a")
        bench.clock.advance(WEEK - 3600)
        await self.notify(bench, "b")
        assert await self.waiting(bench) == ["a", "b"]
        bench.clock.advance(3601)
        assert await self.waiting(bench) == ["b"]

    @pytest_twisted.ensureDeferred
    async def test_the_gap_of_an_empty_mailbox_is_reported_once(self, bench: Bench) -> None:
        await self.notify(bench, "a", "b")
        for _ in range(3):
            bench.clock.advance(WEEK / 2)
            await bench.alerts(1)

        async def gap() -> MailboxGap | None:
            return (await bench.broker.read_mailbox(A, "7", 0, 10)).gap

        deadline = reactor.seconds() + DEADLINE
        while (reported := await gap()) is None:
            assert reactor.seconds() < deadline, "the gap is not reported"
            bench.clock.advance(60)
            await bench.alerts(1)
        assert reported == MailboxGap(1, 2)
        await bench.alerts(1)
        assert await gap() is None

    @pytest_twisted.ensureDeferred
    async def test_items_with_an_end_of_their_own_leave_no_gap(self, bench: Bench) -> None:
        ends = rfc3339(bench.clock.time() + 100)
        await self.notify(bench, "a", expires_at=ends)
        await self.notify(bench, "b")
        bench.clock.advance(99)
        assert await self.waiting(bench) == ["a", "b"]
        bench.clock.advance(2)
        assert await self.waiting(bench) == ["b"]
        for _ in range(5):
            bench.clock.advance(60)
            await bench.alerts(1)
        assert (await bench.broker.read_mailbox(A, "7", 0, 10)).gap is None


class DurableContract:
    """What holds for a store whose events survive the process. A second ``bench.open()`` is a restart."""

    @pytest_twisted.ensureDeferred
    async def test_the_stream_continues(self, bench: Bench) -> None:
        await bench.alerts(3)
        before = await bench.broker.position(A)
        await bench.open()
        assert await bench.broker.position(A) == before
        assert positions((await bench.broker.read(A, 0, 10)).publications) == [1, 2, 3]
        assert await bench.alerts(1) == [4]
        await bench.until(lambda: len(bench.delivered) >= 4)
        assert bench.seqs() == [1, 2, 3, 4]

    @pytest_twisted.ensureDeferred
    async def test_history_by_bytes(self, bench: Bench) -> None:
        await bench.open(history_bytes=2_097_152)
        large = {"title": "t", "message": "x" * 100_000}
        for _ in range(10):
            await bench.publish(*[bench.event("alert", large) for _ in range(5)])
        await bench.alerts(4, B)
        deadline = reactor.seconds() + DEADLINE
        while (await bench.broker.read(A, 28, 0)).reachable:
            assert reactor.seconds() < deadline, "the history is not trimmed"
            bench.clock.advance(61)
            await task.deferLater(reactor, 0.05)
            # What is in memory is not trimmed.
            await bench.open(history_bytes=2_097_152)
        page = await bench.broker.read(A, 30, 100)
        assert page.reachable
        assert page.head == 50
        assert (await bench.broker.read(B, 0, 1)).reachable
        assert await bench.alerts(1) == [51]

    @pytest_twisted.ensureDeferred
    async def test_a_repetition_is_still_known(self, bench: Bench) -> None:
        await bench.publish(bench.event(event_id="x"))
        await bench.open()
        (again,) = await bench.publish(bench.event(event_id="x"))
        assert (again.seq, again.duplicate) == (1, True)

    @pytest_twisted.ensureDeferred
    async def test_numbers_are_still_known(self, bench: Bench) -> None:
        assert await bench.seqs_of(bench.numbered(1), bench.numbered(2), bench.void(3)) == [1, 2, 0]
        assert await bench.seqs_of(bench.of_source(Announcement("up", 1), "source.up")) == [3]
        await bench.open(history_events=1)
        assert await bench.seqs_of(bench.numbered(2), bench.numbered(3), bench.numbered(4)) == [0, 0, 4]
        assert await bench.seqs_of(bench.of_source(Announcement("up", 1), "source.up")) == [0]
        assert await bench.seqs_of(bench.of_source(Announcement("down", 1), "source.down")) == [5]
        # Nothing of the history is left, and of the tenant but its mark.
        bench.clock.advance(9 * 86_400)
        await bench.open()
        assert await bench.seqs_of(bench.numbered(4), bench.numbered(6, after=4)) == [0, 6]

    @pytest_twisted.ensureDeferred
    async def test_a_tenant_with_a_void_event_only(self, bench: Bench) -> None:
        assert await bench.seqs_of(bench.void(3)) == [0]
        await bench.open()
        assert await bench.seqs_of(bench.numbered(3), bench.numbered(4, after=3)) == [0, 1]

    @pytest_twisted.ensureDeferred
    async def test_what_was_delivered_is_read_to_the_byte(self, bench: Bench) -> None:
        source = random.Random(3)
        await bench.publish(*[random_event(bench, source, A) for _ in range(80)], bench.numbered(1))
        delivered = list(bench.delivered)
        await bench.open()
        messages = (await bench.broker.read(A, 0, 100)).publications
        assert positions(messages) == positions(delivered)
        for message, before in zip(messages, delivered, strict=True):
            for view in View:
                assert message.frame(PLAIN[view]) == before.frame(PLAIN[view])
            for name in (
                "source",
                "queue_name",
                "agents",
                "session_id",
                "private",
                "entity",
                "call_id",
                "conflation_key",
            ):
                assert getattr(message.event, name) == getattr(before.event, name)

    @pytest_twisted.ensureDeferred
    async def test_calls_are_still_known(self, bench: Bench) -> None:
        """An event that omits queue and agents has those of its call's events before the restart."""
        for type_, payload in (
            ("queue.joined", {"queue_name": "a"}),
            ("call.ringing", {"agent_id": "7"}),
            ("call.answered", {"agent_id": "7"}),
        ):
            await bench.publish(bench.event(type_, {**CALL, **payload}))
        await bench.open()
        await bench.publish(bench.event("call.hold", CALL))
        await bench.until(lambda: len(bench.delivered) == 4)
        assert seen_by(bench.delivered[-1].event) == "s7"

    @pytest_twisted.ensureDeferred
    async def test_an_identifier_expires_as_without_a_restart(self, bench: Bench) -> None:
        await bench.publish(bench.event(event_id="x"))
        bench.clock.advance(WINDOW - 1)
        await bench.open()
        (again,) = await bench.publish(bench.event(event_id="x"))
        assert again.duplicate
        bench.clock.advance(2)
        (again,) = await bench.publish(bench.event(event_id="x"))
        assert (again.seq, again.duplicate) == (2, False)

    @pytest_twisted.ensureDeferred
    async def test_identifiers_are_known_for_longer_than_the_history(self, bench: Bench) -> None:
        await bench.open(history_events=5, history_seconds=10)
        await bench.publish(bench.event(event_id="x"))
        await bench.alerts(50)
        for _ in range(4):
            bench.clock.advance(61)
            await bench.alerts(1)
        await bench.open(history_events=5, history_seconds=10)
        (again,) = await bench.publish(bench.event(event_id="x"))
        assert (again.seq, again.duplicate) == (1, True)

    @pytest_twisted.ensureDeferred
    async def test_mailboxes_are_still_there(self, bench: Bench) -> None:
        await MailContract.notify(bench, "a", "b", "c", *[f"n{number}" for number in range(999)])
        bench.broker.mark_mail_sent(A, "7", ["c"])
        bench.broker.acknowledge_mail(A, "7", ["n0"])
        await MailContract.notify(bench, "d")
        await bench.open()
        page = await bench.broker.read_mailbox(A, "7", 0, 2)
        assert [(item.publication.event.event_id, item.sent) for item in page.items] == [("c", True), ("n1", False)]
        assert len(await MailContract.waiting(bench)) == 1_000
        bench.broker.acknowledge_mail(A, "7", ["c"])
        await bench.open()
        assert len(await MailContract.waiting(bench)) == 999

    @pytest_twisted.ensureDeferred
    async def test_a_gap_is_still_known(self, bench: Bench) -> None:
        await MailContract.notify(bench, *[str(number) for number in range(1_001)])
        await bench.open()
        assert (await bench.broker.read_mailbox(A, "7", 0, 1)).gap == MailboxGap(1, 1)

    @pytest_twisted.ensureDeferred
    async def test_the_state_is_still_known(self, bench: Bench) -> None:
        await bench.open(history_events=3)
        stream = []
        source = random.Random(7)
        for _ in range(100):
            event = random_event(bench, source, A)
            (result,) = await bench.publish(event)
            if not result.duplicate:
                stream.append(Publication(event, result.seq))
        await bench.open(history_events=3)
        await check_against(bench, A, stream, 3, source)


def payload_of(type_: str, **fields: Any) -> dict[str, Any]:
    """Return a valid payload; ``fields`` replace its default fields."""
    family = type_.split(".")[0]
    if family == "call" or type_ in ("queue.joined", "queue.left"):
        default = {
            **CALL,
            "caller_id": "+49301",
            "destination": "200",
            "agent_id": "7",
            "queue_name": "a",
            "duration": 1,
        }
    elif family == "queue":
        default = {"queue_name": "a", "user_id": "7", **STATS}
    elif family == "chat":
        default = {"session_id": "s", "message_id": "m", "sender_id": "v", "sender_type": "visitor", "body": "b"}
        default |= {"is_typing": True, "to_agent_id": "7"}
    elif type_ == "alert":
        default = {"title": "t", "message": "m"}
    else:
        default = {"user_id": "7", "username": "n", "state": "busy", "online": True}
    return {**default, **fields}


RANDOM_TYPES = (
    *("agent.login", "agent.state.changed", "agent.logout", "call.incoming", "call.ringing", "call.answered"),
    *("call.hold", "call.unhold", "call.transferred", "call.missed", "call.abandoned", "call.ended", "queue.joined"),
    *("queue.left", "queue.stats", "queue.member.added", "queue.member.removed", "queue.member.paused"),
    *("chat.session.started", "chat.message", "chat.typing", "chat.transferred", "chat.session.ended", "alert"),
)


def random_event(bench: Bench, source: random.Random, tenant_id: str) -> Event:
    """Return a random event about a few entities; sometimes for one user, sometimes a repetition."""
    fields: dict[str, Any] = {"user_id": source.choice(["1", "2"])} if source.random() < 0.2 else {}
    if source.random() < 0.1:
        fields["event_id"] = f"repeated-{source.randint(1, 3)}"
    type_ = source.choice(RANDOM_TYPES)
    payload = payload_of(type_)
    for name, choices in {
        "user_id": ["1", 2, "2"],
        "call_id": ["c-1", "c-2", None],
        "unique_id": ["1.1", "1.2"],
        "queue_name": ["a", "b"],
        "session_id": ["s", 5],
    }.items():
        if name in payload:
            payload[name] = source.choice(choices)
    return bench.event(type_, payload, tenant_id=tenant_id, **fields)


async def check_against(
    bench: Bench, tenant_id: str, stream: list[Publication], kept: int, source: random.Random
) -> None:
    """Compare the store's answers about a tenant with everything that was published for it."""
    head = len(stream)
    assert (await bench.broker.position(tenant_id)).seq == head
    snapshot = await bench.broker.snapshot(tenant_id)
    assert snapshot.seq == head
    assert positions(snapshot.publications) == compacted(stream, bench.clock.monotonic())
    oldest = bench.clock.monotonic() - 86_400
    fresh = sum(message.event.received_at >= oldest for message in stream)
    after, limit = source.randint(max(0, head - kept - 3), head), source.randint(0, 30)
    page = await bench.broker.read(tenant_id, after, limit)
    if page.reachable:
        assert after >= head - kept
        assert positions(page.publications) == positions(stream[after : after + limit])
    else:
        assert page.publications == [] or not list(page.publications)
        assert after < head - min(kept, fresh)
