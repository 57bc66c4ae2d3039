"""SharedSnapshot: one encoding for the clients of a group at the same position, of what these may see."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
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


def publish_state(world: World) -> None:
    """Publish calls of 20 queues, more than are examined in one step."""
    for number in range(600):
        queue = f"q{number % 20}"
        world.publish(
            "call.incoming", {"unique_id": f"c{number}", "caller_id": "5", "destination": "1", "queue_name": queue}
        )


def test_a_snapshot_is_released_although_another_view_of_it_is_always_being_prepared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    publish_state(world)
    peer = world.live()
    assert len(snapshot_of(peer)) == 600
    tenant = peer.client.tenant
    shared = tenant.snapshot
    assert shared is not None
    with monkeypatch.context() as preparing:
        preparing.setattr(type(shared), "preparing", lambda self: Deferred())
        world.clock.advance(2)
        assert tenant.snapshot is None
        assert tenant.in_preparation is shared
    world.clock.advance(2)
    assert tenant.in_preparation is None


def test_views_beyond_the_bound_are_dropped_and_prepared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    publish_state(world)
    world.clock.advance(2)
    prepared = world.hub._prepared_views
    monkeypatch.setattr(prepared, "max_bytes", 100_000)
    peers = [world.live() for _ in range(20)]
    for number, peer in enumerate(peers):
        peer.send("subscribe", {"queues": [f"q{number}"]})
    for peer in peers * 2:
        assert len(snapshot_of(peer)) == 30
        assert 0 < prepared.bytes <= 100_000
    assert 1 < len(prepared) < 20


def test_views_count_until_their_snapshot_is_released() -> None:
    world = World()
    publish_state(world)
    peer = world.live()
    assert len(snapshot_of(peer)) == 600
    assert world.hub.outgoing.total >= world.hub._prepared_views.bytes > 0
    world.clock.advance(3)
    assert world.hub._prepared_views.bytes == world.hub.outgoing.total == 0
