"""What is counted about commands, for the metrics."""

from __future__ import annotations

from dataclasses import dataclass, field

from callcenter_ws.events.commands import COMMANDS
from callcenter_ws.runtime.histogram import DELAY_BOUNDS, Histogram


@dataclass(slots=True)
class CommandCounters:
    """For the metrics.

    Attributes:
        accepted: by command; ``refused``: by error code.
        closed: by state and code, at this node; the code of ``done`` is empty.
        late_outcomes: outcomes of sources for commands that were closed or forgotten, or are another source's.
        dispatched: commands that were sent to a source.
        in_flight: of these, those without an answer.
        seconds: from the acceptance of a command to its outcome.
    """

    accepted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COMMANDS, 0))
    refused: dict[str, int] = field(default_factory=dict)
    closed: dict[tuple[str, str], int] = field(default_factory=dict)
    late_outcomes: int = 0
    dispatched: int = 0
    in_flight: int = 0
    seconds: Histogram = field(default_factory=lambda: Histogram(DELAY_BOUNDS))
