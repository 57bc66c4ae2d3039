"""The tests that every store passes about reconciliations: parts, owners of entities, and whole ``SyncState``."""

from __future__ import annotations

import random
from typing import Any

import pytest
import pytest_twisted
from broker_contract import A, B, Bench, positions
from redis_bench import ShiftedClock
from reference import compacted

from callcenter_ws.errors import Refusal
from callcenter_ws.events.catalogue import EntityKey
from callcenter_ws.events.entity import NO_VERSION, Version
from callcenter_ws.events.event import Event
from callcenter_ws.events.reconciliation import Reconciliation, reconciling_event
from callcenter_ws.events.source_rules import SourceNumber
from callcenter_ws.events.state_sync import SCOPES
from callcenter_ws.runtime.json import decode_json
from callcenter_ws.sources import reconciler as reconciler_module
from callcenter_ws.sources.call_difference import CallView
from callcenter_ws.sources.difference import DIFFERENCES
from callcenter_ws.sources.known_event import known_events
from callcenter_ws.sources.reconciler import Reconciled, Reconciler, SourceState

ADA = ("agent", "7")


def login(bench: Bench, user_id: str = "7", source: str | None = "pbx1", **fields: Any) -> Event:
    """Return the login of an agent, by default of the source of the parts."""
    event = bench.event("agent.login", {"user_id": user_id, "username": "ada", **fields})
    event.source = source
    return event


def part(
    bench: Bench,
    seq: int,
    *events: Event,
    guards: tuple[tuple[EntityKey, Version], ...] = (),
    is_last: bool = True,
    after: int = 0,
    generation: int = 1,
) -> Event:
    """Return a part of a reconciliation of the source pbx1."""
    for event in events:
        event.has_new_id = True
    rule = Reconciliation(
        generation=generation, seq=seq, after=after, lease=1, guards=guards, events=events, is_last=is_last
    )
    return reconciling_event(A, "pbx1", rule, bench.clock.monotonic())


async def outcome(bench: Bench, *events: Event) -> int | str:
    """Publish events; return the position of the last, negative for a duplicate, or the code of its refusal."""
    result = (await bench.broker.publish(events))[-1]
    if isinstance(result, Refusal):
        return str(result.code)
    return -1 if result.duplicate and result.seq == 0 else result.seq


async def owners(bench: Bench, kind: str = "agent") -> dict[str, str | None]:
    """Return the owners of the entities of a kind."""
    return {key[1]: entity.owner for key, entity in await bench.broker.entities(A, kind)}


async def version(bench: Bench, key: EntityKey) -> Version:
    """Return the version of an entity."""
    return dict(await bench.broker.entities(A, key[0]))[key].version


class ReconciliationContract:
    """Parts of reconciliations."""

    @pytest_twisted.ensureDeferred
    async def test_a_part_is_appended_once(self, bench: Bench) -> None:
        await bench.publish(bench.event())
        both = part(bench, 4, login(bench), login(bench, "8"), guards=((ADA, NO_VERSION), (("agent", "8"), NO_VERSION)))
        assert await outcome(bench, both) == 3
        assert await outcome(bench, part(bench, 4, login(bench, "9"))) == -1
        assert await outcome(bench, bench.numbered(4), bench.numbered(5, after=4)) == 4
        assert await bench.state() == [2, 3]
        await bench.until(lambda: len(bench.delivered) >= 4)
        assert bench.seqs() == [1, 2, 3, 4]
        assert [found.event.source for found in bench.delivered] == [None, "pbx1", "pbx1", "pbx1"]

    @pytest_twisted.ensureDeferred
    async def test_a_part_whose_entity_has_changed_is_refused_as_a_whole(self, bench: Bench) -> None:
        await bench.publish(login(bench))
        known = await version(bench, ADA)
        others = (("agent", "8"), NO_VERSION)
        await bench.publish(login(bench, state="busy"))
        stale = part(bench, 2, login(bench, "8"), login(bench, state="away"), guards=(others, (ADA, known)))
        assert await outcome(bench, stale) == "try_later"
        assert await outcome(bench, part(bench, 2, login(bench), guards=((ADA, NO_VERSION),))) == "try_later"
        assert await bench.state() == [2]
        assert await bench.seqs_of(bench.numbered(3, after=2)) == [None]
        known = await version(bench, ADA)
        fresh = part(bench, 2, login(bench, "8"), login(bench, state="away"), guards=(others, (ADA, known)))
        assert await outcome(bench, fresh) == 4
        assert await bench.state() == [3, 4]

    @pytest_twisted.ensureDeferred
    async def test_an_entity_that_has_ended_or_expired_has_changed(self, bench: Bench) -> None:
        await bench.publish(login(bench), login(bench, "8"))
        known, expired = await version(bench, ADA), await version(bench, ("agent", "8"))
        await bench.publish(bench.event("agent.logout", {"user_id": "7", "username": "ada"}))
        assert await outcome(bench, part(bench, 1, login(bench), guards=((ADA, known),))) == "try_later"
        bench.clock.advance(86_401.0)
        assert await outcome(bench, part(bench, 1, login(bench), guards=((("agent", "8"), expired),))) == "try_later"
        assert await outcome(bench, part(bench, 1, login(bench, "8"), guards=((("agent", "8"), NO_VERSION),))) == 4

    @pytest_twisted.ensureDeferred
    async def test_what_arrives_at_the_same_time_counts(self, bench: Bench) -> None:
        """The events before it are of the same transaction, and those behind it find what it has appended."""
        late = part(bench, 1, login(bench, state="busy"), guards=((ADA, NO_VERSION),))
        assert await outcome(bench, login(bench), late) == "try_later"
        first = part(bench, 1, login(bench, "8"), guards=((("agent", "8"), NO_VERSION),))
        second = part(bench, 2, login(bench, "8"), guards=((("agent", "8"), NO_VERSION),))
        assert await outcome(bench, first, bench.numbered(1), second) == "try_later"
        assert await outcome(bench, part(bench, 1), part(bench, 1)) == -1

    @pytest_twisted.ensureDeferred
    async def test_messages_of_a_chat_do_not_change_it(self, bench: Bench) -> None:
        await bench.publish(bench.event("chat.session.started", {"session_id": "s"}))
        known = await version(bench, ("chat", "s"))
        message = {"session_id": "s", "message_id": "m", "sender_id": "v", "sender_type": "visitor", "body": "b"}
        await bench.publish(*[bench.event("chat.message", {**message, "message_id": f"m{n}"}) for n in range(60)])
        assert await version(bench, ("chat", "s")) == known
        transfer = bench.event("chat.transferred", {"session_id": "s", "to_agent_id": "7"})
        assert await outcome(bench, part(bench, 1, transfer, guards=((("chat", "s"), known),))) == 62

    @pytest_twisted.ensureDeferred
    async def test_events_for_one_user_change_an_entity(self, bench: Bench) -> None:
        await bench.publish(login(bench))
        known = await version(bench, ADA)
        await bench.publish(bench.event("agent.login", {"user_id": "7", "username": "ada"}, user_id="9"))
        assert await outcome(bench, part(bench, 1, login(bench), guards=((ADA, known),))) == "try_later"

    @pytest_twisted.ensureDeferred
    async def test_only_the_last_part_raises_the_mark(self, bench: Bench) -> None:
        assert await outcome(bench, part(bench, 3, login(bench), is_last=False)) == 1
        assert await bench.seqs_of(bench.numbered(4, after=3)) == [None]
        assert await outcome(bench, part(bench, 3)) == 1
        assert await bench.seqs_of(bench.numbered(3), bench.numbered(4, after=3)) == [0, 2]

    @pytest_twisted.ensureDeferred
    async def test_parts_keep_the_order_of_their_source(self, bench: Bench) -> None:
        assert await outcome(bench, part(bench, 3, login(bench), after=2)) == "unavailable"
        await bench.publish(bench.numbered(2, 2))
        assert await outcome(bench, part(bench, 9, login(bench))) == "stale_generation"
        assert await outcome(bench, part(bench, 9, login(bench), after=2, generation=2)) == 2
        assert await outcome(bench, part(bench, 2, login(bench), generation=2)) == -1
        assert await bench.seqs_of(bench.numbered(9, 2)) == [0]

    @pytest_twisted.ensureDeferred
    async def test_the_events_of_a_part_know_the_queue_and_the_agents_of_their_call(self, bench: Bench) -> None:
        call = {"unique_id": "1.1", "caller_id": "1", "destination": "2"}
        await bench.publish(bench.event("call.incoming", {**call, "queue_name": "a"}))
        events = [
            bench.event("call.answered", {**call, "agent_id": "7"}),
            bench.event("call.ended", {**call, "duration": 1}),
        ]
        assert await outcome(bench, part(bench, 1, *events)) == 3
        await bench.until(lambda: len(bench.delivered) >= 3)
        assert [(found.event.queue_name, found.event.agents) for found in bench.delivered[1:]] == [("a", ("7",))] * 2
        assert await bench.state() == []

    @pytest_twisted.ensureDeferred
    async def test_an_entity_belongs_to_the_source_that_created_it(self, bench: Bench) -> None:
        await bench.publish(login(bench), login(bench, "8", None), login(bench, "9", "pbx2"), bench.event())
        await bench.publish(login(bench, "7", "pbx2"), login(bench, "8"), login(bench, "9", None))
        assert await owners(bench) == {"7": "pbx1", "8": None, "9": "pbx2"}
        await bench.publish(bench.event("agent.logout", {"user_id": "7", "username": "a"}), login(bench, "7", "pbx3"))
        assert await owners(bench) == {"7": "pbx3", "8": None, "9": "pbx2"}
        assert await owners(bench, "queue") == {}

    @pytest_twisted.ensureDeferred
    async def test_a_numbered_event_creates_for_its_source(self, bench: Bench) -> None:
        event = login(bench, "5")
        event.source_rule = SourceNumber(1, 1, 0, 1)
        await bench.publish(event)
        assert await owners(bench) == {"5": "pbx1"}
        assert await bench.broker.entities(B, "agent") == []

    @pytest.mark.parametrize("seed", range(6))
    @pytest_twisted.ensureDeferred
    async def test_after_a_sync_the_state_is_what_the_source_says(
        self, bench: Bench, seed: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reconciler_module, "PART_EVENTS", 7)
        world = World(bench, random.Random(seed))
        for round_ in range(3):
            await world.publish_history(60)
            await world.check_syncs(round_)


class DurableReconciliationContract:
    """What survives the process."""

    @pytest_twisted.ensureDeferred
    async def test_owners_survive_a_restart(self, bench: Bench) -> None:
        await bench.publish(login(bench), login(bench, "8", "pbx2"), login(bench, "9", None))
        await bench.publish(login(bench, "7", "pbx2"), login(bench, "8", None), login(bench, "9"))
        await bench.alerts(1_100)
        expected = {"7": "pbx1", "8": "pbx2", "9": None}
        await bench.open()
        assert await owners(bench) == expected
        await bench.publish(bench.event("agent.logout", {"user_id": "8", "username": "a"}), login(bench, "8"))
        await bench.alerts(1_100)
        await bench.open()
        assert await owners(bench) == {**expected, "8": "pbx1"}
        assert await outcome(bench, part(bench, 1)) >= 0
        await bench.open()
        assert await outcome(bench, part(bench, 1, login(bench))) == -1


class World:
    """Random histories of three senders, and random truths of the source pbx1.

    Ids are few, so that the senders touch each other's entities.
    """

    def __init__(self, bench: Bench, source: random.Random) -> None:
        self.bench = bench
        self.random = source
        self.number = 0
        self.reconciler = Reconciler(bench.broker, ShiftedClock(bench.clock))  # type: ignore[arg-type]

    # Histories

    async def publish_history(self, count: int) -> None:
        events = []
        for _ in range(count):
            type_, payload = self.random.choice((self.agent, self.queue, self.member, self.chat, self.call))()
            event = self.bench.event(type_, payload)
            event.source = self.random.choice(("pbx1", "pbx1", "pbx2", None))
            events.append(event)
            self.bench.clock.advance(self.random.random())
        await self.bench.publish(*events)

    def agent(self) -> tuple[str, dict[str, Any]]:
        agent = self.true_agent(self.random.choice("123456"))
        return self.random.choice(("agent.login", "agent.state.changed", "agent.logout")), {
            name: value for name, value in agent.items() if name != "reason"
        }

    def queue(self) -> tuple[str, dict[str, Any]]:
        return "queue.stats", self.true_queue(self.random.choice("ab"))

    def member(self) -> tuple[str, dict[str, Any]]:
        member = self.true_member(self.random.choice("ab"), self.random.choice("123"))
        if self.random.random() < 0.5:
            del member["paused"]
        return f"queue.member.{self.random.choice(('added', 'paused', 'unpaused', 'removed'))}", member

    def chat(self) -> tuple[str, dict[str, Any]]:
        chat = self.true_chat(self.random.choice("stuvw"))
        kind = self.random.choice(("session.started", "transferred", "session.ended"))
        if kind == "transferred":
            chat = {"session_id": chat["session_id"], "to_agent_id": self.random.choice("123")}
        return f"chat.{kind}", chat

    def call(self) -> tuple[str, dict[str, Any]]:
        call = self.true_call(self.random.choice(("c1", "c2", "c3", "c4", "c5")))
        call.pop("status")
        types = ("incoming", "ringing", "answered", "hold", "unhold", "transferred", "ended")
        type_ = self.random.choice((*[f"call.{name}" for name in types], "queue.joined", "queue.left"))
        fields: dict[str, dict[str, Any]] = {
            "call.ended": {"duration": 3},
            "call.transferred": {"transfer_type": "blind", "to_agent_id": "2"},
        }
        if type_ in ("queue.joined", "queue.left"):
            call.setdefault("queue_name", "a")
        if self.random.random() < 0.5 and type_ == "call.transferred":
            fields[type_]["transfer_type"] = "attended"
        return type_, {"agent_id": "1", **call, **fields.get(type_, {})}

    # Truths

    def true_agent(self, user_id: str) -> dict[str, Any]:
        agent = {
            "user_id": user_id,
            "username": f"u{user_id}",
            "state": self.random.choice(("available", "break", "busy")),
        }
        if self.random.random() < 0.5:
            agent["extension"] = self.random.choice(("201", "202"))
        return agent

    def true_queue(self, name: str) -> dict[str, Any]:
        figures = ("calls_waiting", "available_agents", "logged_in_agents")
        return {"queue_name": name, **{figure: self.random.randint(0, 2) for figure in figures}}

    def true_member(self, queue: str, user_id: str) -> dict[str, Any]:
        paused, penalty = self.random.random() < 0.5, self.random.randint(0, 1)
        return {"queue_name": queue, "user_id": user_id, "paused": paused, "penalty": penalty}

    def true_chat(self, session: str) -> dict[str, Any]:
        chat = {"session_id": session}
        if self.random.random() < 0.6:
            chat["agent_id"] = self.random.choice("123")
        if self.random.random() < 0.6:
            chat["queue_name"] = self.random.choice("ab")
        return chat

    def true_call(self, call_id: str) -> dict[str, Any]:
        status = self.random.choice(("waiting", "ringing", "answered", "hold"))
        call = {"unique_id": call_id, "caller_id": "+32", "destination": "100", "status": status}
        if status != "waiting":
            call["agent_id"] = self.random.choice("123")
        if self.random.random() < 0.6:
            call["queue_name"] = self.random.choice("ab")
        return call

    def truth(self, scope: str) -> list[dict[str, Any]]:
        ids = {"agents": "123456", "queues": "ab", "chats": "stuvw", "calls": ("c1", "c2", "c3", "c4", "c5", "c6")}
        if scope == "members":
            pairs = [(queue, user) for queue in "ab" for user in "123"]
            return [self.true_member(*pair) for pair in pairs if self.random.random() < 0.5]
        true = {"agents": self.true_agent, "queues": self.true_queue, "chats": self.true_chat, "calls": self.true_call}
        return [true[scope](each) for each in ids[scope] if self.random.random() < 0.5]

    # Checks

    async def sync(self, scope: str, listed: list[dict[str, Any]], number: int) -> Reconciled:
        declared = SCOPES[scope]
        entities = {declared.key_of(entity): dict(entity) for entity in listed}
        state = SourceState(A, declared, "pbx1", SourceNumber(1, number, 0, 1), entities, None)
        return await self.reconciler.reconcile(state)

    async def check_syncs(self, round_: int) -> None:
        for scope in SCOPES:
            await self.check_sync(scope, self.truth(scope), is_repeated=round_ == 0)

    async def check_sync(self, scope: str, listed: list[dict[str, Any]], *, is_repeated: bool) -> None:
        kind, before = SCOPES[scope].kind, await self.snapshot()
        head = (await self.bench.broker.position(A)).seq
        self.number += 1
        done = await self.sync(scope, listed, self.number)
        after = await self.snapshot()
        self.check_others(kind, before, after, listed, scope)
        await self.check_truth(scope, listed)
        await self.check_events(head, done.events)
        # What is told again in another sync changes nothing; the same sync is a duplicate.
        self.number += is_repeated
        repeated = await self.sync(scope, listed, self.number)
        assert (repeated.events, repeated.result.duplicate) == (0, not is_repeated)

    async def snapshot(self) -> dict[EntityKey, tuple[str | None, list[int]]]:
        found = {}
        for scope in SCOPES.values():
            for key, entity in await self.bench.broker.entities(A, scope.kind):
                found[key] = (entity.owner, positions(entity.publications()))
        return found

    def check_others(
        self,
        kind: str,
        before: dict[EntityKey, tuple[str | None, list[int]]],
        after: dict[EntityKey, tuple[str | None, list[int]]],
        listed: list[dict[str, Any]],
        scope: str,
    ) -> None:
        keys = {SCOPES[scope].key_of(entity) for entity in listed}
        for key, (owner, seqs) in before.items():
            if key[0] != kind or owner == "pbx2" or (owner is None and key not in keys):
                assert after[key] == (owner, seqs)
        left = {key for key, (owner, _) in after.items() if key[0] == kind and owner == "pbx1"}
        assert left <= keys or kind == "queue"

    async def check_truth(self, scope: str, listed: list[dict[str, Any]]) -> None:
        entities = dict(await self.bench.broker.entities(A, SCOPES[scope].kind))
        for entity in listed:
            key = SCOPES[scope].key_of(entity)
            if entities[key].owner == "pbx2":
                continue
            publications = entities[key].publications()
            assert DIFFERENCES[scope](known_events(publications), entity) == []
            shown: dict[str, Any] = {}
            for publication in publications:
                shown |= decode_json(publication.event.payload)
            if scope == "calls":
                assert CallView.of_state(known_events(publications)) == CallView.of_entity(entity)
                newest = publications[-1].event
                if entity["status"] == "answered":
                    assert (newest.type.name, newest.agents[-1:]) in [
                        *[(f"call.{name}", (entity["agent_id"],)) for name in ("answered", "unhold", "transferred")]
                    ]
            elif scope == "chats":
                assert publications[-1].event.agents == tuple([entity["agent_id"]] if "agent_id" in entity else [])
            elif scope != "members":
                assert {name: shown.get(name) for name in entity} == entity

    async def check_events(self, head: int, count: int) -> None:
        """Check what clients that are connected, and those that resume, are sent."""
        page = await self.bench.broker.read(A, head, 1_000)
        events = [publication.event for publication in page.publications]
        assert len(events) == count
        for event in events:
            assert (event.source, decode_json(event.payload)["reconciled"]) == ("pbx1", True)
        assert len({event.event_id for event in events}) == count
        await self.bench.until(lambda: len(self.bench.seqs()) == head + count)
        assert await self.bench.state() == compacted(self.bench.delivered, self.bench.clock.monotonic())
