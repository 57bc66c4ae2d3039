"""A request gets the same answer whether it is read at the entrance or by twisted.web."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ws_world import KEY, STAFF_PAGE, World, request

from callcenter_ws.runtime.http_head import MAX_FIELDS, read_plain_head

TOKEN = "Bearer good:agent:acme:u1"
PLAIN = request(Authorization=TOKEN)


def answers(raw: bytes) -> tuple[bytes, bytes]:
    """What a peer gets for ``raw`` in one segment, and in two."""
    return said(raw), said(raw[:3], raw[3:])


def said(*pieces: bytes) -> bytes:
    world = World()
    peer = world.peer()
    for piece in pieces:
        peer.feed(piece)
    if not peer.wire.value():
        return b"closed" if peer.wire.disconnecting or peer.wire.aborted else b"silence"
    head = peer.wire.value().partition(b"\r\n\r\n")[0]
    return re.sub(rb"\r\nDate: [^\r]*", b"", head)


def with_header(name: bytes, value: bytes) -> bytes:
    return PLAIN[:-2] + name + b":" + value + b"\r\n\r\n"


def test_the_usual_is_read_at_the_entrance() -> None:
    assert read_plain_head(PLAIN) is not None
    whole, split = answers(PLAIN)
    assert whole == split
    assert whole.startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    "raw",
    [
        request(),
        request(Authorization="Bearer forged"),
        request(Authorization=TOKEN, Origin=STAFF_PAGE),
        request(Authorization=TOKEN, Origin="https://evil.example"),
        request(Authorization=TOKEN, drop=("Host",)),
        request(Authorization=TOKEN, drop=("Upgrade",)),
        request(Authorization=TOKEN, drop=("Sec-WebSocket-Key",)),
        request(Authorization=TOKEN, Connection="keep-alive, Upgrade"),
        request(Authorization=TOKEN, version="1.0"),
        request(Authorization=TOKEN, method="POST"),
        request(Authorization=TOKEN, method="get"),
        request("/ws/", Authorization=TOKEN),
        request("/%77s", Authorization=TOKEN),
        request("//ws", Authorization=TOKEN),
        request("/ws#x", Authorization=TOKEN),
        request("/ws?tenant_id=other", Authorization=TOKEN),
        request("/ws?epoch=1", Authorization=TOKEN),
        request("/ws/public", Authorization=TOKEN),
        request("/ws/other", Authorization=TOKEN),
        request("http://gateway.example/ws", Authorization=TOKEN),
        request(Cookie="session=good:agent:acme:u1", Origin=STAFF_PAGE),
        request(Cookie='a=b; session="good:agent:acme:u1"', Origin=STAFF_PAGE),
        request(Cookie=" session = good:agent:acme:u1 ;x", Origin=STAFF_PAGE),
        request(Cookie="session=forged; session=good:agent:acme:u1", Origin=STAFF_PAGE),
        with_header(b"Authorization", b"Bearer other"),
        with_header(b"Origin", b" https://evil.example"),
        with_header(b"Sec-WebSocket-Key", KEY.encode()),
        with_header(b"Content-Length", b" 0"),
        with_header(b"Content-Length", b" 5"),
        with_header(b"Transfer-Encoding", b" chunked"),
        with_header(b"Expect", b" 100-continue"),
        with_header(b"X", b" \x85"),
        with_header(b"X", b" \x00"),
        with_header(b"X ", b" y"),
        with_header(b"", b" y"),
        with_header(b"X", b" y\r\n folded"),
        with_header(b"X", b" y\nZ: z"),
        with_header(b"X", b"\t y \t"),
        with_header(b"Upgrade", b" h2c"),
        with_header(b"X", b" " + b"y" * 20_000),
        with_header(b"X", b" y\r\nX: y" * MAX_FIELDS),
        with_header(b"X", b" y\r\nX: y" * 600),
        PLAIN.replace(b"\r\n", b"\n"),
        b"\r\n" + PLAIN,
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.1 "),
        PLAIN.replace(b" /ws ", b"  /ws "),
    ],
    ids=lambda raw: repr(raw.replace(PLAIN[:-2], b"...")[:50]),
)
def test_what_is_unusual_gets_the_same_answer(raw: bytes) -> None:
    whole, split = answers(raw)
    assert whole == split


names = st.sampled_from([b"Origin", b"Cookie", b"Upgrade", b"Connection", b"X-Y", b"Sec-WebSocket-Protocol", b"Host"])
values = st.binary(max_size=12) | st.sampled_from([b" callcenter.v1", b" session=x", b" bearer.x, callcenter.v1"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(names, values), max_size=4))
def test_nor_does_any_other_header_make_a_difference(fields: list[tuple[bytes, bytes]]) -> None:
    raw = PLAIN[:-2] + b"".join(b"%b:%b\r\n" % field for field in fields) + b"\r\n"
    whole, split = answers(raw)
    assert whole == split
