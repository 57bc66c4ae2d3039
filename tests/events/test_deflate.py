"""Compressed frames: each can be inflated by itself, and the clients of a view share it."""

from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_events import event
from world import World, types_of

from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.events.deflate import WINDOW_BITS, Deflater
from callcenter_ws.events.frames import PLAIN, frame_payload, text_frame
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.redaction import View


def inflated(frame: bytes, bits: int = WINDOW_BITS) -> bytes:
    """Return the payload that a client without context takeover reads (RFC 7692 section 7.2.2)."""
    payload = frame_payload(frame)
    return zlib.decompressobj(-bits).decompress(payload + b"\x00\x00\xff\xff") if frame[0] & 0x40 else payload


@given(st.text(), st.sampled_from([1, 3, 40, 2_000]), st.integers(1, 9), st.integers(0, 600))
def test_an_inflated_frame_has_the_original_payload(text: str, times: int, level: int, threshold: int) -> None:
    payload = json.dumps(text * times).encode()
    frame = text_frame(payload)
    sent = Deflater(level, threshold).deflated(frame)
    assert inflated(sent) == payload
    assert len(sent) <= len(frame)
    assert len(payload) >= threshold or sent is frame


@pytest.mark.parametrize("size", [10, 300, 70_000, 3_000_000])
def test_a_frame_of_any_size_is_compressed_into_one_frame(size: int) -> None:
    payload = (b"%d," * size % tuple(range(size)))[:size] if size < 100_000 else b"abc" * (size // 3)
    assert inflated(Deflater(threshold=0).deflated(text_frame(payload))) == payload


def test_a_publication_is_compressed_once_for_each_view() -> None:
    deflater = Deflater(threshold=0)
    message = Publication(event("call.incoming", {"variables": {"x": "y" * 500}}), 1)
    frames = [message.frame(wire_format) for wire_format in deflater.wire_formats]
    assert frames == [message.frame(wire_format) for wire_format in deflater.wire_formats]
    assert all(
        message.frame(wire_format) is frame for wire_format, frame in zip(deflater.wire_formats, frames, strict=True)
    )
    for view, frame in zip(View, frames, strict=True):
        assert frame[0] == 0xC1
        assert inflated(frame) == message.body(view)


def test_clients_without_compression_are_sent_plain_frames_beside_those_with_it() -> None:
    world = World()
    deflater = Deflater(threshold=0)
    plain, compressed, other = (
        world.live(user_id="ada"),
        world.live(user_id="bob", wire_formats=deflater.wire_formats),
        world.live(user_id="eve", wire_formats=deflater.wire_formats),
    )
    world.publish("alert", {"title": "t", "message": "m" * 500})
    world.turn()
    assert compressed.latest is other.latest
    assert compressed.latest[0] == 0xC1 and plain.latest[0] == 0x81
    assert inflated(compressed.latest) == frame_payload(plain.latest)
    assert len(compressed.latest) < len(plain.latest) / 4


def test_replays_and_snapshots_are_compressed() -> None:
    world = World()
    wire_formats = Deflater(threshold=0).wire_formats
    for name in "abc":
        world.publish("agent.login", {"user_id": name, "username": "x" * 400})
    world.turn()
    replay, snapshot = ConnectOptions(world.epoch, 1), ConnectOptions(snapshot=True)
    for options, type_ in ((replay, "agent.login"), (snapshot, "snapshot")):
        peer = world.connect(options=options, wire_formats=wire_formats)
        world.turn()
        frames = split(peer.written)
        messages = [json.loads(inflated(frame)) for frame in frames]
        assert frames[types_of(messages).index(type_)][0] == 0xC1


def split(stream: bytes) -> list[bytes]:
    """Return the frames of a stream of unmasked frames (RFC 6455 section 5.2)."""
    frames, offset = [], 0
    while offset < len(stream):
        head = {126: 4, 127: 10}.get(stream[offset + 1], 2)
        size = stream[offset + 1] if head == 2 else int.from_bytes(stream[offset + 2 : offset + head], "big")
        frames.append(stream[offset : offset + head + size])
        offset += head + size
    return frames


def test_the_memory_of_a_publication_covers_its_frames() -> None:
    publication = Publication(event("call.hold", {"note": "x" * 100_000}), 1)
    frames = {id(frame): len(frame) for view in View for frame in map(publication.frame, (PLAIN[view], DEFLATED[view]))}
    assert publication.memory >= len(publication.event.payload) + sum(frames.values())


DEFLATED = Deflater().wire_formats
