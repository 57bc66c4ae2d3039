"""ReplayCache: a batch that several clients missed is read and encoded once."""

from __future__ import annotations

from typing import Any

import pytest
from doubles import SlowBroker
from msgspec.structs import replace
from sample_events import ACME
from world import World, seqs_of, types_of

from callcenter_ws.delivery import replay_cache
from callcenter_ws.delivery.catch_up import PAGE_EVENTS
from callcenter_ws.delivery.replay_cache import KEPT_SECONDS
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.event import Origin
from callcenter_ws.events.principal import Role
from callcenter_ws.interfaces import Position


@pytest.fixture
def world() -> World:
    return World(slow=True)


def reads_of(world: World, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the positions after which the store is read, except for the checks whether they are reachable."""
    reads: list[int] = []
    broker: SlowBroker = world.broker
    read_page = broker.read

    async def read(tenant_id: str, after: int, limit: int) -> Any:
        if limit:
            reads.append(after)
        return await read_page(tenant_id, after, limit)

    monkeypatch.setattr(broker, "read", read)
    return reads


def test_clients_at_the_same_position_share_all_reads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.publish_alerts(PAGE_EVENTS + 50)
    world.turn()
    reads = reads_of(world, monkeypatch)
    peers = [world.resume(30) for _ in range(20)]
    world.turn()
    for peer in peers:
        messages = peer.read()
        assert seqs_of(messages) == list(range(31, PAGE_EVENTS + 51))
        assert messages[-1]["payload"]["count"] == PAGE_EVENTS + 20
    assert reads == [30, PAGE_EVENTS]


def test_clients_at_different_positions_share_the_following_batches(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.publish_alerts(2 * PAGE_EVENTS)
    world.turn()
    reads = reads_of(world, monkeypatch)
    peers = [world.resume(seq) for seq in (3, 50, 77)]
    world.turn()
    for peer, seq in zip(peers, (3, 50, 77), strict=True):
        assert peer.seqs() == list(range(seq + 1, 2 * PAGE_EVENTS + 1))
    assert sorted(reads) == [3, 50, 77, PAGE_EVENTS]


def test_clients_with_different_interest_share_no_batch(world: World) -> None:
    world.publish_alerts(2)
    world.publish("call.incoming", {"unique_id": "1", "caller_id": "555", "destination": "100"})
    world.publish("presence.changed", {"user_id": "7", "online": True}, origin=Origin.GATEWAY)
    world.turn()
    supervisor, wallboard = world.resume(0), world.resume(0, Role.WALLBOARD)
    agent = world.resume(0, Role.AGENT)
    service = world.resume(0, Role.SERVICE)
    world.turn()
    peers = {"s": supervisor, "w": wallboard, "a": agent, "x": service}
    received = {name: peer.read() for name, peer in peers.items()}
    assert {name: seqs_of(messages) for name, messages in received.items()} == {
        "s": [1, 2, 3, 4],
        "w": [1, 2, 3, 4],
        "a": [1, 2, 3],
        "x": [],
    }
    callers = {
        name: [m["payload"].get("caller_id") for m in messages if m.get("seq") == 3]
        for name, messages in received.items()
    }
    assert callers == {"s": ["555"], "w": ["***"], "a": ["555"], "x": []}


def test_an_event_for_one_user_is_replayed_to_that_user_only(world: World) -> None:
    world.publish_alerts(1)
    world.publish("agent.login", {"user_id": "7", "username": "n"}, user_id="7")
    world.publish_alerts(1)
    world.turn()
    peers = {user: world.resume(0, user_id=user) for user in ("6", "7", "8")}
    world.turn()
    assert {user: peer.seqs() for user, peer in peers.items()} == {"6": [1, 3], "7": [1, 2, 3], "8": [1, 3]}


def test_a_client_that_waits_for_a_batch_is_served_if_the_preparing_client_disconnects(world: World) -> None:
    world.publish_alerts(10)
    world.turn()
    first, second = world.resume(0), world.resume(0)
    while not world.hub.replays._waiting:
        assert world.clock.step()
    first.client.connection_lost(CloseCode.ABNORMAL)
    world.turn()
    assert second.seqs() == list(range(1, 11))


def test_a_replay_is_completed_after_failed_reads(world: World) -> None:
    world.publish_alerts(10)
    world.turn()
    peers = [world.resume(0) for _ in range(5)]
    failures = iter([False] * 20 + [True] * 12)
    world.broker.fails = lambda: next(failures, False)
    world.turn()
    world.clock.advance(30)
    world.turn()
    for peer in peers:
        if not peer.client.closed:
            assert peer.seqs() == list(range(1, 11))


def test_an_unused_batch_is_evicted(world: World) -> None:
    world.publish_alerts(10)
    world.turn()
    world.resume(0)
    world.turn()
    assert world.hub.replays._batches
    world.clock.advance(2 * KEPT_SECONDS)
    assert not world.hub.replays._batches
    assert world.hub.replays._bytes == 0


def test_the_size_of_all_batches_is_limited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_cache, "MAX_BYTES", 3_000)
    world.publish_alerts(50)
    world.turn()
    for seq in range(40):
        world.resume(seq)
        world.turn()
        assert world.hub.replays._bytes <= 3_000
        assert world.hub.replays._bytes == sum(len(batch.frames) for batch in world.hub.replays._batches.values())
    assert world.hub.connections(ACME) == 40


def test_batches_of_a_lost_history_are_not_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A position of an earlier epoch is valid up to the fork at which the next epoch began."""
    world = World()
    world.publish_alerts(5)
    early = world.resume(2)
    lost = [message["id"] for message in early.read() if "seq" in message]
    early.client.connection_lost(CloseCode.ABNORMAL)
    fork, broker = Position(world.epoch, 2), world.broker
    broker._epoch, broker._tenants = "another", {}
    world.publish_alerts(5)
    world.turn()
    position = broker.position

    async def position_of(tenant_id: str, known: Position | None = None) -> Position:
        now: Position = await position(tenant_id)
        return Position(fork.epoch, now.seq) if known == fork else now

    monkeypatch.setattr(broker, "position", position_of)
    replayed = world.resume(2, epoch=fork.epoch).read()
    assert seqs_of(replayed) == [3, 4, 5]
    assert not {message.get("id") for message in replayed} & set(lost)
    assert replayed[-1]["payload"] == {"epoch": "another", "from_seq": 2, "to_seq": 5, "count": 3}


@pytest.mark.parametrize("change", ["subscribes", "renews"])
def test_a_client_that_leaves_its_group_while_it_prepares_a_batch_affects_no_other(world: World, change: str) -> None:
    queues = frozenset({"a"})
    for queue in ("a", "secret"):
        world.publish_queue_stats(1, queue)
    world.publish_alerts(5)
    world.turn()
    first, second = world.resume(0, queues=queues), world.resume(0, queues=queues)
    while not world.hub.replays._waiting:
        assert world.clock.step()
    if change == "subscribes":
        first.send("subscribe", {"events": ["call.*"]})
        # A change of the subscription waits for the replay, which remains in the group.
    else:
        first.client.renew(replace(first.client.principal, queues=None))
    world.turn()
    messages = second.read()
    assert seqs_of(messages) == [1, 3, 4, 5, 6, 7]
    assert messages[-1]["payload"]["count"] == 6
    received = first.read()
    if change == "subscribes":
        assert seqs_of(received) == [1, 3, 4, 5, 6, 7]
        assert types_of(received)[-2:] == ["resumed", "subscribed"]
    else:
        assert seqs_of(received) == list(range(1, 8))
