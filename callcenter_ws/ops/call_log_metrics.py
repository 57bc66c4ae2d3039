"""Metrics of the calls of today."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from callcenter_ws.call_log.counters import DROP_REASONS, CallLogCounters
from callcenter_ws.ops.families import counter, counters, gauge


class CallLogMetrics:
    """Reads the counters of the calls of today."""

    def __init__(self, counts: CallLogCounters) -> None:
        self._counts = counts

    def __call__(self) -> Iterator[Metric]:
        """Return the families with their present values."""
        counts = self._counts
        yield gauge("call_log_tenants", "Tenants whose calls of today are in memory.", counts.tenants)
        yield gauge("call_log_calls", "Calls of today that are in memory, of all tenants.", counts.calls)
        yield counter("call_log_events_read", "Events that were read from the store for them.", counts.read)
        yield counter(
            "call_log_events_followed",
            "Events that were added to the calls of today when they were delivered.",
            counts.followed,
        )
        yield counter(
            "call_log_calls_forgotten",
            "Calls of today that were removed because their tenant has too many.",
            counts.forgotten,
        )
        yield counter(
            "call_log_events_unreadable",
            "Events of calls that are missing in the calls of today because they cannot be decoded.",
            counts.unreadable,
        )
        yield counters(
            "call_log_dropped",
            "Tenants whose calls of today were removed from memory, by reason.",
            "reason",
            counts.dropped,
            DROP_REASONS,
        )
