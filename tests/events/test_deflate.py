"""Compressed frames: each can be read by itself, and all who may read it share it."""

from __future__ import annotations

import json
import zlib

import pytest
from core_stage import Stage
from core_world import event
from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.events.deflate import WINDOW_BITS, Deflater
from callcenter_ws.events.frames import PLAIN, frame_payload, text_frame
from callcenter_ws.events.principal import View
from callcenter_ws.events.publication import Publication


def inflated(frame: bytes, bits: int = WINDOW_BITS) -> bytes:
    """What a client reads that begins anew with each message."""
    payload = frame_payload(frame)
    return zlib.decompressobj(-bits).decompress(payload + b"\x00\x00\xff\xff") if frame[0] & 0x40 else payload


@given(st.text(), st.sampled_from([1, 3, 40, 2_000]), st.integers(1, 9), st.integers(0, 600))
def test_what_is_read_is_what_was_said(text: str, times: int, level: int, threshold: int) -> None:
    said = json.dumps(text * times).encode()
    frame = text_frame(said)
    sent = Deflater(level, threshold).deflated(frame)
    assert inflated(sent) == said
    assert len(sent) <= len(frame)
    assert len(said) >= threshold or sent is frame


@pytest.mark.parametrize("size", [10, 300, 70_000, 3_000_000])
def test_a_frame_of_any_size_is_one(size: int) -> None:
    said = (b"%d," * size % tuple(range(size)))[:size] if size < 100_000 else b"abc" * (size // 3)
    assert inflated(Deflater(threshold=0).deflated(text_frame(said))) == said


def test_a_message_is_compressed_once_for_each_view() -> None:
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


def test_who_did_not_ask_is_sent_plain_frames_beside_who_did() -> None:
    stage = Stage()
    deflater = Deflater(threshold=0)
    plain, squeezed, other = (
        stage.live(user_id="ada"),
        stage.live(user_id="bob", wire_formats=deflater.wire_formats),
        stage.live(user_id="eve", wire_formats=deflater.wire_formats),
    )
    stage.publish("alert", {"title": "t", "message": "m" * 500})
    stage.settle()
    assert squeezed.latest is other.latest
    assert squeezed.latest[0] == 0xC1 and plain.latest[0] == 0x81
    assert inflated(squeezed.latest) == frame_payload(plain.latest)
    assert len(squeezed.latest) < len(plain.latest) / 4


def test_replay_and_snapshot_are_compressed_too() -> None:
    stage = Stage()
    wire_formats = Deflater(threshold=0).wire_formats
    for name in "abc":
        stage.publish("agent.login", {"user_id": name, "username": "x" * 400})
    stage.settle()
    for options, kind in ((ConnectOptions(stage.epoch, 1), "agent.login"), (ConnectOptions(snapshot=True), "snapshot")):
        socket = stage.connect(options=options, wire_formats=wire_formats)
        stage.settle()
        frames = split(socket.written)
        said = [json.loads(inflated(frame)) for frame in frames]
        assert next(frame[0] for frame, told in zip(frames, said, strict=True) if told["type"] == kind) == 0xC1
        assert kind in [told["type"] for told in said]


def split(stream: bytes) -> list[bytes]:
    frames, at = [], 0
    while at < len(stream):
        head = {126: 4, 127: 10}.get(stream[at + 1], 2)
        size = stream[at + 1] if head == 2 else int.from_bytes(stream[at + 2 : at + head], "big")
        frames.append(stream[at : at + head + size])
        at += head + size
    return frames


def test_a_message_never_takes_more_than_was_counted() -> None:
    message = Publication(event("call.hold", {"note": "x" * 100_000}), 1)
    frames = {id(frame): len(frame) for view in View for frame in map(message.frame, (PLAIN[view], FORMS[view]))}
    assert message.memory >= len(message.event.payload) + sum(frames.values())


FORMS = Deflater().wire_formats
