"""Parses the header of the PROXY protocol, versions 1 and 2, with which a proxy says whom it has a connection from.

The specification is https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt. The parser of Twisted
(``twisted.protocols.haproxy``, 26.10) is not used: it refuses a header whose first 16 bytes come in two segments,
raises other exceptions than it documents for malformed ports, has no time limit, and passes every later byte of the
connection through one more object.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

MAX_LINE_BYTES = 107
"""The longest header of version 1, with its line end (section 2.1)."""

MAX_V2_BYTES = 4_096
"""The longest header of version 2 that is read: addresses have at most 232 bytes, the rest are TLVs."""

_V1 = b"PROXY "
_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_FIXED = struct.Struct("!12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
# The address family and the transport; every other one is a kind of connection that the gateway does not have.
_TCP4, _TCP6 = 0x11, 0x21
_V1_TCP: dict[bytes, type[IPv4Address] | type[IPv6Address]] = {b"TCP4": IPv4Address, b"TCP6": IPv6Address}


class MalformedHeader(Exception):
    """The bytes are not a header of the PROXY protocol; the text says why, without the bytes."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A parsed header.

    Attributes:
        size: its number of bytes.
        host, port: the client's address; None if the connection is the proxy's own, as that of a health check
            (``LOCAL``), or if the proxy does not know it (``UNKNOWN``).
    """

    size: int
    host: str | None = None
    port: int = 0


def parse_header(data: bytes) -> ProxyHeader | None:
    """Parse the header at the beginning of ``data``; return None while it is incomplete.

    Raises:
        MalformedHeader: ``data`` does not begin with a header, or the header is longer than the maximum.
    """
    if data[: len(_V2)] == _V2[: len(data)]:
        return _parse_v2(data)
    if data[: len(_V1)] == _V1[: len(data)]:
        return _parse_v1(data)
    raise MalformedHeader("it does not begin with a header of the PROXY protocol")


def _parse_v1(data: bytes) -> ProxyHeader | None:
    line, end, _ = data[:MAX_LINE_BYTES].partition(b"\r\n")
    if not end:
        if len(data) >= MAX_LINE_BYTES:
            raise MalformedHeader(f"the line of the PROXY protocol has more than {MAX_LINE_BYTES} bytes")
        return None
    size = len(line) + len(end)
    # What follows UNKNOWN must be ignored.
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return ProxyHeader(size)
    try:
        _, family, source, target, source_port, target_port = line.split(b" ")
        if b"%" in source:  # a zone is a name of the proxy's own interface
            raise ValueError
        address = _V1_TCP[family](source.decode("ascii"))
        _V1_TCP[family](target.decode("ascii"))
        _port(target_port)
        return ProxyHeader(size, _usual_host(address), _port(source_port))
    except (KeyError, ValueError):
        raise MalformedHeader("the line of the PROXY protocol is malformed") from None


def _port(digits: bytes) -> int:
    if not (digits.isdigit() and len(digits) <= 5 and int(digits) <= 65_535):
        raise ValueError
    return int(digits)


def _parse_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_FIXED.size:
        return None
    _, command, family, length = _V2_FIXED.unpack_from(data)
    size = _V2_FIXED.size + length
    if command not in (_LOCAL, _PROXY):
        raise MalformedHeader("the header has another version or command than those of the PROXY protocol 2")
    if size > MAX_V2_BYTES:
        raise MalformedHeader(f"the header of the PROXY protocol has {size} bytes, more than {MAX_V2_BYTES}")
    if len(data) < size:
        return None
    if command == _LOCAL or family not in (_TCP4, _TCP6):
        return ProxyHeader(size)
    layout = "!4s4sHH" if family == _TCP4 else "!16s16sHH"
    if length < struct.calcsize(layout):
        raise MalformedHeader("the header of the PROXY protocol is too short for its addresses")
    source, _, port, _ = struct.unpack_from(layout, data, _V2_FIXED.size)
    return ProxyHeader(size, _usual_host(IPv4Address(source) if family == _TCP4 else IPv6Address(source)), port)


def _usual_host(address: IPv4Address | IPv6Address) -> str:
    """Return an address as the operating system spells that of a peer; IPv4-mapped IPv6 as IPv4."""
    return str(getattr(address, "ipv4_mapped", None) or address)
