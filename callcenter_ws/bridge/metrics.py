"""The metrics of a bridge for Prometheus, on a port of its own. No label has a user, a tenant or an address."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client import generate_latest as render
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from callcenter_ws import __version__
from callcenter_ws.bridge.exchange import ExchangeService
from callcenter_ws.bridge.reload import BridgeReload
from callcenter_ws.bridge.service import BridgeService
from callcenter_ws.remote import LinkState

MAX_KINDS = 31
"""Values of a label of a source that are shown apart; the others are added up as ``other``."""

_PREFIX = "callcenter_bridge_"


def metrics_site(service: BridgeService, reload: BridgeReload) -> Site:
    """Return the site that has ``/metrics``."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(BridgeMetrics(service, reload))
    root = Resource()
    root.putChild(b"metrics", _MetricsResource(registry))
    return MetricsSite(root, timeout=30)


class MetricsSite(Site):
    """A site whose requests are no lines of the log."""

    noisy = False

    def log(self, request: HTTPRequest) -> None:
        """Log nothing."""


class _MetricsResource(Resource):
    """Answers a scrape."""

    isLeaf = True

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def render_GET(self, request: Request) -> bytes:
        """Return all metrics in the Prometheus text format."""
        request.setHeader(b"Content-Type", CONTENT_TYPE_LATEST.encode())
        return render(self._registry)


class BridgeMetrics(Collector):
    """Reads the counters of a bridge at each scrape."""

    def __init__(self, service: BridgeService, reload: BridgeReload) -> None:
        self._service = service
        self._reload = reload

    def describe(self) -> Iterable[Metric]:
        """Return nothing: names are not checked when a collector is added."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Return the families with their present values."""
        yield InfoMetricFamily("callcenter_bridge_build", "The version of callcenter-ws.", {"version": __version__})
        yield _gauge("last_reload_successful", "Whether the last reload was applied.", self._reload.is_successful)
        yield self._states("up", "Whether the exchange is connected and synchronized.", lambda one: one.health.is_up)
        yield self._states("gateway_connected", "Whether the source is connected to the gateway.", _is_connected)
        yield self._states("spool_events", "Events that the gateway has not taken.", _waiting)
        yield self._states("spool_events_limit", "Events that a spool may hold.", self._limit)
        yield self._states("unspooled_events", "Of these, events that are not on disk.", _unspooled)
        yield self._counts("messages", "Messages of the exchange.", _messages)
        yield self._counts("sessions", "Sessions with the exchange.", _sessions)
        yield self._counts("synchronizations", "Complete lists of the exchange.", lambda one: one.counters.resyncs)
        yield self._counts("published_events", "Events made.", lambda one: one.counters.events)
        yield self._counts("reconciled_events", "Events that lists have shown.", lambda one: one.counters.reconciled)
        yield self._counts("spool_full", "How often the exchange was left.", lambda one: one.counters.pauses)
        yield self._kinds("ignored_messages", "Events of the exchange without use.", "name", _ignored)
        yield self._kinds("refused_events", "Refused events.", "code", lambda one: one.counters.refused)
        yield self._kinds("without_tenant", "What had no tenant.", "kind", lambda one: one.unmatched)
        yield self._kinds("stray_events", "Events about calls that were not known.", "name", lambda one: one.strays)
        yield self._kinds("over_limit", "What was over a limit.", "kind", lambda one: one.over_limit)
        yield self._kinds("losses", "Ended sessions and failed attempts.", "reason", lambda one: one.counters.losses)
        yield self._kinds("commands", "Commands that have ended.", "outcome", lambda one: one.counters.commands)
        yield self._lag()

    def _limit(self, exchange: ExchangeService) -> float:
        return self._service.settings.gateway.buffer

    def _states(self, name: str, text: str, of: Callable[[ExchangeService], float | None]) -> Metric:
        family = GaugeMetricFamily(_PREFIX + name, text, labels=["source"])
        for exchange in self._service.exchanges:
            family.add_metric([exchange.settings.name], of(exchange) or 0)
        return family

    def _counts(self, name: str, text: str, of: Callable[[ExchangeService], int]) -> Metric:
        family = CounterMetricFamily(_PREFIX + name, text, labels=["source"])
        for exchange in self._service.exchanges:
            family.add_metric([exchange.settings.name], of(exchange))
        return family

    def _kinds(self, name: str, text: str, label: str, of: Callable[[ExchangeService], Mapping[str, int]]) -> Metric:
        family = CounterMetricFamily(_PREFIX + name, text, labels=["source", label])
        for exchange in self._service.exchanges:
            for kind, count in _bounded(of(exchange)).items():
                family.add_metric([exchange.settings.name, kind], count)
        return family

    def _lag(self) -> Metric:
        family = HistogramMetricFamily(
            f"{_PREFIX}lag_seconds", "From an event's time on the exchange to the spool.", labels=["source"]
        )
        for exchange in self._service.exchanges:
            lag = exchange.counters.lag
            bounds = [*(str(float(bound)) for bound in lag.bounds), "+Inf"]
            buckets = list(zip(bounds, accumulate(lag.counts), strict=True))
            family.add_metric([exchange.settings.name], buckets=buckets, sum_value=lag.sum)
        return family


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, text, value=float(value))


def _is_connected(exchange: ExchangeService) -> float:
    return exchange.broadcaster.state is LinkState.CONNECTED


def _waiting(exchange: ExchangeService) -> float:
    return exchange.broadcaster.unacknowledged


def _unspooled(exchange: ExchangeService) -> float:
    return exchange.broadcaster.unspooled


def _messages(exchange: ExchangeService) -> int:
    return exchange.traffic.messages


def _sessions(exchange: ExchangeService) -> int:
    return exchange.traffic.sessions


def _ignored(exchange: ExchangeService) -> Mapping[str, int]:
    return exchange.traffic.skipped


def _bounded(counts: Mapping[str, int]) -> Mapping[str, int]:
    """Return at most ``MAX_KINDS`` counts and the sum of the others. The oldest are kept, so that none disappears."""
    if len(counts) <= MAX_KINDS:
        return counts
    kept = dict(list(counts.items())[:MAX_KINDS])
    return {**kept, "other": sum(counts.values()) - sum(kept.values()) + kept.get("other", 0)}
