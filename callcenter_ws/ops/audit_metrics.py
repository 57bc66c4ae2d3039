"""Metrics of the audit log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from prometheus_client.core import Metric

from callcenter_ws.ops.families import counters, gauge


class AuditCounts(Protocol):
    """How many lines were written, and how many were lost."""

    @property
    def written(self) -> int:
        """Lines that are on disk."""

    @property
    def lost(self) -> int:
        """Lines for which there was no room, because the disk did not take those before them."""


class AuditMetrics:
    """Reads the counters of the audit log, and how many lines wait for the disk."""

    def __init__(self, counts: AuditCounts, waiting: Callable[[], int]) -> None:
        self._counts = counts
        self._waiting = waiting

    def __call__(self) -> Iterator[Metric]:
        """Return the families with their present values."""
        values = {"written": self._counts.written, "lost": self._counts.lost}
        yield counters("audit_lines", "Lines of the audit log, by whether they were written.", "outcome", values)
        yield gauge("audit_lines_waiting", "Lines of the audit log that wait for the disk.", self._waiting())
