"""The node's metrics for Prometheus.

The counters live where things happen, as plain integers; they are read when somebody scrapes. No label ever
holds a tenant, a user or an address, and no family has more than ``MAX_SERIES`` series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from callcenter_ws.broker.ingest import IngestCounters
from callcenter_ws.delivery.counters import HubCounters

MAX_SERIES = 32
"""The most series of one family; what is beyond is added up under the label ``other``."""

_LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The registry of this node.

    It exists before the Hub, which is given ``observe_latency``; the Hub's counters are added by ``watch``.

    Attributes:
        content_type: the media type of what ``render`` returns.
        registry: the node's own registry, not the library's global one.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._latency = Histogram(
            "callcenter_ws_publish_to_socket_seconds",
            "Time from taking an event in to writing it to a client's socket, in seconds.",
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )

    def observe_latency(self, seconds: float) -> None:
        """Note how long an event took from its publisher to a socket."""
        self._latency.observe(seconds)

    def watch(
        self,
        hub: HubCounters,
        intake: IngestCounters,
        amp_peers: Callable[[], int],
        store: Callable[[], Mapping[str, Any]],
    ) -> None:
        """Show these counters from now on.

        Args:
            amp_peers: returns how many AMP peers are connected.
            store: returns the state of the broker (``interfaces.Broker.state``).
        """
        self.registry.register(_NodeCollector(hub, intake, amp_peers, store))

    def render(self) -> bytes:
        """Return the Prometheus text of everything."""
        return generate_latest(self.registry)

    async def text(self) -> bytes:
        """Return the same, for who may have to wait for it."""
        return self.render()


class _NodeCollector(Collector):
    """Reads the counters of the Hub and the EventBroadcaster at the time of the scrape."""

    def __init__(
        self,
        hub: HubCounters,
        intake: IngestCounters,
        amp_peers: Callable[[], int],
        store: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._hub = hub
        self._intake = intake
        self._amp_peers = amp_peers
        self._store = store

    def collect(self) -> Iterator[Metric]:
        yield from self._connections()
        yield from self._events()
        yield _gauge("amp_peers", "AMP peers that are connected now.", self._amp_peers())
        state = self._store()
        yield _gauge("store_ready", "Whether the store takes events now: 1 or 0.", int(state["ready"]))
        yield _gauge("store_waiting_events", "Events that wait for the store.", state.get("waiting_events", 0))

    def _connections(self) -> Iterator[Metric]:
        hub = self._hub
        connections = GaugeMetricFamily(
            "callcenter_ws_connections", "WebSocket connections that are open now.", labels=["role", "endpoint"]
        )
        for (role, endpoint), count in _bounded(hub.connections_by, ("other", "other")).items():
            connections.add_metric([role, endpoint], count)
        yield connections
        yield _counter("connections_opened", "WebSocket connections opened.", hub.opened)
        yield _counters("connections_closed", "WebSocket connections closed, by close code.", "code", hub.closed)
        yield _counters("handshakes_refused", "WebSocket handshakes refused.", "reason", hub.handshakes_refused)
        yield _gauge("lagging_clients", "Clients that are behind and fed from the history now.", hub.lagging)

    def _events(self) -> Iterator[Metric]:
        hub, intake = self._hub, self._intake
        yield _counter("events_accepted", "Events made durable.", intake.accepted)
        yield _counter("events_duplicate", "Events that were published before.", intake.duplicates)
        yield _counters("events_refused", "Events refused.", "reason", intake.refused)
        yield _counter("messages_received", "Messages that clients sent over WebSocket.", hub.received)
        yield _counter("messages_delivered", "Messages written to clients.", hub.delivered)
        yield _counters("messages_dropped", "Messages that clients were told they miss.", "reason", hub.dropped)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"callcenter_ws_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"callcenter_ws_{name}", text, value=value)


def _counters(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"callcenter_ws_{name}", text, labels=[label])
    for value, count in _bounded(counts, "other").items():
        family.add_metric([str(value)], count)
    return family


def _bounded(counts: Mapping[Any, int], other: Any) -> dict[Any, int]:
    """The first ``MAX_SERIES`` counts, in the order of their first appearance, and the rest as ``other``.

    By age and not by size, so that no series jumps in and out of existence.
    """
    kept = dict(list(counts.items())[: MAX_SERIES - 1])
    rest = sum(counts.values()) - sum(kept.values())
    return {**kept, other: kept.get(other, 0) + rest} if len(counts) > len(kept) else kept
