"""Divides the long work of a fold over turns of the reactor."""

from __future__ import annotations

from callcenter_ws.runtime.background import next_turn
from callcenter_ws.runtime.clock import Clock

SECONDS_PER_TURN = 0.004
"""Time after which a turn does no further step of the work of a fold."""


class Turn:
    """The turn in which a fold works: after each step, ``if turn.is_over: await turn.next()``."""

    __slots__ = ("_clock", "_ends")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends = clock.monotonic() + SECONDS_PER_TURN

    @property
    def is_over(self) -> bool:
        """Whether the turn does no further step."""
        return self._clock.monotonic() >= self._ends

    async def next(self) -> None:
        """Wait for the next turn, and begin it."""
        await next_turn(self._clock)
        self._ends = self._clock.monotonic() + SECONDS_PER_TURN
