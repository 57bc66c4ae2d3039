"""The metrics, parsed as Prometheus does."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from callcenter_ws.broker.ingest import IngestCounters
from callcenter_ws.delivery.counters import HubCounters
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.ops.metrics import MAX_SERIES, Metrics
from callcenter_ws.runtime.client_address import TrustedProxies
from callcenter_ws.runtime.peer_budget import BudgetLimits
from callcenter_ws.runtime.peer_limits import PeerLimits, PeerLimitValues
from callcenter_ws.sources.registry import SourceCounters
from callcenter_ws.testing import FakeClock

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def hub() -> HubCounters:
    return HubCounters()


@pytest.fixture
def ingest() -> IngestCounters:
    return IngestCounters()


@pytest.fixture
def metrics(hub: HubCounters, ingest: IngestCounters) -> Metrics:
    metrics = Metrics()
    metrics.watch(
        hub, ingest, lambda: 3, lambda: {"ready": True, "waiting_events": 5}, SourceCounters(2, 7), lambda: 7_000
    )
    return metrics


def samples(metrics: Metrics) -> Samples:
    families = list(text_string_to_metric_families(metrics.render().decode()))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[f"callcenter_ws_{name}", tuple(sorted(labels.items()))]


def test_counters_are_read_at_the_time_of_the_scrape(metrics: Metrics, hub: HubCounters) -> None:
    assert value(metrics, "messages_delivered_total") == 0
    hub.delivered += 5
    assert value(metrics, "messages_delivered_total") == 5


def test_the_hub(metrics: Metrics, hub: HubCounters) -> None:
    hub.connections_by.update({("agent", "/ws"): 2, ("visitor", "/ws/public"): 1})
    hub.opened, hub.received, hub.lagging = 4, 9, 1
    hub.closed["normal"] = 1
    hub.dropped["gap"] = 6
    hub.handshakes_refused["unauthorized"] = 7
    assert value(metrics, "connections", role="agent", endpoint="/ws") == 2
    assert value(metrics, "connections", role="visitor", endpoint="/ws/public") == 1
    assert value(metrics, "connections_opened_total") == 4
    assert value(metrics, "connections_closed_total", code="normal") == 1
    assert value(metrics, "messages_received_total") == 9
    assert value(metrics, "messages_dropped_total", reason="gap") == 6
    assert value(metrics, "handshakes_refused_total", reason="unauthorized") == 7
    hub.closed_for_outgoing_bytes = 2
    assert value(metrics, "closed_for_outgoing_bytes_total") == 2
    assert value(metrics, "outgoing_bytes") == 7_000
    assert value(metrics, "lagging_clients") == 1
    assert value(metrics, "amp_peers") == 3
    assert value(metrics, "sources_connected") == 2
    assert value(metrics, "sources_lost_total") == 7
    assert value(metrics, "store_ready") == 1
    assert value(metrics, "store_waiting_events") == 5


def test_the_ingest_counters(metrics: Metrics, ingest: IngestCounters) -> None:
    ingest.count(PublishResult("e", 1, "a"))
    ingest.count(PublishResult("e", 1, "a", duplicate=True))
    ingest.count(Refusal(ErrorCode.INVALID_EVENT))
    ingest.count(Refusal(ErrorCode.INVALID_EVENT))
    assert value(metrics, "events_accepted_total") == 1
    assert value(metrics, "events_duplicate_total") == 1
    ingest.source_duplicates += 3
    assert value(metrics, "source_events_duplicate_total") == 3
    assert value(metrics, "events_refused_total", reason="invalid_event") == 2


def test_latency(metrics: Metrics) -> None:
    metrics.observe_latency(0.003)
    metrics.observe_latency(99)
    assert value(metrics, "publish_to_socket_seconds_count") == 2
    assert value(metrics, "publish_to_socket_seconds_bucket", le="0.0025") == 0
    assert value(metrics, "publish_to_socket_seconds_bucket", le="0.005") == 1
    assert value(metrics, "publish_to_socket_seconds_bucket", le="10.0") == 1


def test_what_is_refused_to_unauthenticated_peers(metrics: Metrics) -> None:
    limits = PeerLimits.create(
        FakeClock(), PeerLimitValues(budget=BudgetLimits(request_burst=1)), proxies=TrustedProxies(["10.0.0.0/8"])
    )
    metrics.watch_peers(limits)
    limits.incoming.total, limits.incoming.refused = 4_000, 3
    assert value(metrics, "incoming_bytes") == 4_000
    assert value(metrics, "refused_for_incoming_bytes_total") == 3
    limits.budget.request("192.0.2.1")
    limits.budget.request("192.0.2.1")
    limits.count_refused("headers_too_large")
    limits.proxies.client_ip("10.0.0.1", ["unknown"])
    limits.log.left_out += 3
    assert value(metrics, "unauthenticated_sockets") == 0
    assert value(metrics, "peer_limits_exceeded_total", limit="requests") == 1
    assert value(metrics, "http_refused_total", reason="headers_too_large") == 1
    assert value(metrics, "forwarded_unreadable_total", kind="unknown") == 1
    assert value(metrics, "log_lines_left_out_total") == 3


def test_labels_are_bounded(metrics: Metrics, hub: HubCounters) -> None:
    hub.closed.update({f"code-{number}": 1 for number in range(1_000)})
    hub.connections_by.update({(f"role-{number}", "/ws"): 1 for number in range(1_000)})
    found = samples(metrics)
    for name in ("callcenter_ws_connections_closed_total", "callcenter_ws_connections"):
        series = [count for (sample, _), count in found.items() if sample == name]
        assert len(series) == MAX_SERIES
        assert sum(series) == 1_000
    assert value(metrics, "connections_closed_total", code="other") == 1_000 - MAX_SERIES + 1


def test_no_label_can_name_a_tenant_a_user_or_an_address(
    metrics: Metrics, hub: HubCounters, ingest: IngestCounters
) -> None:
    hub.connections_by["agent", "/ws"] = hub.closed["normal"] = hub.dropped["gap"] = 1
    hub.handshakes_refused["forbidden"] = ingest.refused["forbidden"] = 1
    ours = {label for name, labels in samples(metrics) if name.startswith("callcenter_ws_") for label, _ in labels}
    assert ours == {"role", "endpoint", "code", "reason", "le"}


def test_every_family_has_a_type_and_a_description(metrics: Metrics) -> None:
    families = list(text_string_to_metric_families(metrics.render().decode()))
    assert all(family.documentation and family.type != "unknown" for family in families)
    names = {family.name for family in families}
    assert {"process_open_fds", "python_info", "python_gc_objects_collected"} <= names


def test_two_nodes_in_one_process_share_no_metrics(hub: HubCounters) -> None:
    first, second = Metrics(), Metrics()
    first.observe_latency(1)
    assert value(second, "publish_to_socket_seconds_count") == 0
    assert b"version=" in first.content_type.encode()
