"""``SyncState`` over AMP: parts, order, duplicates, refusals, changes meanwhile, and limits."""

from __future__ import annotations

import json
from typing import Any

import pytest
from amp_doubles import SECRET, daemon_tokens

from callcenter_ws.amp import commands
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.reconciliation import Reconciliation
from callcenter_ws.runtime.slicer import Slicer
from callcenter_ws.sources import difference, reconciler, sync_parts
from callcenter_ws.sources.sync_parts import HeldParts, SyncPart, SyncParts
from callcenter_ws.testing import run

ADA = {"user_id": "7", "username": "ada", "state": "available"}
BOB = {"user_id": "8", "username": "bob", "state": "busy", "extension": "208"}
TURNS = 2_000


@pytest.fixture(autouse=True)
def started(server: Any) -> Any:
    server.sources.start()
    yield
    server.sources.stop()


def source(server: Any, name: str = "pbx1", generation: int | None = 1) -> Any:
    peer = server.tcp()
    peer.call(commands.Authenticate, token=SECRET.decode())
    answer = peer.call(
        commands.Hello, source=name, kind="x", instance=name, generation=generation, tenants=b'["acme", "globex"]'
    )
    assert "lease" in answer, answer
    return peer


def begin(peer: Any, number: int, entities: Any, scope: str = "agents", part: int = 1, **options: Any) -> None:
    """Send a part, the last one by default."""
    arguments = {"tenant_id": "acme", "scope": scope, "part": part, "last": True, "source_seq": number, **options}
    text = entities if isinstance(entities, bytes) else json.dumps(entities).encode()
    peer.send(peer.box(commands.SyncState, entities=text, **arguments))


def answers(peer: Any, count: int = 1) -> list[Any]:
    """Return the answers to what was sent: a response, or an error's code."""
    found: list[Any] = []
    for _ in range(TURNS):
        found += peer.boxes()
        if len(found) >= count:
            return [
                box[b"_error_code"].decode() if b"_error" in box else {k.decode(): v.decode() for k, v in box.items()}
                for box in found
            ]
        peer.clock.advance(0.01)
    raise AssertionError(f"{len(found)} answers of {count}")


def sync(peer: Any, number: int, entities: Any, scope: str = "agents", **options: Any) -> Any:
    """Send a part and wait for its answer: the number of events that were published, or an error's code."""
    begin(peer, number, entities, scope, **options)
    (answer,) = answers(peer)
    return answer if isinstance(answer, str) else int(answer["published"])


def event_box(peer: Any, number: int, payload: Any, type_: str = "agent.login") -> bytes:
    return peer.box(
        commands.PublishEvent,
        tenant_id="acme",
        type=type_,
        payload=json.dumps(payload).encode(),
        source_seq=number,
    )


def events(server: Any) -> list[tuple[str, Any]]:
    """Return the type and the user of the events of agents that were delivered."""
    return [
        (one.event.type.name.removeprefix("agent."), json.loads(one.event.payload)["user_id"])
        for one in server.delivered
        if one.event.type.name.startswith("agent.")
    ]


def test_the_difference_is_published_once(server: Any) -> None:
    peer = source(server)
    begin(peer, 5, [ADA, BOB])
    (answer,) = answers(peer)
    assert (answer["published"], answer["seq"]) == ("2", "3")
    assert sync(peer, 5, []) == 0
    assert events(server) == [("login", "7"), ("login", "8")]
    assert json.loads(server.delivered[-1].event.payload) == {**BOB, "reconciled": True}
    assert sync(peer, 6, [{**ADA, "state": "break", "reason": "lunch"}]) == 2
    assert events(server)[2:] == [("logout", "8"), ("state.changed", "7")]
    changed = json.loads(server.delivered[-1].event.payload)
    assert (changed["previous_state"], changed["reason"]) == ("available", "lunch")
    assert sync(peer, 7, [{**ADA, "state": "break", "reason": "lunch"}]) == 0
    # The number is that of an event, too.
    peer.send(event_box(peer, 7, ADA))
    peer.send(event_box(peer, 8, ADA))
    assert [answer["seq"] for answer in answers(peer, 2)] == ["0", "6"]
    assert len({one.event.event_id for one in server.delivered}) == len(server.delivered)


def test_the_timestamp_of_the_sync_is_that_of_its_events(server: Any) -> None:
    peer = source(server)
    assert sync(peer, 1, [ADA], timestamp="2026-11-29T10:00:00+01:00") == 1
    assert server.delivered[-1].event.timestamp == "2026-11-29T09:00:00.000Z"


def test_it_takes_effect_with_the_last_part(server: Any) -> None:
    peer = source(server)
    assert sync(peer, 1, [ADA], last=False) == 0
    assert events(server) == []
    assert sync(peer, 1, [BOB], part=2) == 2
    assert events(server) == [("login", "7"), ("login", "8")]


def test_parts_are_forgotten_with_their_connection(server: Any) -> None:
    peer = source(server)
    sync(peer, 1, [ADA], last=False)
    peer.transport.loseConnection()
    again = source(server)
    assert sync(again, 1, [BOB]) == 1
    assert events(server) == [("login", "8")]
    # Another sync takes the place of one that is not finished.
    sync(again, 2, [ADA], last=False)
    assert sync(again, 3, [BOB]) == 0
    assert events(server) == [("login", "8")]


def test_it_keeps_the_order_of_the_events(server: Any) -> None:
    """Nothing is compared before what was sent earlier has its outcome, and what follows waits."""
    peer = source(server)
    server.broker.is_blocked = True
    peer.send(event_box(peer, 1, ADA))
    begin(peer, 2, [BOB])
    peer.send(event_box(peer, 3, ADA))
    for _ in range(20):
        server.clock.turn()
    assert (peer.boxes(), len(server.broker.blocked)) == ([], 1)
    server.broker.unblock()
    assert [answer["_answer"] for answer in answers(peer, 3)] == ["3", "4", "5"]
    assert events(server) == [("login", "7"), ("logout", "7"), ("login", "8"), ("login", "7")]


def refuse_next(server: Any, count: int = 1) -> None:
    """Have the store refuse the next calls of publish."""
    publish, left = server.broker._broker.publish, [count]

    async def refusing(given: Any) -> Any:
        if left[0]:
            left[0] -= 1
            return [Refusal(ErrorCode.OVERLOADED, "full") for _ in given]
        return await publish(given)

    server.broker._broker.publish = refusing


def test_it_waits_for_an_event_that_was_refused(server: Any) -> None:
    peer = source(server)
    refuse_next(server)
    peer.send(event_box(peer, 1, ADA))
    begin(peer, 2, [BOB])
    assert answers(peer, 2) == ["OVERLOADED", "UNAVAILABLE"]
    peer.send(event_box(peer, 1, ADA))
    begin(peer, 2, [ADA, BOB])
    assert [answer.get("published") for answer in answers(peer, 2)] == [None, "1"]
    assert events(server) == [("login", "7"), ("login", "8")]


def test_an_event_that_is_refused_while_the_sync_waits_for_it(server: Any) -> None:
    peer = source(server)
    server.broker.is_blocked = True
    peer.send(event_box(peer, 1, ADA))
    begin(peer, 2, [BOB])
    refuse_next(server)
    server.broker.unblock()
    assert answers(peer, 2) == ["OVERLOADED", "UNAVAILABLE"]
    assert events(server) == []


def test_a_sync_that_was_refused_comes_before_later_events(server: Any) -> None:
    peer = source(server)
    refuse_next(server)
    begin(peer, 1, [ADA])
    peer.send(event_box(peer, 2, BOB))
    assert answers(peer, 2) == ["OVERLOADED", "UNAVAILABLE"]
    begin(peer, 1, [ADA])
    peer.send(event_box(peer, 2, BOB))
    assert len(answers(peer, 2)) == 2
    assert events(server) == [("login", "7"), ("login", "8")]


@pytest.mark.logs_errors
def test_a_failure_between_the_transactions(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored stays, and the same sync publishes the rest."""
    monkeypatch.setattr(reconciler, "PART_EVENTS", 2)
    peer = source(server)
    agents = [{**ADA, "user_id": str(number)} for number in range(7)]
    publish, calls = server.broker._broker.publish, []

    async def failing(given: Any) -> Any:
        calls.append(given)
        if len(calls) == 3:
            raise RuntimeError("killed")
        return await publish(given)

    server.broker._broker.publish = failing
    assert sync(peer, 1, agents) == "UNAVAILABLE"
    assert [user for _, user in events(server)] == ["0", "1", "2", "3"]
    peer.send(event_box(peer, 2, ADA))
    assert answers(peer) == ["UNAVAILABLE"]
    again = source(server)
    assert sync(again, 1, agents) == 3
    assert events(server) == [("login", str(number)) for number in range(7)]
    assert sync(again, 1, []) == 0


def change_meanwhile(server: Any, times: int) -> list[int]:
    """Have another sender change an agent between the comparison and the transaction; return how often it was tried."""
    publish, tries = server.broker._broker.publish, []

    async def after_a_change(given: Any) -> Any:
        if any(event.is_void for event in given):
            tries.append(len(tries) + 1)
            if len(tries) <= times:
                state = "busy" if len(tries) % 2 else "away"
                run(server.broadcaster.publish("acme", "agent.state.changed", {**ADA, "state": state}))
        return await publish(given)

    server.broker._broker.publish = after_a_change
    return tries


def test_what_changes_meanwhile_is_compared_again(server: Any) -> None:
    peer = source(server)
    sync(peer, 1, [ADA])
    tries = change_meanwhile(server, times=2)
    assert sync(peer, 2, [{**ADA, "state": "break"}, BOB]) == 2
    assert len(tries) == 3
    assert events(server)[-2:] == [("state.changed", "7"), ("login", "8")]
    changed = json.loads(server.delivered[-2].event.payload)
    assert (changed["state"], changed["previous_state"]) == ("break", "away")


def test_what_changes_all_the_time_is_refused(server: Any) -> None:
    peer = source(server)
    sync(peer, 1, [ADA])
    tries = change_meanwhile(server, times=reconciler.MAX_COMPARISONS)
    assert sync(peer, 2, []) == "UNAVAILABLE"
    assert len(tries) == reconciler.MAX_COMPARISONS
    assert ("logout", "7") not in events(server)
    assert sync(peer, 2, []) == 1
    assert events(server)[-1] == ("logout", "7")


def test_entities_of_other_senders_are_left(server: Any) -> None:
    first, second = source(server), source(server, "pbx2")
    sync(first, 1, [ADA])
    run(server.broadcaster.publish("acme", "agent.login", {**BOB, "state": "available"}))
    assert sync(second, 1, []) == 0
    # Listed by another source: left; known without a source: corrected.
    assert sync(second, 2, [{**ADA, "state": "away"}, BOB]) == 1
    assert events(server)[-1] == ("state.changed", "8")
    # In another tenant they are others.
    assert sync(second, 3, [ADA], tenant_id="globex") == 1
    assert sync(first, 2, []) == 1
    assert events(server)[-1] == ("logout", "7")


CALL = {"unique_id": "1", "caller_id": "5", "destination": "6", "status": "waiting"}


@pytest.mark.parametrize(
    ("entities", "scope", "text"),
    [
        (b"[", "agents", "entities: "),
        ({}, "agents", "entities: expected a list"),
        ([7], "agents", "entities[0]: expected an object, got an integer"),
        ([ADA, {"user_id": "9"}], "agents", "entities[1].username: required"),
        ([{**ADA, "state": "asleep"}], "agents", "entities[0].state: not one of the values"),
        ([ADA, {**ADA, "state": "busy"}], "agents", "entities[1]: the same agent twice"),
        (
            [CALL, {**CALL, "unique_id": "2", "status": "hold"}],
            "calls",
            "entities[1].agent_id: required with the status",
        ),
        ([{**CALL, "caller_id": None}], "calls", "entities[0].caller_id: "),
        ([{"queue_name": "a"}], "queues", "entities[0].calls_waiting: required"),
        ([{"queue_name": "a", "user_id": 1, "paused": "yes"}], "members", "entities[0].paused: "),
        ([{}], "chats", "entities[0].session_id: required"),
        ([{**ADA, "x": 2**70}], "agents", "payload"),
        ([ADA], "nothing", "scope: expected one of agents, calls, queues, members, chats"),
    ],
)
def test_what_is_wrong_is_refused_for_good(server: Any, entities: Any, scope: str, text: str) -> None:
    peer = source(server)
    begin(peer, 4, entities, scope)
    peer.send(event_box(peer, 5, ADA))
    for _ in range(TURNS):
        server.clock.turn()
        if len(boxes := peer.boxes()) == 2:
            break
    assert boxes[0][b"_error_code"] == b"INVALID_EVENT"
    assert boxes[0][b"_error_description"].decode().startswith(text)
    assert boxes[1][b"seq"] == b"2"
    assert sync(peer, 4, [BOB]) == 0
    assert events(server) == [("login", "7")]


def test_parts_out_of_order_are_refused_for_good(server: Any) -> None:
    peer = source(server)
    assert sync(peer, 1, [ADA], part=2) == "INVALID_EVENT"
    sync(peer, 2, [ADA], last=False)
    assert sync(peer, 2, [BOB], part=3) == "INVALID_EVENT"
    sync(peer, 3, [ADA], last=False)
    assert sync(peer, 3, [BOB], scope="queues", part=2) == "INVALID_EVENT"
    sync(peer, 4, [ADA], last=False)
    assert sync(peer, 5, [BOB], part=2) == "INVALID_EVENT"
    assert sync(peer, 0, [ADA]) == "INVALID_EVENT"
    assert sync(peer, 6, [BOB], part=0) == "INVALID_EVENT"
    assert events(server) == []
    assert sync(peer, 7, [BOB]) == 1


def test_who_may_sync(server: Any) -> None:
    peer = server.tcp()
    peer.call(commands.Authenticate, token=SECRET.decode())
    assert sync(peer, 1, []) == "FORBIDDEN"
    assert sync(source(server), 1, [], tenant_id="other") == "FORBIDDEN"


def test_limits(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = source(server)
    agents = [{**ADA, "user_id": str(number)} for number in range(1_001)]
    assert sync(peer, 1, agents) == "TOO_LARGE"
    assert sync(peer, 2, agents[:1_000]) == 1_000
    monkeypatch.setattr(sync_parts, "MAX_PARTS", 2)
    assert [sync(peer, 3, [agent], part=part, last=False) for part, agent in enumerate(agents[:3], 1)] == [
        *(0, 0, "TOO_LARGE")
    ]
    monkeypatch.setattr(sync_parts, "MAX_SYNC_ENTITIES", 3)
    assert sync(peer, 4, agents[:4]) == "TOO_LARGE"
    monkeypatch.setattr(sync_parts, "MAX_SYNC_BYTES", 50)
    assert sync(peer, 5, [ADA, BOB]) == "TOO_LARGE"


def test_a_long_part_is_decoded_over_several_turns(server: Any) -> None:
    peer = source(server)
    agents = [{**ADA, "user_id": str(number), "note": "x" * 400} for number in range(900)]
    begin(peer, 1, agents)
    peer.send(event_box(peer, 2, BOB))
    assert answers(peer, 2)[0]["published"] == "900"
    assert events(server)[-1] == ("login", "8")


def test_few_entities_are_compared_in_one_step(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn takes a few steps, and no transaction is large."""
    peer = source(server)
    compared, wait, agent_difference = [0], Slicer.call, difference.DIFFERENCES["agents"]

    def counted(*arguments: Any) -> Any:
        compared[-1] += 1
        return agent_difference(*arguments)

    def next_step(slicer: Slicer, call: Any) -> None:
        compared.append(0)
        wait(slicer, call)

    monkeypatch.setitem(difference.DIFFERENCES, "agents", counted)
    monkeypatch.setattr(Slicer, "call", next_step)
    largest = [0]
    server.broker.publish = watched(server.broker.publish, largest)
    for part in range(10):
        sync(peer, 1, [{**ADA, "user_id": f"{part}-{n}"} for n in range(1_000)], part=part + 1, last=part == 9)
    assert len(events(server)) == sum(compared) == 10_000
    assert max(compared) == reconciler.ENTITIES_PER_STEP
    assert largest == [reconciler.PART_EVENTS]
    assert sync(peer, 2, []) == 10_000
    # Of large ones fewer.
    compared[:] = [0]
    large = [{**ADA, "user_id": str(number), "note": "x" * 100_000} for number in range(5)]
    more = [{**one, "user_id": f"b{one['user_id']}"} for one in large]
    assert (sync(peer, 3, large, last=False), sync(peer, 3, more, part=2)) == (0, 10)
    assert max(compared) == 1 + reconciler.STEP_BYTES // 100_000


def watched(publish: Any, largest: list[int]) -> Any:
    """Return a ``publish`` that notes the largest transaction."""

    async def watching(given: Any) -> Any:
        for event in given:
            if isinstance(event.source_rule, Reconciliation):
                largest[0] = max(largest[0], len(event.source_rule.events))
        return await publish(given)

    return watching


def test_the_oldest_unfinished_sync_gives_way() -> None:
    scope = sync_parts.Scope("agents", "agent", dict, ("user_id",))  # type: ignore[arg-type]  # nothing is checked
    held, syncs = HeldParts(max_bytes=100), []
    for number in range(3):
        first = SyncPart("acme", scope, number, 1, False, [], 40)
        parts = SyncParts(first)
        parts.add(first)
        syncs.append(parts)
        held.added(parts)
    assert [parts.is_forgotten for parts in syncs] == [True, False, False]
    assert held.bytes == 80
    held.release(syncs[1])
    del syncs[2], parts
    assert held.bytes == 0


def test_a_forgotten_sync_is_sent_again(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HeldParts.__init__, "__defaults__", (100,))
    server.factory = server._factory(server.clock, server.directory, daemon_tokens(server.clock))
    first, second = source(server), source(server, "pbx2")
    sync(first, 1, [ADA], last=False)
    sync(second, 1, [BOB], last=False)
    assert sync(first, 1, [BOB], part=2) == "OVERLOADED"
    first.send(event_box(first, 2, ADA))
    assert answers(first) == ["UNAVAILABLE"]
    sync(first, 1, [ADA], last=False)
    assert sync(first, 1, [], part=2) == 1
    assert events(server) == [("login", "7")]
