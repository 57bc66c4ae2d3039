"""Large snapshots: prepared in slices, shared between clients as objects, sent as one message in several frames."""

from __future__ import annotations

import json
import zlib
from array import array
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from world import Peer, World

from callcenter_ws.delivery.snapshot_cache import EVENTS_PER_STEP
from callcenter_ws.delivery.snapshot_parts import CACHED_SECONDS, FRAGMENT_BYTES, Part, PartCache
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.events.deflate import Deflater
from callcenter_ws.events.frames import ControlFrame, frame_payload
from callcenter_ws.events.principal import Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.slicer import STEPS_PER_TURN
from callcenter_ws.testing import FakeClock

CALLS = 2_000
"""Some 600 KB."""


def world_with_calls(calls: int = CALLS, **options: Any) -> World:
    world = World(memory_events=10, **options)
    for number in range(calls):
        world.publish(
            "call.incoming",
            {"unique_id": f"c{number}", "caller_id": "555", "destination": "100", "variables": {"note": "x" * 200}},
        )
        if number == calls // 2:
            # An event of the state for one user, in the middle of the order.
            world.publish("call.ringing", {"unique_id": "mine", "agent_id": "owner"}, user_id="owner")
    return world


class Frames:
    """Records the frames that peers are written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *peers: Peer) -> None:
        self.of: list[list[bytes]] = []
        for peer in peers:
            mine: list[bytes] = []
            self.of.append(mine)
            monkeypatch.setattr(peer, "write_frames", mine.extend)


def events_in(frames: Sequence[bytes], *, compressed: bool = False) -> Any:
    """Return the message in fragments, and check their first bytes."""
    first = 0x41 if compressed else 0x01
    assert [frame[0] for frame in frames] == [first, *[0] * (len(frames) - 2), 0x80]
    data = b"".join(map(frame_payload, frames))
    if compressed:
        data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data + b"\0\0\xff\xff")
    return json.loads(data)


def split_frames(stream: bytes) -> list[bytes]:
    frames, at = [], 0
    while at < len(stream):
        head = {126: 4, 127: 10}.get(stream[at + 1], 2)
        size = stream[at + 1] if head == 2 else int.from_bytes(stream[at + 2 : at + head], "big")
        frames.append(stream[at : at + head + size])
        at += head + size
    return frames


def test_a_large_snapshot_is_one_message_in_frames_that_clients_share(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_with_calls()
    peers = [world.live() for _ in range(3)]
    frames = Frames(monkeypatch, *peers)
    for peer in peers[:2]:
        peer.send("snapshot")
    peers[2].send("snapshot", id_="mine")
    world.turn()
    one, two, with_id = frames.of
    message = events_in(one)
    assert message["type"] == "snapshot" and len(message["payload"]["events"]) == CALLS
    assert all(mine is other for mine, other in zip(one, two, strict=True))
    # Only the first and the last frame of an answer with an id are its own.
    assert all(mine is other for mine, other in zip(one[1:-1], with_id[1:-1], strict=True))
    assert events_in(with_id) == {**message, "in_reply_to": "mine"}
    assert max(map(len, one)) < 2 * FRAGMENT_BYTES


def test_events_for_one_user_change_only_the_frames_that_they_belong_to(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_with_calls()
    owner, other = world.live(Role.AGENT, user_id="owner"), world.live(Role.AGENT)
    frames = Frames(monkeypatch, owner, other)
    owner.send("snapshot")
    other.send("snapshot")
    world.turn()
    mine, others = frames.of
    seqs = [event["seq"] for event in events_in(mine)["payload"]["events"]]
    assert seqs == list(range(1, CALLS + 2))
    assert len(events_in(others)["payload"]["events"]) == CALLS
    assert sum(one is not another for one, another in zip(mine, others, strict=True)) == 3  # first, last and the part


def test_the_parts_of_a_compressed_snapshot_are_one_compressed_message(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_with_calls()
    deflater = Deflater()
    peers = [world.live(wire_formats=deflater.wire_formats) for _ in range(2)]
    frames = Frames(monkeypatch, *peers)
    # Compressed it is small enough to be written at once.
    written: list[bytes] = []
    for peer in peers:
        monkeypatch.setattr(peer, "write", written.append)
    compressions = []
    deflate_part = deflater.deflate_part
    monkeypatch.setattr(
        deflater, "deflate_part", lambda *args, **kw: compressions.append(1) or deflate_part(*args, **kw)
    )
    for peer in peers:
        peer.send("snapshot")
    world.turn()
    assert frames.of == [[], []]
    assert written[0] == written[1]
    split = split_frames(written[0])
    assert len(events_in(split, compressed=True)["payload"]["events"]) == CALLS
    assert len(compressions) == len(split)


def test_a_snapshot_is_prepared_in_bounded_steps_and_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_with_calls(5_000)
    peer = world.live(Role.WALLBOARD)
    encoded: list[int] = []
    body = Publication.body
    monkeypatch.setattr(Publication, "body", lambda self, view: encoded.append(self.seq) or body(self, view))
    peer.send("snapshot")
    most, turns = 0, 0
    while not peer.written:
        before = len(encoded)
        # One call of the clock is at most one turn of the slicer.
        assert world.clock.step()
        most, turns = max(most, len(encoded) - before), turns + 1
    assert len(encoded) == 5_000
    assert most <= STEPS_PER_TURN * FRAGMENT_BYTES // 300
    assert turns > 5_000 // (STEPS_PER_TURN * EVENTS_PER_STEP)


def test_clients_that_ask_while_a_snapshot_is_prepared_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_with_calls(5_000)
    peers = [world.live() for _ in range(20)]
    frames = Frames(monkeypatch, *peers)
    encoded = []
    body = Publication.body
    monkeypatch.setattr(Publication, "body", lambda self, view: encoded.append(1) or body(self, view))
    for peer in peers:
        peer.send("snapshot")
        world.clock.step()
    world.turn()
    assert len(encoded) == 5_000
    assert all(mine[1] is frames.of[0][1] for mine in frames.of)


def test_a_client_whose_new_token_allows_less_is_sent_what_it_allows() -> None:
    world = world_with_calls(2_000)
    world.publish("alert", {"title": "t", "message": "m"})
    peer = world.live()
    peer.send("snapshot")
    for _ in range(3):
        world.clock.step()
    peer.client.renew(replace(peer.client.principal, queues=frozenset()))
    (snapshot,) = peer.read("snapshot")
    assert snapshot["payload"]["events"] == []


def test_a_change_of_the_subscription_follows_the_snapshot() -> None:
    world = world_with_calls(2_000)
    peer = world.live()
    peer.send("snapshot")
    for _ in range(3):
        world.clock.step()
    peer.send("subscribe", {"events": ["agent.*"]})
    snapshot, subscribed = peer.read()
    assert len(snapshot["payload"]["events"]) == 2_000
    assert subscribed["type"] == "subscribed"


def test_a_large_snapshot_of_some_queues() -> None:
    world = world_with_calls(2_000)
    world.publish("queue.stats", {"queue_name": "sales"})
    peer = world.live()
    peer.request("subscribe", {"queues": ["sales"]})
    (snapshot,) = peer.request("snapshot")
    assert [event["type"] for event in snapshot["payload"]["events"]] == ["queue.stats"]


def test_events_published_while_a_snapshot_is_prepared_follow_it() -> None:
    world = world_with_calls(2_000)
    peer = world.connect(options=ConnectOptions(snapshot=True))
    for _ in range(4):
        world.clock.step()
    world.publish_alerts(3)
    types = peer.types()
    assert types[:2] == ["welcome", "snapshot"]
    assert types[2:] == ["alert"] * 3


def test_a_client_that_is_closed_while_its_snapshot_is_prepared_is_sent_nothing() -> None:
    world = world_with_calls(2_000)
    peer = world.live()
    peer.send("snapshot")
    world.clock.step()
    world.clock.step()
    world.hub.disconnect_user("acme", peer.client.principal.user_id)
    assert peer.read() == []


def test_a_waiting_snapshot_counts_as_one_message() -> None:
    world = world_with_calls(2_000)
    peer = world.live()
    peer.send("snapshot")
    world.turn()
    fragments = [ControlFrame(frame) for frame in split_frames(peer.written)]
    assert len(fragments) > 5
    delivered = world.hub.counters.delivered
    peer.client.pause()
    peer.client.send_message(fragments)
    assert peer.client.outbox.room == world.limits.outbox - 1
    world.publish_alerts(world.limits.outbox - 1)
    assert not peer.client.lagging
    peer.client.drained()
    world.turn()
    assert world.hub.counters.delivered == delivered + world.limits.outbox
    assert peer.client.outbox.room == world.limits.outbox


def test_snapshots_at_different_positions_share_what_has_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_with_calls()
    peers = [world.live() for _ in range(3)]
    frames = Frames(monkeypatch, *peers)
    peers[0].send("snapshot")
    world.turn()
    # One call in the middle changes, one ends, and one is new.
    world.publish("call.ringing", {"unique_id": "c900", "agent_id": "a"})
    world.publish("call.ended", {"unique_id": "c100", "duration": 1})
    world.publish("call.incoming", {"unique_id": "new", "caller_id": "1", "destination": "2"})
    world.turn()
    peers[1].send("snapshot")
    world.turn()
    world.clock.advance(30)
    peers[2].send("snapshot")
    world.turn()
    first, second, third = (events_in(frames_)["payload"]["events"] for frames_ in frames.of)
    shared = {id(frame) for frame in frames.of[0]} & {id(frame) for frame in frames.of[1]}
    assert len(frames.of[0]) - len(shared) <= 2 + 2 + 1  # head and end, the changed parts, and the last one
    ids = [event["payload"]["unique_id"] for event in second]
    assert ids == [*(f"c{number}" for number in range(CALLS) if number != 100), "c900", "new"]
    assert [event["seq"] for event in second] == sorted(event["seq"] for event in second)
    assert len(first) == CALLS and third == second


def test_many_changes_do_not_leave_ever_smaller_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_with_calls()
    peer = world.live()
    sizes = []
    for begin in range(0, 300, 3):
        frames: list[bytes] = []
        monkeypatch.setattr(peer, "write_frames", frames.extend)
        for number in range(begin, CALLS, 300):
            world.publish("call.ended", {"unique_id": f"c{number}", "duration": 1})
            call = {"caller_id": "1", "destination": "2", "variables": {"note": "x" * 200}}
            world.publish("call.incoming", {"unique_id": f"n{number}", **call})
        world.clock.advance(1)
        peer.send("snapshot")
        world.turn()
        assert len(events_in(frames)["payload"]["events"]) == CALLS
        sizes.append(sum(map(len, frames)) / len(frames))
    assert min(sizes) > FRAGMENT_BYTES / 6


def test_clients_that_ask_at_different_positions_meanwhile_share_the_next_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = world_with_calls(5_000)
    peers = [world.live() for _ in range(10)]
    frames = Frames(monkeypatch, *peers)
    peers[0].send("snapshot")
    for _ in range(3):
        world.clock.step()
    for peer in peers[1:]:
        world.publish_alerts(1)
        peer.send("snapshot")
        world.clock.step()
        world.clock.step()
    world.turn()
    seqs = [events_in(mine)["payload"]["seq"] for mine in frames.of]
    assert len(set(seqs)) <= 3
    assert all(len(events_in(mine)["payload"]["events"]) == 5_000 for mine in frames.of)


def test_cached_parts_are_evicted() -> None:
    clock = FakeClock()
    cache = PartCache(clock)
    large = Part(array("Q", [1]), b"", 9, ControlFrame(b"x" * 30_000_000))
    for name in "abc":
        cache.keep(name, [large])
    assert cache.get("a") == () and cache.get("c") == [large]
    assert cache.bytes == 60_000_000
    clock.advance(CACHED_SECONDS - 1)
    cache.keep("c", [large])
    clock.advance(2)
    assert cache.get("b") == () and cache.get("c") == [large]
    clock.advance(2 * CACHED_SECONDS)
    assert cache.bytes == 0 and cache.get("c") == ()
