"""The metrics of the calls of today."""

from __future__ import annotations

from metrics_world import samples_of

from callcenter_ws.call_log.counters import IDLE, CallLogCounters
from callcenter_ws.ops.call_log_metrics import CallLogMetrics
from callcenter_ws.ops.metrics import Metrics


def test_what_is_in_memory_and_where_it_came_from() -> None:
    counts = CallLogCounters(tenants=1, calls=2, read=3, followed=4, forgotten=5, unreadable=6)
    counts.dropped[IDLE] = 7
    metrics = Metrics()
    metrics.add(CallLogMetrics(counts))
    samples = samples_of(metrics.render())

    def value(name: str, **labels: str) -> float:
        return samples[f"callcenter_ws_call_log_{name}", tuple(sorted(labels.items()))]

    assert (value("tenants"), value("calls")) == (1, 2)
    assert (value("events_read_total"), value("events_followed_total")) == (3, 4)
    assert (value("calls_forgotten_total"), value("events_unreadable_total")) == (5, 6)
    # From the start, so that the first increase is seen.
    assert (value("dropped_total", reason="idle"), value("dropped_total", reason="memory")) == (7, 0)
