"""A request gets the same response from the fast handshake path and from twisted.web."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ws_world import KEY, STAFF_PAGE, WebSocketWorld, request

from callcenter_ws.runtime.http_head import MAX_FIELDS, parse_simple_head

TOKEN = "Bearer agent:acme:u1"
PLAIN = request(Authorization=TOKEN)


def responses(raw: bytes) -> tuple[bytes, bytes]:
    """Return the responses to ``raw`` in one segment, and in two."""
    return response(raw), response(raw[:3], raw[3:])


def response(*pieces: bytes) -> bytes:
    world = WebSocketWorld()
    peer = world.peer()
    for piece in pieces:
        peer.feed(piece)
    if not peer.transport.value():
        return b"closed" if peer.transport.disconnecting or peer.transport.aborted else b"silence"
    head = peer.transport.value().partition(b"\r\n\r\n")[0]
    return re.sub(rb"\r\nDate: [^\r]*", b"", head)


def with_header(name: bytes, value: bytes) -> bytes:
    return PLAIN[:-2] + name + b":" + value + b"\r\n\r\n"


def test_a_usual_handshake_is_parsed_by_the_fast_path() -> None:
    assert parse_simple_head(PLAIN) is not None
    whole, split = responses(PLAIN)
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
        request(Cookie="session=agent:acme:u1", Origin=STAFF_PAGE),
        request(Cookie='a=b; session="agent:acme:u1"', Origin=STAFF_PAGE),
        request(Cookie=" session = agent:acme:u1 ;x", Origin=STAFF_PAGE),
        request(Cookie="session=forged; session=agent:acme:u1", Origin=STAFF_PAGE),
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
def test_an_unusual_request_gets_the_same_response(raw: bytes) -> None:
    whole, split = responses(raw)
    assert whole == split


names = st.sampled_from([b"Origin", b"Cookie", b"Upgrade", b"Connection", b"X-Y", b"Sec-WebSocket-Protocol", b"Host"])
values = st.binary(max_size=12) | st.sampled_from([b" callcenter.v1", b" session=x", b" bearer.x, callcenter.v1"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(names, values), max_size=4))
def test_any_header_gets_the_same_response(fields: list[tuple[bytes, bytes]]) -> None:
    raw = PLAIN[:-2] + b"".join(b"%b:%b\r\n" % field for field in fields) + b"\r\n"
    whole, split = responses(raw)
    assert whole == split
