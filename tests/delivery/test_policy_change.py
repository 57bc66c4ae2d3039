"""A change of the policy for agents while they are connected: what they see then, and the reset they are sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from world import Peer, World

from callcenter_ws.delivery.hub import CHANGED_PER_STEP
from callcenter_ws.delivery.subscriber import SessionState
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal, Role


def call(world: World, number: int, agent: str) -> None:
    world.publish("call.answered", {"call_id": f"c{number}", "agent_id": agent, "queue_name": "sales"})


def reset_and_snapshot(messages: list[dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Return the payload of the only reset, and the calls of the snapshot behind it."""
    (at,) = [at for at, message in enumerate(messages) if message["type"] == "reset"]
    reset, snapshot = messages[at : at + 2]
    assert (reset["type"], snapshot["type"]) == ("reset", "snapshot")
    assert (reset["payload"]["epoch"], reset["payload"]["seq"]) == (
        snapshot["payload"]["epoch"],
        snapshot["payload"]["seq"],
    )
    return reset["payload"], calls_of(snapshot["payload"]["events"])


def calls_of(messages: list[dict[str, Any]]) -> list[str]:
    return [message["payload"]["call_id"] for message in messages if message["type"] == "call.answered"]


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("queues", [None, frozenset({"sales"})])
def test_agents_see_only_their_calls_from_then_on(slow: bool, queues: frozenset[str] | None) -> None:
    world = World(slow=slow)
    ada = world.live(Role.AGENT, user_id="ada", queues=queues)
    supervisor = world.live(Role.SUPERVISOR)
    call(world, 1, "ada")
    call(world, 2, "bob")
    assert calls_of(ada.read()) == ["c1", "c2"]
    world.hub.change_policy("own", "own")
    # It may still be delivered by the former policy.
    call(world, 3, "bob")
    call(world, 4, "ada")
    messages = ada.read()
    reset, calls = reset_and_snapshot(messages)
    assert reset["reason"] == "rights_changed"
    assert reset["policy"] == {"agent_calls": "own", "agent_chats": "own"}
    # What comes behind the snapshot continues it.
    behind = [message for message in messages if message.get("seq", 0) > reset["seq"]]
    assert [*calls, *calls_of(behind)] == ["c1", "c4"]
    assert ada.client.state is SessionState.LIVE
    call(world, 5, "bob")
    call(world, 6, "ada")
    assert calls_of(ada.read()) == ["c6"]
    # Other roles are not concerned.
    assert [message["type"] for message in supervisor.read()] == ["call.answered"] * 6


def test_agents_see_the_calls_of_others_from_then_on() -> None:
    world = World(agent_calls="own")
    ada, bob = (world.live(Role.AGENT, user_id=user) for user in ("ada", "bob"))
    call(world, 1, "bob")
    assert calls_of(ada.read()) == []
    world.hub.change_policy("all", "own")
    for agent in (ada, bob):
        reset, calls = reset_and_snapshot(agent.read())
        assert (reset["reason"], calls) == ("rights_changed", ["c1"])
    call(world, 2, "bob")
    assert calls_of(ada.read()) == calls_of(bob.read()) == ["c2"]
    # They are written to together again.
    assert ada.client.outbox.group is bob.client.outbox.group


def test_chats_of_others_are_seen_and_hidden_again() -> None:
    world = World()
    ada = world.live(Role.AGENT, user_id="ada")
    world.publish("chat.session.started", {"session_id": "s", "agent_id": "bob", "status": "active"})
    assert ada.read() == []
    world.hub.change_policy("all", "all")
    _, snapshot = ada.read()
    assert [event["type"] for event in snapshot["payload"]["events"]] == ["chat.session.started"]
    world.hub.change_policy("all", "own")
    _, snapshot = ada.read()
    assert snapshot["payload"]["events"] == []


def test_what_was_prepared_by_the_earlier_policy_is_not_used() -> None:
    world = World()
    call(world, 1, "bob")
    queues = frozenset({"sales"})
    # A replay is cached by group, and a snapshot is shared.
    assert calls_of(world.resume(0, Role.AGENT, user_id="ada", queues=queues).read()) == ["c1"]
    world.connect(Role.AGENT, ConnectOptions(snapshot=True), user_id="ada", queues=queues).read()
    world.hub.change_policy("own", "own")
    assert calls_of(world.resume(0, Role.AGENT, user_id="ada", queues=queues).read()) == []
    late = world.connect(Role.AGENT, ConnectOptions(snapshot=True), user_id="ada", queues=queues)
    assert [message["payload"]["events"] for message in late.read("snapshot")] == [[]]


def test_a_running_replay_ends_with_the_reset() -> None:
    world = World(slow=True)
    for number in range(3):
        call(world, number, "bob")
    world.turn()
    ada = world.live(Role.AGENT, user_id="ada")
    ada.send("resume", {"epoch": world.epoch, "seq": 0}, id_="again")
    world.hub.change_policy("own", "own")
    messages = ada.read()
    assert [message["type"] for message in messages][-2:] == ["reset", "snapshot"]
    assert calls_of(messages) == []


def test_mail_that_was_published_meanwhile_is_sent_once() -> None:
    world = World(slow=True)
    ada = world.live(Role.AGENT, user_id="ada")
    world.hub.change_policy("own", "own")
    world.publish("notification", {"title": "first"}, user_id="ada")
    ada_messages = ada.read()
    world.publish("notification", {"title": "second"}, user_id="ada")
    ada_messages += ada.read()
    titles = [message["payload"]["title"] for message in ada_messages if message["type"] == "notification"]
    assert titles == ["first", "second"]


def test_a_client_without_a_subscription_is_sent_no_reset() -> None:
    world = World()
    agent = world.connect(Role.AGENT, ConnectOptions(events=("alert",)), user_id="ada")
    agent.read()
    agent.request("unsubscribe", {"events": ["alert"]})
    world.hub.change_policy("own", "own")
    assert agent.read() == []


def test_a_client_that_does_not_read_is_sent_the_reset_when_it_does() -> None:
    world = World()
    ada = world.live(Role.AGENT, user_id="ada")
    ada.high_water = 1
    call(world, 1, "ada")
    world.turn()
    world.hub.change_policy("own", "own")
    assert "reset" not in ada.types()
    ada.high_water = None
    ada.drain()
    assert ada.types() == ["reset", "snapshot"]


def test_the_reset_is_sent_when_the_store_answers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    ada = world.live(Role.AGENT, user_id="ada")
    call(world, 1, "bob")
    ada.read()

    async def fails(tenant_id: str) -> None:
        raise Refusal(ErrorCode.UNAVAILABLE)

    with monkeypatch.context() as patched:
        patched.setattr(world.broker, "snapshot", fails)
        world.hub.change_policy("own", "own")
        assert ada.read() == []
    world.clock.advance(5)
    reset, calls = reset_and_snapshot(ada.read())
    assert (reset["reason"], calls) == ("rights_changed", [])


def test_two_changes_in_a_row_end_with_the_last_policy() -> None:
    world = World(slow=True)
    call(world, 1, "bob")
    world.turn()
    ada = world.live(Role.AGENT, user_id="ada")
    world.hub.change_policy("own", "own")
    world.hub.change_policy("all", "own")
    snapshots = [message for message in ada.read() if message["type"] == "snapshot"]
    assert [event["payload"]["call_id"] for event in snapshots[-1]["payload"]["events"]] == ["c1"]
    call(world, 2, "bob")
    assert calls_of(ada.read()) == ["c2"]


@pytest.mark.parametrize("after", [0, 1, 7, 19, 20, 21, 22])
def test_nothing_is_lost_or_sent_twice_while_many_agents_follow(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Events are published after any number of steps, while some agents follow the new policy and others do not."""
    world = World()
    agents = [world.live(Role.AGENT, user_id=f"a{number}") for number in range(100)]
    lists = [world.live(Role.SUPERVISOR, queues=frozenset({f"q{number % 30}", "sales"})) for number in range(90)]
    steps: list[Iterator[None]] = []
    with monkeypatch.context() as patched:
        patched.setattr(world.hub.slicer, "run", steps.append)
        world.hub.change_policy("own", "all")
    for _ in range(after):
        next(steps[0], None)
    call(world, 1, "a7")
    world.publish("chat.session.started", {"session_id": "s", "agent_id": "a9", "status": "active"})
    world.publish_alerts()
    world.turn()
    world.hub.slicer.run(steps[0])
    for number, agent in enumerate(agents):
        messages = agent.read()
        reset, calls = reset_and_snapshot(messages)
        behind = [message for message in messages if message.get("seq", 0) > reset["seq"]]
        assert [*calls, *calls_of(behind)] == ["c1"] * (number == 7)
        received = [message["seq"] for message in messages if "seq" in message]
        assert received == sorted(set(received))
        assert {2, 3} <= {*received, *(range(reset["seq"] + 1))}
    for supervisor in lists:
        assert supervisor.seqs() == [1, 2, 3]
    tenant = world.hub.tenant_to_read("acme")
    assert not tenant._former
    assert set(tenant._index) == set(tenant._groups.values())


def test_many_agents_are_sent_their_resets_in_slices() -> None:
    world = World()
    agents: list[Peer] = [world.live(Role.AGENT, user_id=f"a{number}") for number in range(3 * CHANGED_PER_STEP)]
    world.hub.change_policy("own", "own")
    assert all(agent.client.state is SessionState.LIVE for agent in agents)
    assert {tuple(agent.types()) for agent in agents} == {("reset", "snapshot")}
    assert all(agent.client.state is SessionState.LIVE for agent in agents)


def test_agents_who_leave_meanwhile_are_left_out() -> None:
    world = World()
    ada = world.live(Principal("acme", "ada", Role.AGENT))
    world.hub.change_policy("own", "own")
    ada.client.close(4001)  # type: ignore[arg-type]  # any code
    world.turn()
    assert world.hub.connections("acme") == 0
