"""Compressed messages on a connection, in both directions."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from ws_world import CLOSE, CONTINUATION, PING, TEXT, Peer, WebSocketWorld, encode, request

from callcenter_ws.errors import CloseCode
from callcenter_ws.events.frames import frame_payload

OFFER = "permessage-deflate; client_max_window_bits"
LONG = {"title": "t", "message": "m" * 1_000}


def compressed(message: bytes) -> bytes:
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    return (compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def deflating_client(world: WebSocketWorld) -> Peer:
    return world.client(Sec_WebSocket_Extensions=OFFER)


def test_it_is_negotiated_if_the_client_offers_it(world: WebSocketWorld) -> None:
    answer = world.peer().ask(
        request(Authorization="Bearer agent:acme:u1", Sec_WebSocket_Extensions=f"x-other, {OFFER}")
    )
    assert answer.headers["sec-websocket-extensions"] == (
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    )
    other = world.peer().ask(request(Authorization="Bearer agent:acme:u1"))
    assert "sec-websocket-extensions" not in other.headers


def test_it_is_not_negotiated_if_disabled(world: WebSocketWorld) -> None:
    world.factory.context.deflater = None
    peer = world.peer()
    answer = peer.ask(request(Authorization="Bearer agent:acme:u1", Sec_WebSocket_Extensions=OFFER))
    assert "sec-websocket-extensions" not in answer.headers
    peer.feed(encode(TEXT, compressed(b"{}"), rsv=4))
    assert peer.only_close() == CloseCode.PROTOCOL_ERROR


def test_a_long_event_is_compressed_in_a_frame_of_its_own(world: WebSocketWorld) -> None:
    peer = deflating_client(world)
    world.publish(payload=LONG)
    sent = peer.transport.value()
    assert sent[0] == 0xC1 and len(sent) < 400
    said = zlib.decompressobj(-12).decompress(frame_payload(sent) + b"\x00\x00\xff\xff")
    assert said.startswith(b'{"type":"alert"') and said.endswith(b"}}")


def test_a_short_event_is_not_compressed(world: WebSocketWorld) -> None:
    peer = deflating_client(world)
    world.publish()
    assert [message["type"] for message in peer.messages()] == ["alert"]


def ping(id_: str) -> bytes:
    return b'{"type":"ping","id":"%b","payload":{}}' % id_.encode()


@pytest.mark.parametrize("cut", [0, 1, 10, None])
def test_a_client_may_compress_any_message(world: WebSocketWorld, cut: int | None) -> None:
    peer = deflating_client(world)
    data = compressed(ping("a"))
    frames = encode(TEXT, data[:cut], rsv=4, fin=False) + encode(PING, b"x") + encode(CONTINUATION, data[cut:])
    if cut is None:
        frames = encode(TEXT, data, rsv=4)
    for piece in (frames, encode(TEXT, ping("b")), encode(TEXT, compressed(ping("c")), rsv=4)):
        peer.feed(piece)
    replies = [frame.json for frame in peer.take() if frame.opcode == TEXT]
    assert [reply["in_reply_to"] for reply in replies] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param(encode(TEXT, b"\xff\xff\xff", rsv=4), CloseCode.INVALID_PAYLOAD, id="garbage"),
        pytest.param(encode(TEXT, compressed(b"\xff\xfe"), rsv=4), CloseCode.INVALID_PAYLOAD, id="not UTF-8"),
        pytest.param(encode(TEXT, compressed(bytes(600_000)), rsv=4), CloseCode.TOO_LARGE, id="a bomb"),
        pytest.param(encode(TEXT, compressed(bytes(200_000_000)), rsv=4), CloseCode.TOO_LARGE, id="a large bomb"),
        pytest.param(
            encode(TEXT, compressed(bytes(600_000))[:300], rsv=4, fin=False)
            + encode(CONTINUATION, compressed(bytes(600_000))[300:]),
            CloseCode.TOO_LARGE,
            id="a bomb over fragments",
        ),
        pytest.param(encode(PING, compressed(b"x"), rsv=4), CloseCode.PROTOCOL_ERROR, id="a compressed ping"),
        pytest.param(
            encode(TEXT, b"", fin=False) + encode(CONTINUATION, b"", rsv=4),
            CloseCode.PROTOCOL_ERROR,
            id="a compressed continuation",
        ),
    ],
)
def test_the_close_code_reports_invalid_compressed_data(world: WebSocketWorld, frames: bytes, code: CloseCode) -> None:
    peer = deflating_client(world)
    peer.feed(frames)
    assert peer.only_close() == code


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param(encode(TEXT, compressed(ping("a") * 9)[:5], rsv=4), id="incomplete data"),
        pytest.param(encode(TEXT, compressed(b'"\xe2'), rsv=4), id="ends within a character"),
        pytest.param(encode(TEXT, b'"\xe2'), id="ends within a character, not compressed"),
    ],
)
def test_what_follows_a_refused_end_is_read_up_to_the_close_frame(world: WebSocketWorld, refused: bytes) -> None:
    peer = deflating_client(world)
    peer.feed(refused)
    assert peer.only_close() == CloseCode.INVALID_PAYLOAD
    for frame in (encode(TEXT, b"{}"), encode(PING, b"x"), encode(TEXT, compressed(b"{}"), rsv=4)):
        peer.feed(frame)
    assert not peer.transport.disconnecting
    peer.feed(encode(CLOSE, b"\x03\xe8"))
    assert peer.transport.disconnecting
    assert peer.take() == []


def test_decompression_is_limited_before_authentication(world: WebSocketWorld) -> None:
    peer = world.peer()
    answer = peer.ask(request(Sec_WebSocket_Protocol="callcenter.v1", Sec_WebSocket_Extensions=OFFER))
    assert answer.status == 101
    peer.feed(encode(TEXT, compressed(b" " * 100_000), rsv=4))
    assert peer.only_close() == CloseCode.TOO_LARGE


def test_the_auth_message_may_be_compressed(world: WebSocketWorld) -> None:
    peer = world.peer()
    peer.ask(request(Sec_WebSocket_Protocol="callcenter.v1", Sec_WebSocket_Extensions=OFFER))
    frame = encode(TEXT, compressed(b'{"type":"auth","payload":{"token":"agent:acme:u1"}}'), rsv=4)
    peer.feed(frame)
    world.publish(payload=LONG)
    stream: Any = peer.transport.value()
    assert b'"welcome"' in stream and b"\xc1" in stream


def test_an_idle_connection_holds_no_decompressor(world: WebSocketWorld) -> None:
    peer = deflating_client(world)
    peer.feed(encode(TEXT, compressed(ping("a")), rsv=4))
    extension = peer.transport.protocol._perMessageCompress
    assert extension._inflate is None
