"""The codes that screens show until they are paired: 40 random bits, as two groups of four characters."""

from __future__ import annotations

import re
import secrets

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base32: without I, L, O and U."""

_SPELLINGS = str.maketrans({"O": "0", "I": "1", "L": "1"})
_LENGTH = 8


def new_code() -> str:
    """Return a new code, as ``K7QX-2M4P``."""
    text = "".join(secrets.choice(ALPHABET) for _ in range(_LENGTH))
    return f"{text[:4]}-{text[4:]}"


def read_code(text: str) -> str | None:
    """Return a code as it was made; None for what is none.

    Lower case, spaces and missing dashes are accepted, and letters that look like a digit.
    """
    plain = re.sub(r"[\s-]+", "", text).upper().translate(_SPELLINGS)
    if len(plain) != _LENGTH or not set(plain) <= set(ALPHABET):
        return None
    return f"{plain[:4]}-{plain[4:]}"
