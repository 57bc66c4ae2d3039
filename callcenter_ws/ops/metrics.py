"""The node's metrics for Prometheus.

Each part counts in plain integers, which are read at the time of a scrape. No label contains a tenant, a user or an
address, and no family has more than ``MAX_SERIES`` series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

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
from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.runtime.peer_limits import PeerLimits
from callcenter_ws.sources.registry import SourceCounters

Label = TypeVar("Label", str, tuple[str, str])

MAX_SERIES = 32
"""The largest number of series in a family; all others are added up under the label ``other``."""

_LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The metrics of this node.

    It is created before the Hub, which calls ``observe_latency``; ``watch`` adds the Hub's counters.

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
        latency = Histogram(
            "callcenter_ws_publish_to_socket_seconds",
            "Time from receiving an event to writing it to a client's socket, in seconds.",
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.observe_latency: Callable[[float], None] = latency.observe

    def watch(
        self,
        hub: HubCounters,
        ingest: IngestCounters,
        amp_peers: Callable[[], int],
        store: Callable[[], JsonObject],
        sources: SourceCounters,
        outgoing_bytes: Callable[[], int],
    ) -> None:
        """Add these counters to the metrics.

        Args:
            hub: the counters of the Hub.
            ingest: the counters of the EventBroadcaster.
            amp_peers: returns the number of connected AMP peers.
            store: returns the state of the broker (``interfaces.Broker.state``).
            sources: the counters of the registry of sources.
            outgoing_bytes: returns the bytes that wait to be read by all peers (``delivery.outgoing``).
        """
        self.registry.register(_NodeCollector(hub, ingest, amp_peers, store, sources, outgoing_bytes))

    def watch_peers(self, limits: PeerLimits) -> None:
        """Add what is refused to peers that have not authenticated."""
        self.registry.register(_PeerCollector(limits))

    def render(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self.registry)

    async def text(self) -> bytes:
        """Return what ``render`` returns; a coroutine like ``NodeMetrics.text``."""
        return self.render()


class _NodeCollector(Collector):
    """Reads the counters of the Hub and the EventBroadcaster at the time of the scrape."""

    def __init__(
        self,
        hub: HubCounters,
        ingest: IngestCounters,
        amp_peers: Callable[[], int],
        store: Callable[[], JsonObject],
        sources: SourceCounters,
        outgoing_bytes: Callable[[], int],
    ) -> None:
        self._sources = sources
        self._outgoing_bytes = outgoing_bytes
        self._hub = hub
        self._ingest = ingest
        self._amp_peers = amp_peers
        self._store = store

    def collect(self) -> Iterator[Metric]:
        yield from self._connections()
        yield from self._events()
        yield _gauge("amp_peers", "Connected AMP peers.", self._amp_peers())
        yield _gauge("sources_connected", "Sources of events that are connected.", self._sources.connected)
        yield _counter("sources_lost", "Leases of sources that this process has ended.", self._sources.lost)
        state = self._store()
        yield _gauge("store_ready", "Whether the store accepts events: 1 or 0.", int(state["ready"]))
        yield _gauge("store_waiting_events", "Events waiting for the store.", state.get("waiting_events", 0))
        yield _gauge(
            "store_ids_removed_early",
            "Event ids of tenants in memory that were forgotten within five minutes.",
            state.get("ids_removed_early", 0),
        )

    def _connections(self) -> Iterator[Metric]:
        hub = self._hub
        connections = GaugeMetricFamily(
            "callcenter_ws_connections", "Open WebSocket connections.", labels=["role", "endpoint"]
        )
        for (role, endpoint), count in _bounded(hub.connections_by, ("other", "other")).items():
            connections.add_metric([role, endpoint], count)
        yield connections
        yield _counter("connections_opened", "WebSocket connections opened.", hub.opened)
        yield _counters("connections_closed", "WebSocket connections closed, by close code.", "code", hub.closed)
        yield _counters("handshakes_refused", "WebSocket handshakes refused.", "reason", hub.handshakes_refused)
        yield _gauge("outgoing_bytes", "Bytes that wait to be read by slow peers.", self._outgoing_bytes())
        yield _counter(
            "closed_for_outgoing_bytes",
            "Connections closed because more than limits.outgoing_bytes waited to be read.",
            hub.closed_for_outgoing_bytes,
        )
        yield _gauge("lagging_clients", "Clients that are behind and receive events from the history.", hub.lagging)

    def _events(self) -> Iterator[Metric]:
        hub, ingest = self._hub, self._ingest
        yield _counter("events_accepted", "Events stored durably.", ingest.accepted)
        yield _counter("events_duplicate", "Events that had been published before.", ingest.duplicates)
        numbered = "Events of sources that were known by their source_seq; part of events_duplicate."
        yield _counter("source_events_duplicate", numbered, ingest.source_duplicates)
        yield _counters("events_refused", "Events refused.", "reason", ingest.refused)
        yield _counter("messages_received", "Messages that clients sent over WebSocket.", hub.received)
        yield _counter("messages_delivered", "Messages written to clients.", hub.delivered)
        yield _counters("messages_dropped", "Messages that clients were notified of missing.", "reason", hub.dropped)


class _PeerCollector(Collector):
    """Reads the counters of the limits of unauthenticated peers at the time of the scrape."""

    def __init__(self, limits: PeerLimits) -> None:
        self._limits = limits

    def collect(self) -> Iterator[Metric]:
        limits = self._limits
        yield _gauge(
            "unauthenticated_sockets", "Open sockets of peers that have not authenticated.", limits.budget.sockets
        )
        yield _counters(
            "peer_limits_exceeded",
            "What was refused to networks of peers that have not authenticated, by limit.",
            "limit",
            {reason.value: count for reason, count in limits.budget.overdrawn.items()},
        )
        yield _counters(
            "http_refused",
            "HTTP requests refused for their form, their token or a limit.",
            "reason",
            limits.refused,
        )
        yield _gauge("incoming_bytes", "Bytes of requests that are being received.", limits.incoming.total)
        yield _counter(
            "refused_for_incoming_bytes",
            "Requests refused because more than limits.incoming_bytes were being received.",
            limits.incoming.refused,
        )
        yield _counters(
            "forwarded_unreadable",
            "Values of X-Forwarded-For from trusted proxies that are no address, by kind.",
            "kind",
            limits.proxies.unreadable,
        )
        yield _counter("log_lines_left_out", "Log lines about peers that were left out.", limits.log_lines_left_out)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"callcenter_ws_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"callcenter_ws_{name}", text, value=value)


def _counters(name: str, text: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"callcenter_ws_{name}", text, labels=[label])
    for value, count in _bounded(counts, "other").items():
        family.add_metric([str(value)], count)
    return family


def _bounded(counts: Mapping[Label, int], other: Label) -> dict[Label, int]:
    """Return at most ``MAX_SERIES`` counts; all but the oldest are added up as ``other``.

    The oldest are kept, not the largest, so that no series disappears later.
    """
    kept = dict(list(counts.items())[: MAX_SERIES - 1])
    rest = sum(counts.values()) - sum(kept.values())
    return {**kept, other: kept.get(other, 0) + rest} if len(counts) > len(kept) else kept
