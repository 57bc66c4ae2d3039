"""Actions of the manager interface: what is sent to the exchange, and the ids by which its answers are known."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

MAX_LINE_BYTES = 1_022
"""The longest line that Asterisk reads, without its end (``inbuf`` in main/manager.c)."""

_FORBIDDEN = re.compile("[\r\n\0]")


class InvalidValueError(ValueError):
    """A value cannot be sent: it would end its line, or is too long. The text names the header, not the value."""


def encode_action(name: str, action_id: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """Return an action as it is sent.

    Raises:
        InvalidValueError: a name or a value holds CR, LF or NUL, or its line is too long.
    """
    lines = []
    for header, value in (("Action", name), ("ActionID", action_id), *headers):
        if _FORBIDDEN.search(header) or _FORBIDDEN.search(value) or ":" in header:
            raise InvalidValueError(f"{header!r} holds a line break or a NUL character")
        line = f"{header}: {value}".encode()
        if len(line) > MAX_LINE_BYTES:
            raise InvalidValueError(f"{header} is longer than the {MAX_LINE_BYTES} bytes that Asterisk reads")
        lines.append(line)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def challenge_key(challenge: str, secret: str) -> str:
    """Return the key that answers a challenge of type MD5."""
    return hashlib.md5(challenge.encode() + secret.encode(), usedforsecurity=False).hexdigest()


class ActionIds:
    """Makes the ids of a connection's actions.

    Args:
        prefix: random, so that no event that carries the ActionID of another client is taken for an answer.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._number = 0

    def next(self) -> str:
        """Return a new id."""
        self._number += 1
        return f"{self._prefix}-{self._number}"
