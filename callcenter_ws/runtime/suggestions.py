"""Suggestions for misspelled names, for error messages only: comparing names is slow."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MAX_WORD_LENGTH = 40
"""Longer words are not compared: the time grows with the square of the length, and peers choose the words."""

MAX_WORDS = 50
"""Words that are compared for one suggestion."""

_CUTOFF = 0.7
"""The least similarity, see ``difflib.get_close_matches``."""


def closest_name(word: str, names: Iterable[str]) -> str | None:
    """Return the one of ``names`` that ``word`` is probably a misspelling of; None if none is similar.

    Case, underscores, hyphens and dots are ignored: ``callerId`` is close to ``caller_id``.
    """
    if not 0 < len(word) <= MAX_WORD_LENGTH:
        return None
    by_letters: dict[str, str] = {}
    for name in names:
        if len(name) <= MAX_WORD_LENGTH:
            by_letters.setdefault(_letters(name), name)
        if len(by_letters) >= MAX_WORDS:
            break
    close = get_close_matches(_letters(word), by_letters, 1, _CUTOFF)
    return by_letters[close[0]] if close else None


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return ``; did you mean NAME?`` for an error message, or an empty text."""
    name = closest_name(word, names)
    return "" if name is None else f"; did you mean {name}?"


def _letters(word: str) -> str:
    return word.lower().translate(_SEPARATORS)


_SEPARATORS = str.maketrans("", "", "_-. ")
