"""Regular expressions of the settings, which are matched against names that an exchange sends.

Python's matcher tries all ways to match, which can take hours for a short name. So patterns are refused whose
repetitions can share out the same characters in too many ways, and long names are not matched.
"""

from __future__ import annotations

import re
import warnings

from callcenter_ws.runtime.setting_values import shown

MAX_MATCHED_LENGTH = 128
"""Longer values match no pattern. Names of channels, contexts and account codes have at most 80 characters."""

MAX_REPETITIONS = 3
"""Repetitions in sequence. With three, 128 characters take 350,000 steps at most: 7 ms."""

_MANY = 16
"""A bounded repetition above this counts like an unbounded one."""

_TOKEN = re.compile(
    r"""\\.|\[\^?\]?(?:\\.|[^\]\\])*+\]           # an escape, a set
    |(?P<open>\((?:\?(?:P<\w+>|P=|<[=!]|.))?)|(?P<close>\))|(?P<alternative>\|)
    |(?P<repeat>[*+?]|\{(?P<min>[0-9]*)(?P<comma>,)?(?P<max>[0-9]*)\})(?P<manner>[?+]?)
    |.""",
    re.VERBOSE | re.DOTALL,
)


def compile_pattern(text: str, group: str = "") -> re.Pattern[str]:
    """Compile a pattern of the settings.

    Args:
        group: the name of a group that the pattern must have; empty: none.

    Raises:
        ValueError: the reason for the operator: no regular expression, without the group, or one that can take long.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise ValueError(f"{shown(text)} is not a regular expression: {error}") from None
    if group and group not in pattern.groupindex:
        raise ValueError(f"{shown(text)} has no group (?P<{group}>...)")
    if pattern.flags & re.VERBOSE:
        raise ValueError(f"{shown(text)}: the flag x is not supported")
    _check_repetitions(text)
    return pattern


def matches_whole(pattern: re.Pattern[str], value: str) -> bool:
    """Return whether the pattern matches the whole value."""
    return len(value) <= MAX_MATCHED_LENGTH and pattern.fullmatch(value) is not None


def matches_beginning(pattern: re.Pattern[str], value: str) -> bool:
    """Return whether the pattern matches the beginning of the value."""
    return len(value) <= MAX_MATCHED_LENGTH and pattern.match(value) is not None


class _Group:
    """What is known of an open group.

    Attributes:
        varies: whether it can match the same characters in more than one way, as far as its text tells.
        count: repetitions in sequence in the current alternative.
        most: those of the alternative that has most.
    """

    __slots__ = ("count", "is_atomic", "most", "varies")

    def __init__(self, is_atomic: bool = False) -> None:
        self.is_atomic = is_atomic
        self.varies = False
        self.count = self.most = 0

    def end_alternative(self) -> None:
        self.most = max(self.most, self.count)
        self.count = 0


def _check_repetitions(text: str) -> None:
    """Raise ``ValueError`` if repetitions are nested, or too many follow each other."""
    groups = [_Group()]
    closed: _Group | None = None
    for token in _TOKEN.finditer(text):
        last, closed = closed, None
        if token["open"]:
            groups.append(_Group(is_atomic=token["open"] == "(?>"))
        elif token["close"]:
            closed = groups.pop()
            closed.end_alternative()
            groups[-1].count += closed.most
            groups[-1].varies |= closed.varies and not closed.is_atomic
        elif token["alternative"]:
            groups[-1].varies = True
            groups[-1].end_alternative()
        elif token["repeat"]:
            _check_repeat(text, token, groups[-1], last)
    groups[0].end_alternative()
    if groups[0].most > MAX_REPETITIONS:
        raise ValueError(f"{shown(text)} has more than {MAX_REPETITIONS} repetitions in sequence, which can take long")


def _check_repeat(text: str, token: re.Match[str], group: _Group, repeated: _Group | None) -> None:
    """Judge one repetition.

    Args:
        group: the group that it is in.
        repeated: the group that it repeats; None: a single character.
    """
    if token["manner"] == "+" or _is_fixed(token):
        return
    group.varies = True
    if not _is_long(token):
        return
    group.count += 1
    if repeated is not None and repeated.varies and not repeated.is_atomic:
        raise ValueError(
            f"{shown(text)} repeats a group that has repetitions or alternatives, which can take very long; "
            f"make it possessive: {token['repeat']}+ for {token['repeat']}"
        )


def _is_fixed(token: re.Match[str]) -> bool:
    return token["min"] is not None and (token["comma"] is None or token["min"] == token["max"])


def _is_long(token: re.Match[str]) -> bool:
    """Return whether the repetition may match many times."""
    if token["repeat"] in ("*", "+"):
        return True
    return token["comma"] is not None and (not token["max"] or int(token["max"]) > _MANY)
