"""SharedSnapshot: one encoding for the clients of a group at the same position, of what these may see."""

from __future__ import annotations

from typing import Any

import pytest
from world import Message, Peer, World, types_of

from callcenter_ws.events.principal import Role


def snapshot_of(peer: Peer) -> list[Message]:
    """Request a snapshot; return its events."""
    peer.send("snapshot")
    events: list[Message] = peer.read("snapshot")[-1]["payload"]["events"]
    return events


def publish_call(world: World, type_: str, **fields: Any) -> None:
    world.publish(type_, {"unique_id": "c1", "queue_name": "sales", **fields})


def test_clients_of_one_group_are_written_the_same_object(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    publish_call(world, "call.incoming", caller_id="555", destination="100")
    written: list[bytes] = []
    for peer in [world.live() for _ in range(3)]:
        monkeypatch.setattr(peer, "write", written.append)
        peer.send("snapshot")
    world.turn()
    assert len(written) == 3
    assert written[0] is written[1] is written[2]


def test_an_unanswered_call_is_removed_once_another_agent_answered_it() -> None:
    world = World(agent_calls="own")
    answering = world.live(Role.AGENT, user_id="a", queues=frozenset({"sales"}))
    other = world.live(Role.AGENT, user_id="b", queues=frozenset({"sales"}))
    publish_call(world, "call.incoming", caller_id="555", destination="100")
    assert types_of(snapshot_of(other)) == ["call.incoming"]
    publish_call(world, "call.answered", agent_id="a")
    assert types_of(snapshot_of(answering)) == ["call.incoming", "call.answered"]
    assert snapshot_of(other) == []


def test_an_answer_outside_the_subscription_does_not_remove_the_call() -> None:
    world = World()
    supervisor = world.live(Role.SUPERVISOR)
    supervisor.send("subscribe", {"events": ["call.incoming"]})
    publish_call(world, "call.incoming", caller_id="555", destination="100")
    publish_call(world, "call.answered", agent_id="a")
    assert types_of(snapshot_of(supervisor)) == ["call.incoming"]


def test_a_ringing_event_for_one_user_is_removed_once_the_call_is_answered() -> None:
    world = World(agent_calls="own")
    ringing = world.live(Role.AGENT, user_id="7")
    world.publish("call.ringing", {"unique_id": "c1", "agent_id": "7"}, user_id="7")
    assert types_of(snapshot_of(ringing)) == ["call.ringing"]
    publish_call(world, "call.answered", agent_id="8")
    assert snapshot_of(ringing) == []


def test_a_snapshot_is_released_after_its_shared_time() -> None:
    world = World()
    publish_call(world, "call.incoming", caller_id="555", destination="100")
    peer = world.live()
    assert len(snapshot_of(peer)) == 1
    world.clock.advance(2)
    assert peer.client.tenant.snapshot is None
    world.clock.advance(90_000)
    assert snapshot_of(peer) == []
