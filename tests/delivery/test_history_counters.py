"""What is counted of clients that resume or lag, for the metrics."""

from __future__ import annotations

import pytest
from world import World

from callcenter_ws.delivery import catch_up


def test_a_replay_and_its_messages(world: World) -> None:
    world.publish_alerts(5)
    world.resume(2).read()
    counters = world.hub.counters
    assert counters.replays == {"resumed": 1}
    assert counters.from_history == {"replay": 3}
    assert not counters.resets
    assert not counters.snapshots
    assert (counters.lags, counters.conflated) == (0, 0)


def test_a_replay_that_is_answered_with_a_reset(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catch_up, "MAX_REPLAY_EVENTS", 5)
    world.publish_alerts(6)
    world.resume(0).read()
    counters = world.hub.counters
    assert counters.replays == {"too_many": 1}
    assert counters.resets == {"too_many": 1}
    assert counters.snapshots == {"reset": 1}


def test_a_snapshot_that_a_client_asks_for(world: World) -> None:
    peer = world.live()
    peer.send("snapshot")
    assert "snapshot" in [message["type"] for message in peer.read()]
    assert world.hub.counters.snapshots == {"request": 1}
    assert not world.hub.counters.resets


def test_a_client_that_lags(world: World) -> None:
    peer = world.live()
    peer.client.pause()
    world.publish_alerts(300)
    for waiting in range(5):
        world.publish_queue_stats(waiting)
    world.turn()
    counters = world.hub.counters
    assert (counters.lagging, counters.lags) == (1, 1)
    peer.client.drained()
    assert peer.seqs() == [*range(1, 301), 305]
    assert counters.from_history == {"lag": 301}
    assert counters.conflated == 4
    assert (counters.lagging, counters.lags) == (0, 1)


def test_a_gap() -> None:
    world = World(memory_events=300)
    peer = world.live()
    peer.client.pause()
    world.publish_alerts(700)
    world.turn()
    peer.client.drained()
    peer.read()
    assert world.hub.counters.snapshots == {"gap": 1}
    assert world.hub.counters.dropped == {"history_exceeded": 700}


def test_a_refused_request(world: World) -> None:
    peer = world.live()
    peer.send("subscribe", {"events": ["no.such.event"]})
    assert peer.read()[-1]["type"] == "error"
    assert world.hub.counters.requests_refused == {"unknown_event": 1}
