"""Metrics of what derives the statistics."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from callcenter_ws.ops.families import counter, gauge
from callcenter_ws.statistics.counters import FigureCounters


class FigureMetrics:
    """Reads the counters of the folds of this process."""

    def __init__(self, counters: FigureCounters) -> None:
        self._counters = counters

    def __call__(self) -> Iterator[Metric]:
        """Return the families with their present values."""
        counters = self._counters
        yield gauge("figures_tenants", "Tenants whose statistics this process derives.", counters.held)
        yield gauge("figures_behind_events", "Events that are published and not counted yet.", counters.behind)
        yield counter("figures_events", "Events that were counted in statistics.", counters.folded)
        yield counter("figures_rows", "Rows of statistics that the store has taken.", counters.written)
        yield counter("figures_writes", "Writes of statistics that the store has taken.", counters.writes)
        yield counter(
            "figures_writes_failed", "Writes of statistics that failed and are repeated.", counters.failed_writes
        )
        yield counter("figures_deposed", "Tenants that another process has taken over from this one.", counters.deposed)
        yield counter(
            "figures_gaps", "Gaps in statistics: events were trimmed before they were counted.", counters.gaps
        )
        archive = counters.archive
        yield counter("archive_events", "Events that were appended to the archive.", archive.events)
        yield counter("archive_bytes", "Compressed bytes that were appended to the archive.", archive.bytes)
        yield counter(
            "archive_appends_failed", "Appends to the archive that failed and are repeated.", archive.failures
        )
        yield counter(
            "archive_events_lost", "Events that were trimmed from the store before they were archived.", archive.lost
        )
