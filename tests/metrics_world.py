"""The metrics of parts that tests make, and samples of an exposition, parsed as Prometheus does."""

from __future__ import annotations

from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from callcenter_ws.broker.counters import StoreCounters
from callcenter_ws.broker.ingest import IngestCounters
from callcenter_ws.delivery.counters import HubCounters
from callcenter_ws.ops.delivery_metrics import DeliveryMetrics
from callcenter_ws.ops.event_metrics import EventMetrics
from callcenter_ws.ops.metrics import Metrics
from callcenter_ws.ops.peer_metrics import AmpMetrics
from callcenter_ws.redis.counters import RedisCounters
from callcenter_ws.sources.registry import SourceCounters

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass
class MetricsWorld:
    """Metrics with the counters of all parts, which a test changes."""

    hub: HubCounters = field(default_factory=HubCounters)
    ingest: IngestCounters = field(default_factory=IngestCounters)
    store: StoreCounters = field(default_factory=StoreCounters)
    redis: RedisCounters | None = None
    processes: int | None = None
    sources: SourceCounters = field(default_factory=SourceCounters)
    amp_sessions: dict[str, int] = field(default_factory=dict)
    amp_refused: dict[str, int] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        metrics = self.metrics
        metrics.add(DeliveryMetrics(self.hub, lambda: 7_000, lambda: 9_000, lambda: 500, metrics.latency))
        state = {"ready": True, "waiting_events": 5}
        parts = (self.store, self.redis, lambda: self.processes, self.sources)
        metrics.add(EventMetrics(self.ingest, lambda: state, *parts))
        metrics.add(AmpMetrics(lambda: self.amp_sessions, self.amp_refused, lambda: 12))

    def samples(self) -> Samples:
        """Return all samples by name and labels."""
        return samples_of(self.metrics.render())

    def value(self, name: str, **labels: str) -> float:
        """Return one sample; the name is without its prefix."""
        return self.samples()[f"callcenter_ws_{name}", tuple(sorted(labels.items()))]


def samples_of(exposition: bytes) -> Samples:
    """Return the samples of an exposition by name and labels."""
    families = list(text_string_to_metric_families(exposition.decode()))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }
