"""The rules for identifiers of tenants, users, sessions, events and the like, wherever they come from."""

from __future__ import annotations

import re

MAX_ID_LENGTH = 255

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Control characters, line separators, and halves of surrogate pairs, which UTF-8 cannot encode."""


def has_control_character(text: str) -> bool:
    """Return whether a text has a character that no identifier may have."""
    # Most texts are printable, which is found out faster.
    return not text.isprintable() and _CONTROL.search(text) is not None


def control_character(text: str) -> str:
    """Return the name of the first such character of a text that has one, as ``U+000A``."""
    found = _CONTROL.search(text)
    return f"U+{ord(found.group()):04X}" if found else ""


def identifier_problem(text: str) -> str | None:
    """Return why a text is no identifier, as a readable text that does not repeat it; None if it is one."""
    if not 0 < len(text) <= MAX_ID_LENGTH:
        return f"expected a string of 1 to {MAX_ID_LENGTH} characters"
    return "control characters are not allowed" if has_control_character(text) else None
