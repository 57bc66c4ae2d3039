"""Metrics of the webhooks."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from callcenter_ws.ops.families import counter, gauge
from callcenter_ws.statistics.counters import WebhookCounters


class WebhookMetrics:
    """Reads the counters of the webhooks of this process."""

    def __init__(self, counters: WebhookCounters) -> None:
        self._counters = counters

    def __call__(self) -> Iterator[Metric]:
        """Return the families with their present values."""
        counters = self._counters
        yield counter("webhooks_delivered", "Alerts that receivers of webhooks have accepted.", counters.delivered)
        yield counter("webhooks_failed", "Requests of webhooks that failed.", counters.failed)
        yield counter("webhooks_dropped", "Alerts for webhooks that were given up.", counters.dropped)
        yield gauge("webhooks_waiting", "Alerts that wait for receivers of webhooks.", counters.waiting)
