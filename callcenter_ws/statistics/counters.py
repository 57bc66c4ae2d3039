"""Counters of the process that folds tenants' streams, for the metrics and ``/ws/stats``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class FigureCounters:
    """What folding did since the process was started.

    Attributes:
        held: tenants that this process folds now.
        behind: publications that it knows of and has not folded.
        folded: publications that were applied.
        written: rows that the store has taken.
        writes: how often it has taken rows.
        failed_writes: writes that failed and are repeated, because the store could not be reached.
        deposed: how often another process had taken a tenant that this one folded.
        gaps: how often the log did not reach back to the position of the figures.
    """

    held: int = 0
    behind: int = 0
    folded: int = 0
    written: int = 0
    writes: int = 0
    failed_writes: int = 0
    deposed: int = 0
    gaps: int = 0
