"""TurnWatch: how long the turns of the reactor are, measured where it polls.

A turn is what the reactor does between two polls: all input, output and timers that were due. Nothing else of the
process runs meanwhile, so the longest turn is the longest time for which every client waited.
"""

from __future__ import annotations

import select
from time import monotonic
from typing import Any

from callcenter_ws.runtime.reactor import Reactor


class TurnWatch:
    """Stands in for the poll object of Twisted's epoll reactor, and measures the time from each poll to the next.

    It costs two readings of the clock for each turn, however many connections the turn serves.

    Attributes:
        busy_seconds: the sum of all turns.
        turns: their number.
        longest: seconds of the longest since ``forget_longest``.
    """

    def __init__(self, poller: Any) -> None:  # select.epoll, which cannot be subclassed
        self._poller = poller
        self._poll = poller.poll
        self._began = 0.0
        self.busy_seconds = 0.0
        self.turns = 0
        self.longest = 0.0
        # Called for each socket: without a way through ``__getattr__``.
        self.register, self.modify, self.unregister = poller.register, poller.modify, poller.unregister

    def __getattr__(self, name: str) -> Any:  # what the reactor uses besides has the types of select.epoll
        return getattr(self._poller, name)

    def poll(self, timeout: float, max_events: int) -> list[tuple[int, int]]:
        """Measure the turn that ends here, and poll."""
        if self._began:
            seconds = monotonic() - self._began
            self.busy_seconds += seconds
            self.turns += 1
            if seconds > self.longest:
                self.longest = seconds
        events: list[tuple[int, int]] = self._poll(timeout, max_events)
        self._began = monotonic()
        return events

    def forget_longest(self) -> float:
        """Return the longest turn, and begin again."""
        longest, self.longest = self.longest, 0.0
        return longest


def watch_turns(reactor: Reactor) -> TurnWatch | None:
    """Measure the turns of a reactor from now on; None for a reactor other than Twisted's for epoll."""
    poller = getattr(reactor, "_poller", None)
    if isinstance(poller, TurnWatch):
        return poller
    if not isinstance(poller, select.epoll):
        return None
    watch = TurnWatch(poller)
    reactor._poller = watch  # type: ignore[attr-defined]  # of EPollReactor: Twisted has no hook for turns
    return watch
