"""Group: the shared outbox of synced clients, and clients that are detached from it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from world import Peer, World, seqs_of

from callcenter_ws.delivery import group, hub, outbox
from callcenter_ws.delivery.outbox import Send
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.principal import Role


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(group, "CLIENTS_PER_SLICE", 2)
    monkeypatch.setattr(hub, "CLIENTS_PER_SLICE", 2)
    return World()


def synced_peers(world: World, size: int) -> list[Peer]:
    peers = [world.live() for _ in range(size)]
    world.turn()
    for peer in peers:
        peer.take()
        assert is_synced(peer)
    return peers


def is_synced(peer: Peer) -> bool:
    assert peer.client.outbox.group is not None
    return peer.client.outbox in peer.client.outbox.group.synced


def test_the_outbox_of_a_synced_client_stays_empty(world: World) -> None:
    (peer,) = synced_peers(world, 1)
    world.publish_alerts(3)
    assert peer.client.outbox.frames == []
    world.turn()
    assert peer.seqs() == [1, 2, 3]
    assert is_synced(peer)


def test_a_transmission_yields_to_the_reactor_between_slices(world: World) -> None:
    peers = synced_peers(world, 5)
    world.publish_alerts(1)
    written = []
    for _ in range(4):
        world.clock.step()
        written.append(sum(bool(peer.written) for peer in peers))
    assert written == [2, 4, 5, 5]


def test_events_published_between_slices_follow_in_order(world: World) -> None:
    peers = synced_peers(world, 5)
    for _ in range(7):
        world.publish_alerts(1)
        world.clock.step()
    world.turn()
    assert [peer.seqs() for peer in peers] == [list(range(1, 8))] * 5


@pytest.mark.parametrize("slices", [0, 1, 2])
@pytest.mark.parametrize("index", range(5))
@pytest.mark.parametrize("reason", ["request", "pause", "pause and drain", "mail"])
def test_a_client_detached_between_slices_is_sent_every_event_once(
    world: World, slices: int, index: int, reason: str
) -> None:
    peers = synced_peers(world, 5)
    before = world.hub.counters.delivered
    world.publish_alerts(2)
    for _ in range(slices):
        world.clock.step()
    detached = peers[index]
    if reason == "request":
        detached.send("ping", id_="p")
    elif reason == "mail":
        world.publish("notification", user_id=detached.client.principal.user_id)
    else:
        detached.client.pause()
    assert not is_synced(detached)
    world.publish_alerts(1)
    if reason == "pause and drain":
        world.clock.step()
        detached.drain()
    world.turn()
    if reason == "pause":
        detached.drain()
        world.turn()
    expected = [1, 2, 4] if reason == "mail" else [1, 2, 3]
    for peer in peers:
        messages = peer.take()
        assert seqs_of(messages) == ([1, 2, 3, 4] if reason == "mail" and peer is detached else expected)
    assert world.hub.counters.delivered - before == 15 + (reason in ("request", "mail"))
    assert all(map(is_synced, peers))
    assert [peer.client.delivered for peer in peers] == [
        4 + (peer is detached and reason in ("request", "mail")) for peer in peers
    ]


@pytest.mark.parametrize("slices", [0, 1, 2])
def test_a_client_closed_between_slices_is_sent_pending_events_first(world: World, slices: int) -> None:
    peers = synced_peers(world, 5)
    world.publish_alerts(2)
    for _ in range(slices):
        world.clock.step()
    for peer in peers:
        peer.client.close(CloseCode.DRAINING)
    assert [peer.seqs() for peer in peers] == [[1, 2]] * 5
    world.turn()


def test_a_connection_lost_between_slices_is_sent_nothing(world: World) -> None:
    peers = synced_peers(world, 5)
    world.publish_alerts(1)
    world.clock.step()
    peers[4].client.connection_lost(CloseCode.ABNORMAL)
    world.turn()
    assert peers[4].written == b""
    assert world.hub.connections() == 4


def test_a_large_batch_between_slices_makes_no_client_lag(world: World) -> None:
    peers = synced_peers(world, 5)
    world.publish_alerts(1)
    world.clock.step()
    world.publish_alerts(1_000)
    world.turn()
    assert not any(peer.client.lagging for peer in peers)
    assert [peer.seqs() for peer in peers] == [list(range(1, 1_002))] * 5


def test_the_rest_of_a_partial_send_is_written(world: World) -> None:
    peers = synced_peers(world, 3)
    partial = peers[1]
    rejoin_with(partial, lambda data: accept(partial, data[:10]))
    world.publish_alerts(1)
    world.turn()
    assert [peer.seqs() for peer in peers] == [[1]] * 3


@pytest.mark.parametrize("error", [BlockingIOError, ConnectionResetError])
def test_after_a_failed_send_everything_is_written(world: World, error: type[Exception]) -> None:
    peers = synced_peers(world, 3)

    def refuse(data: bytes) -> int:
        raise error

    rejoin_with(peers[1], refuse)
    world.publish_alerts(1)
    world.turn()
    assert [peer.seqs() for peer in peers] == [[1]] * 3


def accept(peer: Peer, data: bytes) -> int:
    """Record ``data`` as accepted by the socket; return its size."""
    peer.written += data
    return len(data)


def rejoin_with(peer: Peer, send: Send) -> None:
    """Detach a client and let it rejoin its group, which sends to it by ``send``."""
    peer.client.outbox.detach()
    peer.direct = lambda: send  # type: ignore[method-assign]
    peer.client.outbox.rejoin()
    peer.direct = lambda: None  # type: ignore[method-assign,assignment,return-value]


def test_a_write_above_the_direct_limit_passes_one_object_to_each_transport(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "MAX_DIRECT_BYTES", 10)
    peers = synced_peers(world, 3)
    written: list[Sequence[bytes]] = []
    for peer in peers:
        monkeypatch.setattr(peer, "write_frames", written.append)
    world.publish_alerts(2)
    world.turn()
    first, second = written[0]
    assert len(written) == 3
    assert all(frames[0] is first and frames[1] is second for frames in written)
    assert world.hub.counters.delivered == 3 * 2 + 3  # and the welcomes
    assert [peer.client.delivered for peer in peers] == [3, 3, 3]


def test_what_was_delivered_to_each_client_is_known(world: World) -> None:
    peers = synced_peers(world, 5)
    for number, peer in enumerate(peers):
        world.publish_alerts(2)
        world.clock.step()
        peer.send("ping", id_="p")
        if number % 2:
            peer.client.close(CloseCode.REVOKED)
        world.publish_alerts(1)
        world.turn()
    assert [peer.client.delivered for peer in peers] == [1 + len(peer.take()) for peer in peers]
    assert sum(peer.client.delivered for peer in peers) == world.hub.counters.delivered


def test_writing_many_groups_yields_to_the_reactor(world: World) -> None:
    peers = [world.live(Role.AGENT, queues=frozenset(["sales"])) for _ in range(7)]
    world.turn()
    for peer in peers:
        peer.take()
    assert len({peer.client.outbox.group for peer in peers}) == 7
    world.publish_alerts(1)
    written = []
    for _ in range(4):
        world.clock.step()
        written.append(sum(bool(peer.written) for peer in peers))
    assert written == [2, 4, 6, 7]


@pytest.mark.logs_errors
def test_an_aborted_transmission_closes_the_clients_of_its_group_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = synced_peers(world, 3)
    other = world.live(Role.ADMIN)
    monkeypatch.setattr(group, "_send_to_each", lambda *args: world.publish_alerts(1) or 1 / 0)
    world.publish_alerts(1)
    world.clock.step()
    monkeypatch.undo()
    assert not any(peer.written for peer in peers), "the second event was sent without the first"
    world.turn()
    assert {peer.closed_with for peer in peers} == {CloseCode.INTERNAL_ERROR}
    assert not other.client.closed
    assert [message["type"] for message in other.take() if message.get("type") == "alert"] == ["alert"] * 2


@pytest.mark.logs_errors
def test_after_an_unhandled_error_in_a_send_nothing_is_sent_again(world: World) -> None:
    peers = synced_peers(world, 3)

    def fail(data: bytes) -> int:
        peers[1].written += data
        raise RuntimeError("the socket is broken")

    rejoin_with(peers[1], fail)
    world.publish_alerts(1)
    world.turn()
    assert peers[1].closed_with is CloseCode.INTERNAL_ERROR
    assert [peer.seqs() for peer in peers] == [[1]] * 3
