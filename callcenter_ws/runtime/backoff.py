"""Exponential back-off: how long to wait before the next attempt."""

from __future__ import annotations

from collections.abc import Callable
from random import SystemRandom

JITTER = SystemRandom().uniform
"""Draws from the system, so that a seed of the shared generator of ``random`` neither repeats nor is used up."""


class Backoff:
    """Doubles the delay from ``first`` to ``maximum`` seconds, with jitter.

    The jitter shortens each delay by up to a quarter: processes that failed together do not retry together.

    Args:
        first: the first delay, in seconds.
        maximum: the longest delay, in seconds; equal to ``first`` for a constant delay.
        uniform: returns a random number between its two arguments.
    """

    __slots__ = ("_first", "_maximum", "_next", "_uniform")

    def __init__(self, first: float, maximum: float, *, uniform: Callable[[float, float], float] = JITTER) -> None:
        self._first = first
        self._maximum = maximum
        self._next = first
        self._uniform = uniform

    def delay(self) -> float:
        """Return the seconds to wait before the next attempt, and double those of the one after it."""
        delay = self._next
        self._next = min(self._maximum, delay * 2)
        return delay * self._uniform(0.75, 1.0)

    def exhaust(self) -> None:
        """Make the next delay the longest one: the failure is not one that passes soon."""
        self._next = self._maximum

    def reset(self) -> None:
        """Start again from the first delay, after a success."""
        self._next = self._first
