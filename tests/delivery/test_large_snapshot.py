"""Large snapshots: prepared in slices, shared between clients as objects, sent as one message in several frames."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from world import Peer, World

from callcenter_ws.delivery.snapshot_cache import EVENTS_PER_STEP, FRAGMENT_BYTES
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.events.deflate import Deflater
from callcenter_ws.events.frames import ControlFrame, frame_payload
from callcenter_ws.events.principal import Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.slicer import STEPS_PER_TURN

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
