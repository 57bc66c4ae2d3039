"""The forms of a request target (RFC 9112 section 3.2)."""

from __future__ import annotations

import re
from typing import NamedTuple

from callcenter_ws.errors import ErrorCode, Refusal

SERVER = b"*"
"""The target of a request about the server as a whole."""

_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)([/?].*)?", re.IGNORECASE | re.DOTALL)


class RequestTarget(NamedTuple):
    """What a request asks for.

    Attributes:
        uri: the path with the query, or ``SERVER``.
        host: the host that the target names, which replaces the ``Host`` header; None if it names none.
    """

    uri: bytes
    host: bytes | None = None


def read_target(raw: bytes) -> RequestTarget:
    """Return what the target of a request line names.

    The host of the absolute form is not checked, as that of the ``Host`` header is not: the gateway has one site.

    Raises:
        Refusal: ``invalid_message`` for the form of ``CONNECT``, and for what has no form.
    """
    if raw.startswith(b"/") or raw == SERVER:
        return RequestTarget(raw)
    match = _ABSOLUTE.fullmatch(raw)
    if match is None:
        raise Refusal(ErrorCode.INVALID_MESSAGE, "the request target must be a path that starts with /")
    host, rest = match[1], match[2] or b"/"
    return RequestTarget(rest if rest.startswith(b"/") else b"/" + rest, host)
