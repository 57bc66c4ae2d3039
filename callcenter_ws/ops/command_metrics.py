"""Metrics of commands."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from callcenter_ws.commands.counters import CommandCounters
from callcenter_ws.errors import ErrorCode
from callcenter_ws.events.commands import OutcomeCode
from callcenter_ws.ops.families import counter, counters, gauge, histogram

DONE = "done"
"""The value of the label ``outcome`` of commands that did not fail; else it is the code."""


_CODES = (ErrorCode.NOT_ALLOWED, ErrorCode.NOT_FOUND, ErrorCode.NO_SOURCE, ErrorCode.SOURCE_DOWN, ErrorCode.UNSUPPORTED)
"""Codes of refusals that are in the exposition from the start."""


class CommandMetrics:
    """Reads the counters of commands."""

    def __init__(self, counts: CommandCounters) -> None:
        self._counts = counts

    def __call__(self) -> Iterator[Metric]:
        """Return the families with their present values."""
        counts = self._counts
        yield counters("commands_accepted", "Commands that were stored, by name.", "kind", counts.accepted)
        yield counters("commands_refused", "Commands that were refused and not stored.", "code", counts.refused, _CODES)
        yield counter("commands_dispatched", "Commands that were sent to a source.", counts.dispatched)
        yield gauge(
            "commands_unanswered", "Commands that were sent, and that the source has not taken yet.", counts.in_flight
        )
        closed: dict[str, int] = {}
        for (_, code), count in counts.closed.items():
            closed[code or DONE] = closed.get(code or DONE, 0) + count
        yield counters("commands_closed", "Commands that have an outcome.", "outcome", closed, (DONE, *OutcomeCode))
        yield counter(
            "command_outcomes_dropped",
            "Outcomes of sources for commands that were closed, forgotten or another source's.",
            counts.late_outcomes,
        )
        yield histogram("command_seconds", "Seconds from accepting a command to its outcome.", counts.seconds)
