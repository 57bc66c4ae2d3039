"""ReactorMonitor: how late the reactor is, and how long its turns are."""

from __future__ import annotations

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall

from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.histogram import LATENCY_BOUNDS, Histogram
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.turn_watch import TurnWatch, watch_turns

INTERVAL_SECONDS = 0.5
"""How often the delay is measured."""

WINDOW_SECONDS = 30.0
"""The longest turn is that of the last one to two windows, whichever server scrapes how often."""


class ReactorMonitor(Service):
    """Measures the reactor while the service runs.

    Attributes:
        delay: how late a timer was called, in seconds: as late as every other event was handled at that moment.
        turns: measures the turns; None where that is not possible.
    """

    def __init__(self, reactor: Reactor, clock: Clock) -> None:
        self._reactor = reactor
        self._clock = clock
        self._timer: IDelayedCall | None = None
        self._due = self._window_began = 0.0
        self._previous = 0.0
        self.delay = Histogram(LATENCY_BOUNDS)
        self.turns: TurnWatch | None = None

    def startService(self) -> None:
        """Begin to measure."""
        super().startService()
        self.turns = watch_turns(self._reactor)
        self._window_began = self._clock.monotonic()
        self._schedule()

    def stopService(self) -> None:
        """Stop the timer."""
        super().stopService()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    @property
    def longest_turn(self) -> float:
        """Seconds of the longest turn of the last ``WINDOW_SECONDS`` or up to twice as many."""
        return 0.0 if self.turns is None else max(self._previous, self.turns.longest)

    def _schedule(self) -> None:
        # The reactor's own timer: those of a clock may be made later on purpose.
        self._timer = self._reactor.callLater(INTERVAL_SECONDS, self._measure)
        self._due = self._clock.monotonic() + INTERVAL_SECONDS

    def _measure(self) -> None:
        now = self._clock.monotonic()
        self.delay.observe(max(0.0, now - self._due))
        if self.turns is not None and now - self._window_began >= WINDOW_SECONDS:
            self._window_began = now
            self._previous = self.turns.forget_longest()
        self._schedule()
