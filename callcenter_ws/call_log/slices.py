"""Slices: the work of requests for the calls of today, some milliseconds of it in each turn of the reactor."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.internet.defer import Deferred

from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.slicer import Slicer

SECONDS_PER_SLICE = 0.003
"""Time after which a slice takes no further step. The slices of a turn together take at most that of one more than
``slicer.SECONDS_PER_TURN``, however many requests there are."""


class Slices:
    """Joins the short steps of one request to slices, and interleaves the slices of all requests."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slicer = Slicer(clock)

    def run(self, steps: Iterator[None]) -> Deferred[None]:
        """Take the steps of an iterator; the result is there once it is exhausted, and raises what a step raises."""
        return self._slicer.run(self._slices(steps))

    def _slices(self, steps: Iterator[None]) -> Iterator[None]:
        ends = self._clock.monotonic() + SECONDS_PER_SLICE
        for _ in steps:
            if self._clock.monotonic() >= ends:
                yield
                ends = self._clock.monotonic() + SECONDS_PER_SLICE
