"""Text of others for a terminal."""

from __future__ import annotations


def printable(text: str, keep: str = "") -> str:
    """Return a text without control characters, which a caller's name or a gateway could send to a terminal.

    Args:
        keep: those that stay.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in keep else "�" for each in text)
