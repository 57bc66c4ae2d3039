"""Callers: when two caller ids are the same, and which name no caller."""

from __future__ import annotations

import re

_ANONYMOUS = frozenset(
    {"anonymous", "unknown", "withheld", "private", "restricted", "unavailable", "blocked", "id unavailable", "s"}
)
"""What exchanges and carriers send in place of a number that the caller withheld; ``s``: Asterisk's start extension."""

_SEPARATORS = re.compile(r"[\s().\-/]+")
_NUMBER = re.compile(r"\+?[0-9*#]+")


def digits_of(text: str | None) -> str:
    """Return the digits of a text."""
    return "" if text is None else "".join([character for character in text if "0" <= character <= "9"])


def caller_key(caller_id: str | None) -> str | None:
    """Return the text by which calls of one caller are found; None: no caller is named.

    A number is compared without the spaces and hyphens in it, any other id without regard to case.
    """
    if caller_id is None:
        return None
    plain = caller_id.strip().strip("<>").strip().casefold()
    if not plain or plain in _ANONYMOUS:
        return None
    number = _SEPARATORS.sub("", plain)
    if _NUMBER.fullmatch(number):
        return number if digits_of(number).strip("0") else None
    return plain
