"""The head of an HTTP request (RFC 9112 sections 3 and 5), as far as a WebSocket handshake needs it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

MAX_BYTES = 16_384
MAX_FIELDS = 100
"""Limits of ``parse_simple_head``; twisted.web has limits of its own."""

_SIMPLE = re.compile(rb"GET (/[!-~]*) (HTTP/1\.1)\r\n((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n)+)\r\n")
"""Each byte matches in one way only: the time is linear in the length."""

_BODY_HEADERS = (b"content-length", b"transfer-encoding", b"expect", b"trailer")


_MALFORMED_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def is_percent_encoded(text: bytes) -> bool:
    """Return whether each ``%`` of a part of a URI begins an escape (RFC 3986 section 2.1).

    The parsers of the standard library keep other ones as they are: two spellings would name one identifier.
    """
    return b"%" not in text or _MALFORMED_ESCAPE.search(text) is None


class RequestHead(NamedTuple):
    """The head of a request.

    Attributes:
        uri: the request target: the path with the query.
        fields: the values of each header in order, by the lower-case name.
    """

    method: bytes
    uri: bytes
    version: bytes
    fields: Mapping[bytes, Sequence[bytes]]

    @property
    def path(self) -> bytes:
        """The path of the URI, not percent-decoded."""
        return self.uri.partition(b"?")[0]

    def values(self, name: bytes) -> Sequence[bytes]:
        """Return the values of all headers named ``name`` (lower case)."""
        return self.fields.get(name, ())

    def cookie(self, name: bytes) -> bytes | None:
        """Return the value of a cookie, of several the last (RFC 6265 section 5.4 leaves this open); None if absent."""
        found = None
        for pair in b";".join(self.values(b"cookie")).split(b";"):
            key, equals, value = pair.partition(b"=")
            if equals and key.strip() == name:
                found = value.strip()
        return found


def parse_simple_head(data: bytes) -> RequestHead | None:
    """Parse a GET request of the usual shape that consists of a complete head and nothing else.

    Returns:
        None if ``data`` is anything else. The request may still be valid: a complete HTTP parser must decide.
    """
    if len(data) > MAX_BYTES:
        return None
    match = _SIMPLE.fullmatch(data)
    if match is None:
        return None
    fields: dict[bytes, list[bytes]] = {}
    lines = match[3].split(b"\r\n")[:-1]
    if len(lines) > MAX_FIELDS:
        return None
    for line in lines:
        name, _, value = line.partition(b":")
        fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
    if b"host" not in fields or any(name in fields for name in _BODY_HEADERS):
        return None
    return RequestHead(b"GET", match[1], match[2], fields)
