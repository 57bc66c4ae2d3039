"""The named methods of the service level, and how ratios are rounded."""

from __future__ import annotations

from collections.abc import Callable

from callcenter_ws.statistics.sums import (
    ABANDONED,
    ABANDONED_IN,
    ABANDONED_SHORT,
    ANSWERED,
    ANSWERED_IN,
    FLOW_OUT,
    UNSERVED_IN,
)

DEFAULT_METHOD = "answered_of_offered_less_short"

Values = list[int]
Ratio = tuple[int, int]


def flow_out(values: Values) -> int:
    """Return the number of stays that ended neither answered nor abandoned."""
    return sum(values[field] for field in FLOW_OUT.values())


def _asterisk_2(values: Values) -> Ratio:
    unserved = values[ABANDONED] + sum(values[FLOW_OUT[reason]] for reason in ("timeout", "empty", "withdrawn"))
    inside = values[ANSWERED_IN] + values[ABANDONED_IN] + values[UNSERVED_IN]
    return inside, values[ANSWERED] + unserved


def _all(values: Values) -> int:
    return values[ANSWERED] + values[ABANDONED] + flow_out(values)


METHODS: dict[str, Callable[[Values], Ratio]] = {
    "answered_of_answered": lambda values: (values[ANSWERED_IN], values[ANSWERED]),
    "asterisk_2": _asterisk_2,
    "answered_of_offered": lambda values: (values[ANSWERED_IN], values[ANSWERED] + values[ABANDONED]),
    DEFAULT_METHOD: lambda values: (
        values[ANSWERED_IN],
        values[ANSWERED] + values[ABANDONED] - values[ABANDONED_SHORT],
    ),
    "answered_of_all": lambda values: (values[ANSWERED_IN], _all(values)),
    "served_of_queued": lambda values: (values[ANSWERED_IN] + values[ABANDONED_IN], _all(values)),
}
"""Numerator and denominator of each method."""


def service_level(method: str, values: Values) -> float | None:
    """Return the service level in percent, or None if no call counts."""
    return percent(*METHODS[method](values))


def percent(part: int, whole: int) -> float | None:
    """Return a ratio in percent, rounded half up to two decimals; None if ``whole`` is 0."""
    return quotient(part * 100, whole)


def quotient(sum_: int, count: int) -> float | None:
    """Return a quotient, rounded half up to two decimals; None if ``count`` is 0."""
    # In integers: no sum is too large, and no half is lost.
    return (sum_ * 200 + count) // (2 * count) / 100 if count else None
