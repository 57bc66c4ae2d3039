"""Divide long work into steps and interleave the steps over turns.

The work of all its users is done in one order: each gets one step before any gets a second one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from callcenter_ws.runtime.clock import Clock

STEPS_PER_TURN = 16
"""Steps of one turn. A step should take about a millisecond at most."""

SECONDS_PER_TURN = 0.005
"""Time after which a turn begins no further step."""

_log = Logger("callcenter_ws")

Call = Callable[[], object]


class Slicer:
    """Makes calls in their order, some in each turn of the reactor.

    Args:
        steps_per_turn, seconds_per_turn: a turn ends at whichever is reached first.
    """

    def __init__(
        self, clock: Clock, *, steps_per_turn: int = STEPS_PER_TURN, seconds_per_turn: float = SECONDS_PER_TURN
    ) -> None:
        self._clock = clock
        self._steps_per_turn = steps_per_turn
        self._seconds_per_turn = seconds_per_turn
        self._calls: deque[Call] = deque()
        self._is_scheduled = False

    def __len__(self) -> int:
        """Return the number of calls that wait."""
        return len(self._calls)

    def call(self, call: Call) -> None:
        """Make a call in a later turn, after those that wait already; an exception is logged."""
        self._calls.append(call)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._clock.call_later(0, self._turn)

    def run(self, steps: Iterator[None]) -> Deferred[None]:
        """Take the steps of an iterator, one after the other; the result is there once it is exhausted.

        What a step raises is raised by the result.
        """
        finished: Deferred[None] = Deferred()

        def step() -> None:
            try:
                next(steps)
            except StopIteration:
                finished.callback(None)
            except Exception:
                finished.errback()
            else:
                self.call(step)

        self.call(step)
        return finished

    def _turn(self) -> None:
        deadline = self._clock.monotonic() + self._seconds_per_turn
        for _ in range(min(self._steps_per_turn, len(self._calls))):
            try:
                self._calls.popleft()()
            except Exception:
                _log.failure("unhandled error in a background task")
            if self._clock.monotonic() >= deadline:
                break
        self._is_scheduled = bool(self._calls)
        if self._is_scheduled:
            self._clock.call_later(0, self._turn)
