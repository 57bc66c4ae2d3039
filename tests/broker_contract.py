"""One suite over ``interfaces.Broker``; every store passes it.

A store's own test module gives a ``bench`` fixture, a started Bench, and derives from ``BrokerContract``; a store
whose events survive the process derives from ``DurableContract`` too. Nothing here supposes that a call answers at
once or that deliveries come before the answer.
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
from callcenter_ws.events.event import Event, make_event
from callcenter_ws.events.frames import PLAIN
from callcenter_ws.events.principal import Principal, Role, View
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.visibility import may_see
from callcenter_ws.interfaces import Broker, MailboxGap, PublishResult
from callcenter_ws.runtime.json import rfc3339
from callcenter_ws.testing import FakeClock

A, B = "acme", "globex"
CALL = {"unique_id": "1.1", "call_id": "c-1"}
STATS = {"calls_waiting": 1, "available_agents": 1, "logged_in_agents": 1}
WINDOW = 300.0
WEEK = 7 * 86_400.0
DEADLINE = 10.0


class Bench(ABC):
    """A store under test, its clock, and all that it delivered."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.delivered: list[Publication] = []
        self.broker: Broker
        self._ids = 0

    @abstractmethod
    def make(self, *, history_events: int, history_seconds: float) -> Broker:
        """A store that keeps so much of each tenant's stream; of one and the same place in one Bench."""

    async def open(self, *, history_events: int = 1_000, history_seconds: float = 86_400.0) -> Broker:
        """Make a store, start it, and stop the one before."""
        if hasattr(self, "broker"):
            await self.broker.stop()
        self.broker = self.make(history_events=history_events, history_seconds=history_seconds)
        await self.broker.start(self.delivered.extend)
        return self.broker

    async def close(self) -> None:
        """Stop the store."""
        await self.broker.stop()

    def event(
        self, type_: str = "alert", payload: dict[str, Any] | None = None, *, tenant_id: str = A, **fields: Any
    ) -> Event:
        """A validated event that is taken in now."""
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

    async def publish(self, *events: Event) -> list[PublishResult]:
        """Publish events that must be taken."""
        outcomes = await self.broker.publish(events)
        taken = [outcome for outcome in outcomes if isinstance(outcome, PublishResult)]
        assert len(taken) == len(outcomes) == len(events)
        return taken

    async def alerts(self, count: int, tenant_id: str = A) -> list[int]:
        """Publish ``count`` events; their positions."""
        return [taken.seq for taken in await self.publish(*[self.event(tenant_id=tenant_id) for _ in range(count)])]

    async def state(self, tenant_id: str = A) -> list[int]:
        """The positions that the snapshot holds."""
        return [message.seq for message in (await self.broker.snapshot(tenant_id)).publications]

    def seqs(self, tenant_id: str = A) -> list[int]:
        """The positions that were delivered for a tenant."""
        return [message.seq for message in self.delivered if message.event.tenant_id == tenant_id]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition, with a deadline."""
        deadline = reactor.seconds() + DEADLINE
        while not condition():
            assert reactor.seconds() < deadline, "it never came"
            await task.deferLater(reactor, 0.002)


def seen_by(event: Event) -> str:
    """Which agents see an event of a call where they see only their own, and ``s`` if a supervisor of queue a does."""
    agents = [user for user in "789" if may_see(Principal(event.tenant_id, user, Role.AGENT), event, "own")]
    supervisor = Principal(event.tenant_id, "1", Role.SUPERVISOR, queues=frozenset({"a"}))
    return "".join(["s" * may_see(supervisor, event), *agents])


def shown(messages: Sequence[Publication]) -> list[int]:
    return [message.seq for message in messages]


# What is published, and the positions that the snapshot then holds (PROTOCOL section 4.2).
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
    ([("chat.session.started", {}), ("chat.message", {}), ("chat.typing", {})], [1]),
    ([("chat.session.started", {}), ("chat.transferred", {}), ("chat.session.ended", {})], []),
    ([("alert", {}), ("presence.changed", {})], []),
]


class BrokerContract:
    """What every store keeps."""

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
        taken = await bench.publish(*[bench.event(tenant_id=tenant) for tenant in (A, B, B, A, B)])
        assert [outcome.seq for outcome in taken] == [1, 1, 2, 2, 3]
        for tenant, seqs in ((A, [1, 2]), (B, [1, 2, 3])):
            stretch = await bench.broker.read(tenant, 0, 100)
            assert shown(stretch.publications) == seqs
            assert {message.event.tenant_id for message in stretch.publications} == {tenant}
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
        """A client that falls behind in the very delivery finds the message in the history."""
        await bench.alerts(5)
        await bench.until(lambda: len(bench.delivered) == 5)
        stretch = await bench.broker.read(A, bench.delivered[-1].seq - 1, 10)
        assert shown(stretch.publications) == [5]

    @pytest_twisted.ensureDeferred
    async def test_what_is_answered_is_seen_by_every_question(self, bench: Bench) -> None:
        for number in range(1, 6):
            await bench.publish(bench.event("agent.login", {"user_id": str(number), "username": "n"}))
            assert (await bench.broker.position(A)).seq == number
            assert (await bench.broker.read(A, number - 1, 1)).head == number
            snapshot = await bench.broker.snapshot(A)
            assert (snapshot.seq, shown(snapshot.publications)) == (number, list(range(1, number + 1)))

    # Outcomes

    @pytest_twisted.ensureDeferred
    async def test_nothing_to_publish(self, bench: Bench) -> None:
        assert await bench.broker.publish([]) == []

    @pytest_twisted.ensureDeferred
    async def test_mixed_outcomes_in_order(self, bench: Bench) -> None:
        await bench.publish(bench.event(event_id="known"))
        taken = await bench.publish(
            bench.event(event_id="x"),
            bench.event(event_id="known"),
            bench.event(event_id="y", tenant_id=B),
            bench.event(event_id="x"),
            bench.event(event_id="z"),
        )
        told = [(outcome.event_id, outcome.seq, outcome.duplicate) for outcome in taken]
        assert told == [("x", 2, False), ("known", 1, True), ("y", 1, False), ("x", 2, True), ("z", 3, False)]
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
    async def test_another_tenants_identifiers_mean_nothing(self, bench: Bench) -> None:
        taken = await bench.publish(bench.event(event_id="x"), bench.event(event_id="x", tenant_id=B))
        assert [(outcome.seq, outcome.duplicate) for outcome in taken] == [(1, False), (1, False)]

    @pytest_twisted.ensureDeferred
    async def test_an_identifier_is_forgotten(self, bench: Bench) -> None:
        await bench.publish(bench.event(event_id="x"))
        bench.clock.advance(WINDOW + 1)
        (again,) = await bench.publish(bench.event(event_id="x"))
        assert (again.seq, again.duplicate) == (2, False)

    @pytest_twisted.ensureDeferred
    async def test_a_repetition_does_not_prolong_the_memory(self, bench: Bench) -> None:
        await bench.publish(bench.event(event_id="x"))
        bench.clock.advance(WINDOW - 1)
        await bench.publish(bench.event(event_id="x"))
        bench.clock.advance(2)
        (again,) = await bench.publish(bench.event(event_id="x"))
        assert again.duplicate is False

    # Reading

    @pytest_twisted.ensureDeferred
    async def test_read_in_chunks(self, bench: Bench) -> None:
        await bench.alerts(10)
        for after, limit, seqs in (
            (0, 4, [1, 2, 3, 4]),
            (4, 4, [5, 6, 7, 8]),
            (8, 4, [9, 10]),
            (10, 4, []),
            (0, 100, list(range(1, 11))),
            (3, 0, []),
        ):
            stretch = await bench.broker.read(A, after, limit)
            assert (shown(stretch.publications), stretch.reachable, stretch.head) == (seqs, True, 10), (after, limit)

    @pytest_twisted.ensureDeferred
    async def test_read_beyond_the_head(self, bench: Bench) -> None:
        await bench.alerts(2)
        stretch = await bench.broker.read(A, 7, 10)
        assert (shown(stretch.publications), stretch.reachable, stretch.head) == ([], True, 2)

    @pytest_twisted.ensureDeferred
    async def test_read_a_tenant_that_never_published(self, bench: Bench) -> None:
        stretch = await bench.broker.read(A, 0, 10)
        assert (shown(stretch.publications), stretch.reachable, stretch.head) == ([], True, 0)

    @pytest_twisted.ensureDeferred
    async def test_history_by_count(self, bench: Bench) -> None:
        await bench.open(history_events=5)
        await bench.alerts(3)
        await bench.alerts(3)
        await bench.alerts(4, B)
        for after, reachable, seqs in ((0, False, []), (1, True, [2, 3, 4, 5, 6]), (4, True, [5, 6]), (6, True, [])):
            for limit in (0, 100):
                stretch = await bench.broker.read(A, after, limit)
                assert (shown(stretch.publications), stretch.reachable) == (seqs[:limit], reachable), (after, limit)
                assert stretch.head == 6
        assert (await bench.broker.read(B, 0, 1)).reachable

    @pytest_twisted.ensureDeferred
    async def test_a_batch_that_is_larger_than_the_history_is_delivered_whole(self, bench: Bench) -> None:
        await bench.open(history_events=5)
        await bench.alerts(20)
        await bench.until(lambda: len(bench.delivered) == 20)
        assert bench.seqs() == list(range(1, 21))
        assert shown((await bench.broker.read(A, 15, 100)).publications) == [16, 17, 18, 19, 20]

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
        assert shown((await bench.broker.read(A, 2, 10)).publications) == [3, 4, 5]

    @pytest_twisted.ensureDeferred
    async def test_history_by_age_of_a_tenant_that_fell_silent(self, bench: Bench) -> None:
        await bench.open(history_seconds=100.0)
        await bench.alerts(2)
        # Long enough for any store's housekeeping.
        for _ in range(20):
            bench.clock.advance(60)
        assert not (await bench.broker.read(A, 1, 10)).reachable
        stretch = await bench.broker.read(A, 2, 10)
        assert (stretch.reachable, stretch.head) == (True, 2)
        assert await bench.alerts(1) == [3]

    # Snapshots

    @pytest_twisted.ensureDeferred
    async def test_snapshot_of_a_tenant_that_never_published(self, bench: Bench) -> None:
        snapshot = await bench.broker.snapshot(A)
        assert (snapshot.seq, list(snapshot.publications)) == (0, [])

    @pytest.mark.parametrize(("told", "kept"), SLOT_RULES)
    @pytest_twisted.ensureDeferred
    async def test_snapshot_slots(self, bench: Bench, told: list[tuple[str, dict[str, Any]]], kept: list[int]) -> None:
        await bench.publish(*[bench.event(type_, payload_of(type_, **fields)) for type_, fields in told])
        snapshot = await bench.broker.snapshot(A)
        assert snapshot.seq == len(told)
        assert shown(snapshot.publications) == kept
        assert [message.event.type.name for message in snapshot.publications] == [told[seq - 1][0] for seq in kept]

    @pytest_twisted.ensureDeferred
    async def test_an_agent_and_a_call_of_the_same_name(self, bench: Bench) -> None:
        await bench.publish(
            bench.event("agent.login", payload_of("agent.login", user_id="x")),
            bench.event("call.incoming", payload_of("call.incoming", call_id="x")),
            bench.event("call.ended", payload_of("call.ended", call_id="x")),
        )
        assert await bench.state() == [1]

    @pytest_twisted.ensureDeferred
    async def test_what_one_user_was_told_keeps_its_own_slot(self, bench: Bench) -> None:
        """What is for one user changes nothing for the others; what is for all ends it for everybody."""
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
        assert (snapshot.seq, shown(snapshot.publications)) == (11, [1])

    @pytest_twisted.ensureDeferred
    async def test_what_nobody_ended_falls_out_after_a_day(self, bench: Bench) -> None:
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
    async def test_a_day_behind_an_entity_that_changed_later(self, bench: Bench) -> None:
        """The clock of an entity runs from the last message about it, one that emptied a slot included."""
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
    async def test_anything_at_all_against_the_reference(self, bench: Bench, seed: int) -> None:
        source = random.Random(seed)
        await bench.open(history_events=20)
        streams: dict[str, list[Publication]] = {A: [], B: []}
        for _ in range(60):
            batch = [random_event(bench, source, source.choice([A, A, B])) for _ in range(source.randint(1, 4))]
            for taken, event in zip(await bench.publish(*batch), batch, strict=True):
                stream = streams[event.tenant_id]
                if taken.duplicate:
                    assert stream[taken.seq - 1].event.event_id == event.event_id
                else:
                    stream.append(Publication(event, taken.seq))
            bench.clock.advance(source.choice([0, 0, 1, 60, 20_000]))
            tenant = source.choice([A, B])
            await check_against(bench, tenant, streams[tenant], 20, source)
        await bench.until(lambda: len(bench.delivered) == sum(map(len, streams.values())))
        for tenant, stream in streams.items():
            assert bench.seqs(tenant) == shown(stream) == list(range(1, len(stream) + 1))

    # Who may see it

    @pytest_twisted.ensureDeferred
    async def test_who_may_see_an_event_follows_from_the_whole_call(self, bench: Bench) -> None:
        """Queue and agents that an event leaves out are those of its call's earlier events; see ``broker.calls``."""
        story = [
            ("queue.joined", {"queue_name": "a"}, "s"),
            ("call.ringing", {"agent_id": "7"}, "s7"),
            ("call.ringing", {"agent_id": "8"}, "s8"),
            ("call.answered", {"agent_id": "7"}, "s78"),
            ("call.hold", {}, "s7"),
            ("call.unhold", {}, "s7"),
            ("call.transferred", {"destination": "9", "to_agent_id": "9"}, "s79"),
            ("call.ended", {"duration": 1}, "s79"),
        ]
        events = [
            bench.event(type_, {**CALL, "unique_id": f"leg {leg}", **payload})
            for leg, (type_, payload, _) in enumerate(story)
        ]
        payloads = [event.payload for event in events]
        await bench.publish(bench.event("call.answered", payload_of("call.answered"), tenant_id=B), *events)
        await bench.until(lambda: len(bench.delivered) == 9)
        live = [message for message in bench.delivered if message.event.tenant_id == A]
        for messages in (live, (await bench.broker.read(A, 0, 10)).publications):
            assert [seen_by(message.event) for message in messages] == [who for _, _, who in story]
            assert [message.event.payload for message in messages] == payloads

    @pytest_twisted.ensureDeferred
    async def test_a_repetition_tells_nothing_about_a_call(self, bench: Bench) -> None:
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

    # Life

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
    async def test_stopped_it_takes_nothing(self, bench: Bench) -> None:
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
        taken = [outcome.seq for outcome in outcomes if isinstance(outcome, PublishResult)]
        assert taken == list(range(1, len(taken) + 1))
        assert bench.seqs() == taken

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
        assert shown((await bench.broker.read(A, 0, 10)).publications) == [1, 2, 3, 4, 5, 6]
        await bench.until(lambda: bench.seqs() == [1, 2, 3, 4, 5, 6])


class MailContract:
    """Mailboxes (PROTOCOL section 4.3)."""

    @staticmethod
    async def notify(
        bench: Bench, *event_ids: str, user_id: str = "7", tenant_id: str = A, **payload: Any
    ) -> list[int]:
        note = {"type": "x", "title": "t", "message": "m", **payload}
        events = [
            bench.event("notification", note, user_id=user_id, tenant_id=tenant_id, event_id=event_id)
            for event_id in event_ids
        ]
        return [taken.seq for taken in await bench.publish(*events)]

    @staticmethod
    async def waiting(bench: Bench, user_id: str = "7", tenant_id: str = A) -> list[str]:
        mail = await bench.broker.mail(tenant_id, user_id, 0, 2_000)
        return [item.publication.event.event_id for item in mail.items]

    @pytest_twisted.ensureDeferred
    async def test_nobody_has_mail_at_first(self, bench: Bench) -> None:
        mail = await bench.broker.mail(A, "7", 0, 10)
        assert (list(mail.items), mail.gap) == ([], None)
        bench.broker.mark_mail_sent(A, "7", ["x"])
        bench.broker.acknowledge_mail(A, "7", ["x"])
        assert (await bench.broker.position(A)).seq == 0

    @pytest_twisted.ensureDeferred
    async def test_what_waits_is_read_oldest_first(self, bench: Bench) -> None:
        await bench.alerts(1)
        assert await self.notify(bench, "a", "b", "c") == [2, 3, 4]
        mail = await bench.broker.mail(A, "7", 0, 10)
        assert shown([item.publication for item in mail.items]) == [2, 3, 4]
        assert [item.sent for item in mail.items] == [False] * 3
        assert mail.gap is None
        await bench.until(lambda: len(bench.delivered) == 4)
        for item, delivered in zip(mail.items, bench.delivered[1:], strict=True):
            assert item.publication.frame(PLAIN[View.FULL]) == delivered.frame(PLAIN[View.FULL])

    @pytest_twisted.ensureDeferred
    async def test_it_is_read_in_chunks(self, bench: Bench) -> None:
        await self.notify(bench, *"abcde")
        for after, limit, found in ((0, 2, [1, 2]), (2, 2, [3, 4]), (4, 2, [5]), (5, 2, [])):
            mail = await bench.broker.mail(A, "7", after, limit)
            assert shown([item.publication for item in mail.items]) == found

    @pytest_twisted.ensureDeferred
    async def test_what_is_kept(self, bench: Bench) -> None:
        """A notification, and what is published with ``persist`` for one user; nothing else."""
        login = payload_of("agent.login")
        await bench.publish(
            bench.event("agent.login", login, event_id="for all", persist=True),
            bench.event("agent.login", login, event_id="for one", user_id="7"),
            bench.event("agent.login", login, event_id="kept", user_id="7", persist=True),
        )
        await self.notify(bench, "note")
        assert await self.waiting(bench) == ["kept", "note"]

    @pytest_twisted.ensureDeferred
    async def test_everybody_has_their_own(self, bench: Bench) -> None:
        await self.notify(bench, "a", "b")
        await self.notify(bench, "c", user_id="8")
        await self.notify(bench, "a", tenant_id=B)
        bench.broker.acknowledge_mail(A, "8", ["a", "c"])
        await bench.alerts(1)
        assert await self.waiting(bench) == ["a", "b"]
        assert await self.waiting(bench, "8") == []
        assert await self.waiting(bench, tenant_id=B) == ["a"]

    @pytest_twisted.ensureDeferred
    async def test_what_was_sent_is_marked_and_what_was_taken_is_gone(self, bench: Bench) -> None:
        await self.notify(bench, "a", "b", "c")
        bench.broker.mark_mail_sent(A, "7", ["a", "b"])
        bench.broker.acknowledge_mail(A, "7", ["b", "unknown"])
        await bench.alerts(1)
        mail = await bench.broker.mail(A, "7", 0, 10)
        assert [(item.publication.event.event_id, item.sent) for item in mail.items] == [("a", True), ("c", False)]

    @pytest_twisted.ensureDeferred
    async def test_a_repetition_is_not_kept_twice(self, bench: Bench) -> None:
        await self.notify(bench, "a", "a")
        await self.notify(bench, "a")
        assert await self.waiting(bench) == ["a"]
        bench.broker.acknowledge_mail(A, "7", ["a"])
        await self.notify(bench, "a")
        assert await self.waiting(bench) == []

    @pytest_twisted.ensureDeferred
    async def test_the_oldest_fall_out_of_a_full_one_and_that_is_told(self, bench: Bench) -> None:
        await self.notify(bench, "other", user_id="8")
        for start in range(0, 1_002, 167):
            await self.notify(bench, *[str(number) for number in range(start, start + 167)])
        mail = await bench.broker.mail(A, "7", 0, 1)
        assert (mail.items[0].publication.event.event_id, mail.gap) == ("2", MailboxGap(2, 3))
        assert await self.waiting(bench, "8") == ["other"]
        bench.broker.acknowledge_mail(A, "7", ["2"])
        await bench.alerts(1)
        mail = await bench.broker.mail(A, "7", 0, 1)
        assert (mail.items[0].publication.event.event_id, mail.gap) == ("3", None)

    @pytest_twisted.ensureDeferred
    async def test_an_unknown_identifier_tells_nobody_of_a_loss(self, bench: Bench) -> None:
        await self.notify(bench, *[str(number) for number in range(1_001)])
        bench.broker.acknowledge_mail(A, "7", ["unknown", "0"])
        await bench.alerts(1)
        assert (await bench.broker.mail(A, "7", 0, 1)).gap == MailboxGap(1, 1)

    @pytest_twisted.ensureDeferred
    async def test_a_name_with_a_nul_is_nobody_elses(self, bench: Bench) -> None:
        await self.notify(bench, "a")
        bench.broker.acknowledge_mail(A, "7\0x", ["a"])
        bench.broker.mark_mail_sent(A, "7", ["a\0x"])
        await bench.alerts(1)
        mail = await bench.broker.mail(A, "7", 0, 10)
        assert [(item.publication.event.event_id, item.sent) for item in mail.items] == [("a", False)]

    @pytest_twisted.ensureDeferred
    async def test_it_waits_for_a_week(self, bench: Bench) -> None:
        await self.notify(bench, "a")
        bench.clock.advance(WEEK - 3600)
        await self.notify(bench, "b")
        assert await self.waiting(bench) == ["a", "b"]
        bench.clock.advance(3601)
        assert await self.waiting(bench) == ["b"]

    @pytest_twisted.ensureDeferred
    async def test_what_waited_too_long_is_told_once(self, bench: Bench) -> None:
        await self.notify(bench, "a", "b")
        for _ in range(3):
            bench.clock.advance(WEEK / 2)
            await bench.alerts(1)

        async def gap() -> MailboxGap | None:
            return (await bench.broker.mail(A, "7", 0, 10)).gap

        while (told := await gap()) is None:
            bench.clock.advance(60)
            await bench.alerts(1)
        assert told == MailboxGap(1, 2)
        await bench.alerts(1)
        assert await gap() is None

    @pytest_twisted.ensureDeferred
    async def test_what_ends_by_itself_is_no_loss(self, bench: Bench) -> None:
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
        assert (await bench.broker.mail(A, "7", 0, 10)).gap is None


class DurableContract:
    """What a store keeps whose events survive the process: ``bench.open()`` again is a restart."""

    @pytest_twisted.ensureDeferred
    async def test_the_stream_goes_on(self, bench: Bench) -> None:
        await bench.alerts(3)
        before = await bench.broker.position(A)
        await bench.open()
        assert await bench.broker.position(A) == before
        assert shown((await bench.broker.read(A, 0, 10)).publications) == [1, 2, 3]
        assert await bench.alerts(1) == [4]
        await bench.until(lambda: len(bench.delivered) >= 4)
        assert bench.seqs() == [1, 2, 3, 4]

    @pytest_twisted.ensureDeferred
    async def test_a_repetition_is_still_known(self, bench: Bench) -> None:
        await bench.publish(bench.event(event_id="x"))
        await bench.open()
        (again,) = await bench.publish(bench.event(event_id="x"))
        assert (again.seq, again.duplicate) == (1, True)

    @pytest_twisted.ensureDeferred
    async def test_what_was_delivered_is_read_to_the_byte(self, bench: Bench) -> None:
        source = random.Random(3)
        await bench.publish(*[random_event(bench, source, A) for _ in range(80)])
        delivered = list(bench.delivered)
        await bench.open()
        messages = (await bench.broker.read(A, 0, 100)).publications
        assert shown(messages) == shown(delivered)
        for message, before in zip(messages, delivered, strict=True):
            for view in View:
                assert message.frame(PLAIN[view]) == before.frame(PLAIN[view])
            for name in ("queue_name", "agents", "session_id", "private", "entity", "call_id", "conflation_key"):
                assert getattr(message.event, name) == getattr(before.event, name)

    @pytest_twisted.ensureDeferred
    async def test_calls_are_still_known(self, bench: Bench) -> None:
        """Whose eyes an event is for follows from what was told of its call before the restart."""
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
    async def test_an_identifier_is_forgotten_in_time(self, bench: Bench) -> None:
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
        mail = await bench.broker.mail(A, "7", 0, 2)
        assert [(item.publication.event.event_id, item.sent) for item in mail.items] == [("c", True), ("n1", False)]
        assert len(await MailContract.waiting(bench)) == 1_000
        bench.broker.acknowledge_mail(A, "7", ["c"])
        await bench.open()
        assert len(await MailContract.waiting(bench)) == 999

    @pytest_twisted.ensureDeferred
    async def test_a_loss_is_still_known(self, bench: Bench) -> None:
        await MailContract.notify(bench, *[str(number) for number in range(1_001)])
        await bench.open()
        assert (await bench.broker.mail(A, "7", 0, 1)).gap == MailboxGap(1, 1)

    @pytest_twisted.ensureDeferred
    async def test_the_state_is_still_known(self, bench: Bench) -> None:
        await bench.open(history_events=3)
        stream = []
        source = random.Random(7)
        for _ in range(100):
            event = random_event(bench, source, A)
            (taken,) = await bench.publish(event)
            if not taken.duplicate:
                stream.append(Publication(event, taken.seq))
        await bench.open(history_events=3)
        await check_against(bench, A, stream, 3, source)


def payload_of(type_: str, **fields: Any) -> dict[str, Any]:
    """A payload that its declaration accepts, with these fields in place of the usual ones."""
    family = type_.split(".")[0]
    if family == "call" or type_ in ("queue.joined", "queue.left"):
        usual = {**CALL, "caller_id": "+49301", "destination": "200", "agent_id": "7", "queue_name": "a", "duration": 1}
    elif family == "queue":
        usual = {"queue_name": "a", "user_id": "7", **STATS}
    elif family == "chat":
        usual = {"session_id": "s", "message_id": "m", "sender_id": "v", "sender_type": "visitor", "body": "b"}
        usual |= {"is_typing": True, "to_agent_id": "7"}
    elif type_ == "alert":
        usual = {"title": "t", "message": "m"}
    else:
        usual = {"user_id": "7", "username": "n", "state": "busy", "online": True}
    return {**usual, **fields}


RANDOM_TYPES = (
    *("agent.login", "agent.state.changed", "agent.logout", "call.incoming", "call.ringing", "call.answered"),
    *("call.hold", "call.unhold", "call.transferred", "call.missed", "call.abandoned", "call.ended", "queue.joined"),
    *("queue.left", "queue.stats", "queue.member.added", "queue.member.removed", "queue.member.paused"),
    *("chat.session.started", "chat.message", "chat.typing", "chat.transferred", "chat.session.ended", "alert"),
)


def random_event(bench: Bench, source: random.Random, tenant_id: str) -> Event:
    """Any event about a few entities, sometimes for one user, sometimes a repetition."""
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
    """Hold a tenant's answers against everything that was published for it."""
    head = len(stream)
    assert (await bench.broker.position(tenant_id)).seq == head
    snapshot = await bench.broker.snapshot(tenant_id)
    assert snapshot.seq == head
    assert shown(snapshot.publications) == compacted(stream, bench.clock.monotonic())
    oldest = bench.clock.monotonic() - 86_400
    fresh = sum(message.event.received_at >= oldest for message in stream)
    after, limit = source.randint(max(0, head - kept - 3), head), source.randint(0, 30)
    stretch = await bench.broker.read(tenant_id, after, limit)
    if stretch.reachable:
        assert after >= head - kept
        assert shown(stretch.publications) == shown(stream[after : after + limit])
    else:
        assert stretch.publications == [] or not list(stretch.publications)
        assert after < head - min(kept, fresh)
