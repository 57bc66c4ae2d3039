"""The metrics of this process for Prometheus.

Each part counts in plain integers and ``runtime.histogram``, which are read at the time of a scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from callcenter_ws.runtime.histogram import LATENCY_BOUNDS, Histogram

Collect = Callable[[], Iterable[Metric]]
"""Returns families of metrics with their present values."""


class Metrics:
    """The metrics of this process.

    It is created before the Hub, which calls ``observe_latency``; ``add`` adds what reads the counters of the parts.

    Attributes:
        content_type: the media type of what ``render`` returns.
        registry: the node's own registry, not the library's global one.
        latency: from receiving an event to passing it to the sockets, in seconds.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.latency = Histogram(LATENCY_BOUNDS)
        self.observe_latency: Callable[[float], None] = self.latency.observe

    def add(self, collect: Collect) -> None:
        """Add families, which ``collect`` returns at each scrape."""
        self.registry.register(_Families(collect))

    def render(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)

    async def text(self) -> bytes:
        """Return what ``render`` returns; a coroutine like ``NodeMetrics.text``."""
        return self.render()


class _Families(Collector):
    """A collector of prometheus_client."""

    def __init__(self, collect: Collect) -> None:
        self._collect = collect

    def collect(self) -> Iterable[Metric]:
        """Return the families with their present values."""
        return self._collect()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are not checked when a collector is added, before its parts are complete."""
        return ()
