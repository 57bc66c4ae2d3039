"""TurnReactor: runs the turns of the reactor one by one, so that a test sees how much work each does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.peer_budget import BudgetLimits
from callcenter_ws.runtime.peer_limits import PeerLimits, PeerLimitValues
from callcenter_ws.runtime.turns import Turns


class TurnReactor:
    """Makes the calls of each turn in the next one.

    Attributes:
        work: the units that are done, increased by what a test counts.
    """

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []
        self.work = 0

    def call_soon(self, call: Callable[[], None]) -> None:
        """Make a call in the next turn."""
        self._calls.append(call)

    def turn(self) -> int:
        """Run one turn; return the work that was done in it."""
        before = self.work
        calls, self._calls = self._calls, []
        for call in calls:
            call()
        return self.work - before

    def turns_until_idle(self, limits: PeerLimits) -> Iterator[int]:
        """Run turns until no peer waits; yield the work of each."""
        for _ in range(100_000):
            if limits.turns.is_idle:
                return
            yield self.turn()
        raise AssertionError("there is no end of the turns")

    def limits(self, clock: Clock, budget: BudgetLimits | None = None, **fields: int) -> PeerLimits:
        """Return limits whose turns are those of this reactor."""
        limits = PeerLimits.create(clock, PeerLimitValues(budget=budget or BudgetLimits(), **fields))
        return replace(limits, turns=Turns(self.call_soon))
