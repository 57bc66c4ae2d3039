"""The metrics, parsed as Prometheus does."""

from __future__ import annotations

import pytest
from metrics_world import MetricsWorld, samples_of
from prometheus_client.parser import text_string_to_metric_families

from callcenter_ws.broker.ingest import unused_result
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.ops.account_metrics import AccountMetrics
from callcenter_ws.ops.families import MAX_SERIES
from callcenter_ws.ops.metrics import Metrics
from callcenter_ws.ops.peer_metrics import PeerMetrics
from callcenter_ws.redis.counters import RedisCounters
from callcenter_ws.runtime.client_address import TrustedProxies
from callcenter_ws.runtime.peer_budget import BudgetLimits
from callcenter_ws.runtime.peer_limits import PeerLimits, PeerLimitValues
from callcenter_ws.testing import FakeClock


@pytest.fixture
def world() -> MetricsWorld:
    return MetricsWorld()


def test_counters_are_read_at_the_time_of_the_scrape(world: MetricsWorld) -> None:
    assert world.value("messages_delivered_total") == 0
    world.hub.delivered += 5
    assert world.value("messages_delivered_total") == 5


def test_the_hub(world: MetricsWorld) -> None:
    hub = world.hub
    hub.connections_by.update({("agent", "/ws"): 2, ("visitor", "/ws/public"): 1})
    hub.opened, hub.received, hub.lagging, hub.lags, hub.conflated = 4, 9, 1, 3, 11
    hub.closed["normal"] = 1
    hub.dropped["gap"] = 6
    hub.handshakes_refused["unauthorized"] = 7
    hub.requests_refused["rate_limited"] = 8
    hub.from_history["lag"] = 10
    hub.replays["resumed"] = 12
    hub.resets["too_old"] = 13
    hub.snapshots["request"] = 14
    hub.closed_for_outgoing_bytes = 2
    value = world.value
    assert value("connections", role="agent", endpoint="/ws") == 2
    assert value("connections", role="visitor", endpoint="/ws/public") == 1
    assert value("connections_limit") == 500
    assert value("connections_opened_total") == 4
    assert value("connections_closed_total", code="normal") == 1
    assert value("messages_received_total") == 9
    assert value("messages_dropped_total", reason="gap") == 6
    assert value("handshakes_refused_total", reason="unauthorized") == 7
    assert value("requests_refused_total", reason="rate_limited") == 8
    assert value("closed_for_outgoing_bytes_total") == 2
    assert value("outgoing_bytes") == 7_000
    assert value("outgoing_bytes_limit") == 9_000
    assert value("lagging_clients") == 1
    assert value("client_lags_total") == 3
    assert value("messages_conflated_total") == 11
    assert value("messages_from_history_total", cause="lag") == 10
    assert value("replays_total", outcome="resumed") == 12
    assert value("resets_total", reason="too_old") == 13
    assert value("snapshots_total", cause="request") == 14


def test_what_has_not_happened_yet_is_zero_from_the_start(world: MetricsWorld) -> None:
    assert world.value("connections_closed_total", code="slow_consumer") == 0
    assert world.value("replays_total", outcome="too_old") == 0
    assert world.value("resets_total", reason="epoch_changed") == 0
    assert world.value("events_received_total", **{"class": "call"}) == 0


def test_events(world: MetricsWorld) -> None:
    ingest = world.ingest
    ingest.count(PublishResult("e", 1, "a"))
    ingest.count(PublishResult("e", 1, "a", duplicate=True))
    ingest.count(Refusal(ErrorCode.INVALID_EVENT))
    ingest.count(Refusal(ErrorCode.INVALID_EVENT))
    ingest.count(unused_result("a"))
    ingest.source_duplicates += 3
    ingest.valid["call.ringing"] += 2
    ingest.valid["call.ended"] += 3
    assert world.value("events_accepted_total") == 1
    assert world.value("events_duplicate_total") == 1
    assert world.value("source_events_duplicate_total") == 3
    assert world.value("unused_queue_stats_total") == 1
    assert world.value("events_refused_total", reason="invalid_event") == 2
    assert world.value("events_received_total", **{"class": "call"}) == 5


def test_the_store(world: MetricsWorld) -> None:
    store = world.store
    store.commit_seconds.observe(0.03)
    store.commits_failed, store.mail_stored, store.mail_sent, store.mail_acknowledged = 1, 2, 3, 4
    store.mail_displaced, store.mail_expired = 5, 6
    value = world.value
    assert value("store_ready") == 1
    assert value("store_waiting_events") == 5
    assert value("store_commit_seconds_bucket", le="0.05") == 1
    assert value("store_commits_failed_total") == 1
    assert value("mailbox_stored_total") == 2
    assert value("mailbox_sent_total") == 3
    assert value("mailbox_acknowledged_total") == 4
    assert value("mailbox_displaced_total") == 5
    assert value("mailbox_expired_total") == 6
    assert "callcenter_ws_redis_connected" not in world.metrics.render().decode()


def test_redis() -> None:
    world = MetricsWorld(redis=RedisCounters(connected=True, connections=2, clock_difference=-3.5), processes=3)
    assert world.redis is not None
    world.redis.round_trip_seconds.observe(0.002)
    assert world.value("redis_connected") == 1
    assert world.value("redis_connections_total") == 2
    assert world.value("redis_clock_difference_seconds") == -3.5
    assert world.value("cluster_processes") == 3
    assert world.value("redis_round_trip_seconds_count") == 1


def test_sources_and_amp_peers(world: MetricsWorld) -> None:
    world.sources.connected, world.sources.lost = 2, 7
    world.sources.syncs, world.sources.reconciled_events = 3, 12
    world.sources.delay_seconds.observe(42)
    world.amp_sessions.update({"source": 2, "unauthenticated": 1})
    world.amp_refused["unauthorized"] = 3
    value = world.value
    assert value("sources_connected") == 2
    assert value("sources_lost_total") == 7
    assert (value("source_syncs_total"), value("reconciled_events_total")) == (3, 12)
    assert value("source_event_delay_seconds_bucket", le="30.0") == 0
    assert value("source_event_delay_seconds_bucket", le="60.0") == 1
    assert value("amp_peers") == 3
    assert value("amp_sessions", state="source") == 2
    assert value("amp_refused_total", reason="unauthorized") == 3
    assert value("senders_waiting_events") == 12
    assert ("callcenter_ws_sources_waiting", ()) not in world.samples()
    world.sources.waiting = 1
    assert value("sources_waiting") == 1


def test_latency(world: MetricsWorld) -> None:
    world.metrics.observe_latency(0.003)
    world.metrics.observe_latency(99)
    assert world.value("publish_to_socket_seconds_count") == 2
    assert world.value("publish_to_socket_seconds_sum") == 99.003
    assert world.value("publish_to_socket_seconds_bucket", le="0.0025") == 0
    assert world.value("publish_to_socket_seconds_bucket", le="0.005") == 1
    assert world.value("publish_to_socket_seconds_bucket", le="10.0") == 1
    assert world.value("publish_to_socket_seconds_bucket", le="+Inf") == 2


def test_what_is_refused_to_unauthenticated_peers(world: MetricsWorld) -> None:
    limits = PeerLimits.create(
        FakeClock(), PeerLimitValues(budget=BudgetLimits(request_burst=1)), proxies=TrustedProxies(["10.0.0.0/8"])
    )
    world.metrics.add(PeerMetrics(limits))
    limits.incoming.total, limits.incoming.refused = 4_000, 3
    limits.budget.request("192.0.2.1")
    limits.budget.request("192.0.2.1")
    limits.count_refused("headers_too_large")
    limits.proxies.client_ip("10.0.0.1", ["unknown"])
    limits.log.left_out += 3
    value = world.value
    assert value("incoming_bytes") == 4_000
    assert value("incoming_bytes_limit") == limits.incoming.bound
    assert value("refused_for_incoming_bytes_total") == 3
    assert value("unauthenticated_sockets") == 0
    assert value("peer_limits_exceeded_total", limit="requests") == 1
    assert value("peer_limits_exceeded_total", limit="sockets") == 0
    assert value("http_refused_total", reason="headers_too_large") == 1
    assert value("forwarded_unreadable_total", kind="unknown") == 1
    assert value("log_lines_left_out_total") == 3


def test_signing_in(world: MetricsWorld) -> None:
    outcomes = {"wrong_password": 2}
    world.metrics.add(AccountMetrics(outcomes))
    assert world.value("sign_ins_total", outcome="ok") == 0
    assert world.value("sign_ins_total", outcome="wrong_password") == 2
    outcomes["ok"] = 1
    assert world.value("sign_ins_total", outcome="ok") == 1


def test_labels_are_bounded(world: MetricsWorld) -> None:
    world.hub.requests_refused.update({f"reason-{number}": 1 for number in range(1_000)})
    world.hub.connections_by.update({(f"role-{number}", "/ws"): 1 for number in range(1_000)})
    found = world.samples()
    for name in ("callcenter_ws_requests_refused_total", "callcenter_ws_connections"):
        series = [count for (sample, _), count in found.items() if sample == name]
        assert len(series) == MAX_SERIES
        assert sum(series) == 1_000
    assert world.value("requests_refused_total", reason="other") == 1_000 - MAX_SERIES + 1


def test_as_many_series_as_allowed_are_shown_as_they_are(world: MetricsWorld) -> None:
    world.hub.requests_refused.update({f"reason-{number}": 1 for number in range(MAX_SERIES)})
    assert world.value("requests_refused_total", reason=f"reason-{MAX_SERIES - 1}") == 1


def test_every_family_has_a_type_and_a_description(world: MetricsWorld) -> None:
    families = list(text_string_to_metric_families(world.metrics.render().decode()))
    assert all(family.documentation and family.type != "unknown" for family in families)
    names = {family.name for family in families}
    assert {"process_open_fds", "python_info", "python_gc_objects_collected"} <= names


def test_two_nodes_in_one_process_share_no_metrics(world: MetricsWorld) -> None:
    first, second = Metrics(), MetricsWorld()
    first.observe_latency(1)
    assert second.value("publish_to_socket_seconds_count") == 0
    assert b"version=" in first.content_type.encode()
    assert samples_of(first.render())
