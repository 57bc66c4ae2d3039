"""The figures that rules of alerts look at, each computed at most once for one second."""

from __future__ import annotations

from collections.abc import Callable

from callcenter_ws.statistics.figures import Figures
from callcenter_ws.statistics.reading import Reading
from callcenter_ws.statistics.rules import AlertRule
from callcenter_ws.statistics.state import State

LONGEST_WAIT = "longest_wait_time"
"""The figure that grows without an event."""

CALL_METRICS = frozenset({"calls_waiting", LONGEST_WAIT, "interacting_calls"})

MEMBERS_PER_UNIT = 8
COSTS = {"calls": 4, "last_30m": 40, "interval": 20, "today": 75}
"""What a kind of figures of one queue costs, in units of about 2 µs: a step of one rule is one unit."""


class AlertValues:
    """Reads the values of rules from a state at the end of a second.

    Args:
        interval_minutes: of the window ``interval``.
        is_down: whether a source is down.

    Attributes:
        cost: the units of work that were spent.
    """

    def __init__(self, state: State, second_ms: int, interval_minutes: int, is_down: Callable[[str], bool]) -> None:
        self._state, self._minutes, self._is_down = state, interval_minutes, is_down
        self.reading = Reading(state, second_ms)
        self._found: dict[tuple[str, str], Figures] = {}
        self.cost = 0

    def of(self, rule: AlertRule, target: str) -> float | None:
        """Return the value of a rule for a queue or source; None: there is none, or too few calls were offered."""
        self.cost += 1
        if rule.source is not None:
            return 1 if self._is_down(rule.source) else 0
        part: str = rule.window
        if part == "now":
            part = "calls" if rule.metric in CALL_METRICS else "members"
        figures = self._figures(target, part)
        if rule.min_offered and (_number(figures.get("offered")) or 0) < rule.min_offered:
            return None
        return _number(figures.get(rule.metric or ""))

    def _figures(self, queue_name: str, part: str) -> Figures:
        figures = self._found.get((queue_name, part))
        if figures is None:
            figures = self._found[queue_name, part] = self._read(queue_name, part)
        return figures

    def _read(self, name: str, part: str) -> Figures:
        reading = self.reading
        if part == "members":
            queue = self._state.queues.get(name)
            self.cost += 1 + (0 if queue is None else len(queue.members) // MEMBERS_PER_UNIT)
            return reading.queue_members(name)
        self.cost += COSTS[part]
        if part == "calls":
            return reading.queue_calls(name)
        if part == "last_30m":
            return reading.queue_last_30m(name)
        window = reading.today() if part == "today" else reading.interval(reading.now, self._minutes)
        return reading.queue_between(name, *window)


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) else None
