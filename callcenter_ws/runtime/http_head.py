"""What an HTTP request says before its body (RFC 9112 section 3), as far as opening a WebSocket needs it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

MAX_BYTES = 16_384
MAX_FIELDS = 100
"""More are not usual."""

_PLAIN = re.compile(rb"GET (/[!-~]*) (HTTP/1\.1)\r\n((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n)+)\r\n")
"""Each byte can be matched in one way only, so that the time it takes grows with the length and no faster."""

_OF_BODIES = (b"content-length", b"transfer-encoding", b"expect", b"trailer")


class Head(NamedTuple):
    """The head of a request.

    Attributes:
        uri: the path, with the query.
        fields: the values of each header, in order, by its name in lower case.
    """

    method: bytes
    uri: bytes
    version: bytes
    fields: Mapping[bytes, Sequence[bytes]]

    @property
    def path(self) -> bytes:
        """The URI without its query, as it came: nothing is decoded."""
        return self.uri.partition(b"?")[0]

    def values(self, name: bytes) -> Sequence[bytes]:
        """What the headers of that name hold; ``name`` in lower case."""
        return self.fields.get(name, ())

    def cookie(self, name: bytes) -> bytes | None:
        """The value of a cookie; of several the last (RFC 6265 section 5.4 leaves that open)."""
        found = None
        for pair in b";".join(self.values(b"cookie")).split(b";"):
            key, equals, value = pair.partition(b"=")
            if equals and key.strip() == name:
                found = value.strip()
        return found


def read_plain_head(data: bytes) -> Head | None:
    """Return the head that ``data`` is, if it is whole, of the usual shape, without a body and with nothing behind it.

    None says nothing against the request: whoever is to judge it has to parse it fully.
    """
    if len(data) > MAX_BYTES:
        return None
    found = _PLAIN.fullmatch(data)
    if found is None:
        return None
    fields: dict[bytes, list[bytes]] = {}
    lines = found[3].split(b"\r\n")[:-1]
    if len(lines) > MAX_FIELDS:
        return None
    for line in lines:
        name, _, value = line.partition(b":")
        fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
    if b"host" not in fields or any(name in fields for name in _OF_BODIES):
        return None
    return Head(b"GET", found[1], found[2], fields)
