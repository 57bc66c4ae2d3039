"""The header of the PROXY protocol: https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.runtime.proxy_header import (
    MAX_LINE_BYTES,
    MAX_V2_BYTES,
    MalformedHeader,
    ProxyHeader,
    parse_header,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
TCP4 = socket.inet_aton("203.0.113.7") + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 40_000, 443)
TCP6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7") * 2 + struct.pack("!HH", 40_000, 443)


def v2(addresses: bytes, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(addresses)) + addresses


V1_TCP4 = b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 443\r\n"
HEADERS = {
    "v1 IPv4": (V1_TCP4, "203.0.113.7", 40_000),
    "v1 IPv6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n", "2001:db8::7", 40_000),
    "v1 unusual spelling": (b"PROXY TCP6 2001:0DB8:0:0::7 ::1 1 2\r\n", "2001:db8::7", 1),
    "v1 mapped": (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 1 2\r\n", "203.0.113.7", 1),
    "v1 unknown": (b"PROXY UNKNOWN\r\n", None, 0),
    "v1 unknown with more": (b"PROXY UNKNOWN ff:ff:: ff 65535 65535\r\n", None, 0),
    "v2 IPv4": (v2(TCP4), "203.0.113.7", 40_000),
    "v2 IPv6": (v2(TCP6, family=0x21), "2001:db8::7", 40_000),
    "v2 with TLVs": (v2(TCP4 + b"\x02\x00\x03abc"), "203.0.113.7", 40_000),
    "v2 local": (v2(b"", command=0x20, family=0), None, 0),
    "v2 local with addresses": (v2(TCP4, command=0x20), None, 0),
    "v2 unspecified": (v2(b"", family=0), None, 0),
    "v2 unix": (v2(bytes(216), family=0x31), None, 0),
    "v2 datagrams": (v2(TCP4, family=0x12), None, 0),
    "v2 of the maximum size": (v2(TCP4 + bytes(MAX_V2_BYTES - 28)), "203.0.113.7", 40_000),
}


@pytest.mark.parametrize(("data", "host", "port"), HEADERS.values(), ids=HEADERS)
def test_a_header(data: bytes, host: str | None, port: int) -> None:
    assert parse_header(data) == ProxyHeader(len(data), host, port)
    assert parse_header(data + b"GET / HTTP/1.1\r\n\r\n") == ProxyHeader(len(data), host, port)


@pytest.mark.parametrize("data", [header for header, _, _ in HEADERS.values()], ids=HEADERS)
def test_a_header_in_pieces(data: bytes) -> None:
    assert [parse_header(data[:size]) for size in range(len(data))] == [None] * len(data)


MALFORMED = {
    "HTTP": b"GET / HTTP/1.1\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    "lower case": b"proxy TCP4",
    "no space": b"PROXYTCP4 ",
    "unknown family": b"PROXY TCP5 203.0.113.7 192.0.2.1 40000 443\r\n",
    "unknown-like family": b"PROXY UNKNOWNS\r\n",
    "too few": b"PROXY TCP4 203.0.113.7 192.0.2.1 40000\r\n",
    "too many": b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 443 1\r\n",
    "two spaces": b"PROXY TCP4  203.0.113.7 192.0.2.1 40000 443\r\n",
    "a name": b"PROXY TCP4 localhost 192.0.2.1 40000 443\r\n",
    "another family": b"PROXY TCP4 2001:db8::7 192.0.2.1 40000 443\r\n",
    "a zone": b"PROXY TCP6 fe80::1%eth0 ::1 40000 443\r\n",
    "not ASCII": "PROXY TCP4 \N{FULLWIDTH DIGIT TWO}03.0.113.7 192.0.2.1 40000 443\r\n".encode(),
    "a port too high": b"PROXY TCP4 203.0.113.7 192.0.2.1 65536 443\r\n",
    "a negative port": b"PROXY TCP4 203.0.113.7 192.0.2.1 -1 443\r\n",
    "a long port": b"PROXY TCP4 203.0.113.7 192.0.2.1 0000000001 443\r\n",
    "no port": b"PROXY TCP4 203.0.113.7 192.0.2.1 x 443\r\n",
    "another port malformed": b"PROXY TCP4 203.0.113.7 192.0.2.1 1 x\r\n",
    "an endless line": b"PROXY UNKNOWN " + b"x" * MAX_LINE_BYTES,
    "a line too long": b"PROXY UNKNOWN " + b"x" * MAX_LINE_BYTES + b"\r\n",
    "version 3": SIGNATURE + b"\x31\x11\x00\x0c" + TCP4,
    "another command": SIGNATURE + b"\x22\x11\x00\x0c" + TCP4,
    "a length too large": SIGNATURE + b"\x21\x11\xff\xff",
    "just too large": v2(TCP4 + bytes(MAX_V2_BYTES - 27)),
    "too short for IPv4": v2(TCP4[:11]),
    "too short for IPv6": v2(TCP4, family=0x21),
    "another signature": SIGNATURE[:-1] + b"\r\x21\x11\x00\x00",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed(data: bytes) -> None:
    with pytest.raises(MalformedHeader) as refused:
        parse_header(data)
    assert "203.0.113" not in str(refused.value)


def test_nothing_is_not_malformed() -> None:
    assert parse_header(b"") is None


@given(st.binary(max_size=200), st.sampled_from([b"", b"PROXY TCP4 ", b"PROXY TCP6 ", SIGNATURE, SIGNATURE + b"\x21"]))
def test_garbage_raises_nothing_else(garbage: bytes, prefix: bytes) -> None:
    data = prefix + garbage
    try:
        header = parse_header(data)
    except MalformedHeader:
        return
    assert header is None or header.size <= len(data)
