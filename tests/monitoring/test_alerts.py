"""Each alert fires for series that it is about, and for no others; ``promtool test rules`` evaluates them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_tools import ROOT, promtool

RULES = ROOT / "etc" / "prometheus-rules.yml"

Series = dict[str, str]

STEPS = 160
"""Samples of each series, one every 15 seconds; the alerts are evaluated when they are nearly over."""


def constant(value: float) -> str:
    return f"{value}x{STEPS}"


def rising(amount: float) -> str:
    """Values that grow by an amount in each step."""
    return f"0+{amount}x{STEPS}"


def histogram(name: str, low: float, high: float) -> Series:
    """A histogram with many observations in one range, and none in the others."""
    return {
        f'callcenter_ws_{name}_bucket{{le="{low}"}}': constant(0),
        f'callcenter_ws_{name}_bucket{{le="{high}"}}': rising(10),
        f'callcenter_ws_{name}_bucket{{le="+Inf"}}': rising(10),
    }


CLIENTS = {'callcenter_ws_connections{role="agent"}': constant(500)}
LIMITS = 'callcenter_ws_peer_limits_exceeded_total{limit="requests"}'
REFUSED = 'callcenter_ws_handshakes_refused_total{reason="unauthorized"}'
PBX = '{source="pbx1"}'
CERTIFICATE = 'callcenter_ws_certificate_not_after_timestamp_seconds{endpoint="ssl:443"}'

CASES: dict[str, tuple[Series, Series]] = {
    "Down": ({"up": constant(0)}, {"up": constant(1)}),
    "NotReady": (
        {"callcenter_ws_ready": constant(0), "callcenter_ws_draining": constant(0)},
        {"callcenter_ws_ready": constant(0), "callcenter_ws_draining": constant(1)},
    ),
    "WorkersMissing": (
        {"callcenter_ws_workers": constant(1), "callcenter_ws_workers_wanted": constant(2)},
        {"callcenter_ws_workers": constant(2), "callcenter_ws_workers_wanted": constant(2)},
    ),
    "Restarts": (
        {"process_start_time_seconds": "1x130 2x5 3x5 4x30"},
        {"process_start_time_seconds": "1x130 2x5 3x40"},
    ),
    "ReactorSlow": (histogram("reactor_delay_seconds", 0.25, 0.5), histogram("reactor_delay_seconds", 0.05, 0.1)),
    "DeliverySlow": (
        histogram("publish_to_socket_seconds", 0.5, 1.0),
        histogram("publish_to_socket_seconds", 0.1, 0.25),
    ),
    "CommitSlow": (histogram("store_commit_seconds", 0.25, 0.5), histogram("store_commit_seconds", 0.05, 0.1)),
    "EventsUnavailable": (
        {'callcenter_ws_events_refused_total{reason="unavailable"}': rising(1)},
        {'callcenter_ws_events_refused_total{reason="invalid_event"}': rising(1)},
    ),
    "RedisUnreachable": (
        {"callcenter_ws_redis_connected": constant(0)},
        {"callcenter_ws_redis_connected": constant(1)},
    ),
    "RedisSlow": (
        histogram("redis_round_trip_seconds", 0.1, 0.25),
        histogram("redis_round_trip_seconds", 0.005, 0.01),
    ),
    "ClockWrong": (
        {"callcenter_ws_redis_clock_difference_seconds": constant(-5)},
        {"callcenter_ws_redis_clock_difference_seconds": constant(-0.1)},
    ),
    "NodesDisagree": (
        {f'callcenter_ws_cluster_processes{{worker="{number}"}}': constant(number) for number in (2, 3)},
        {f'callcenter_ws_cluster_processes{{worker="{number}"}}': constant(3) for number in (1, 2, 3)},
    ),
    "SourceDown": (
        {"callcenter_ws_sources_lost_total": f"0x{STEPS - 20} 1x20"},
        {"callcenter_ws_sources_lost_total": constant(1)},
    ),
    "SourceLate": (
        histogram("source_event_delay_seconds", 30.0, 60.0),
        histogram("source_event_delay_seconds", 0.5, 1.0),
    ),
    "SendersWait": (
        {"callcenter_ws_senders_waiting_events": constant(20_000)},
        {"callcenter_ws_senders_waiting_events": constant(100)},
    ),
    "DaemonRefused": (
        {'callcenter_ws_amp_refused_total{reason="unauthorized"}': rising(2)},
        {'callcenter_ws_amp_refused_total{reason="unauthorized"}': constant(100)},
    ),
    "NoEvents": (
        {"callcenter_ws_events_accepted_total": constant(5), "callcenter_ws_amp_peers": constant(2)},
        {"callcenter_ws_events_accepted_total": constant(5), "callcenter_ws_amp_peers": constant(0)},
    ),
    "MessagesLost": (
        {'callcenter_ws_messages_dropped_total{reason="history_exceeded"}': rising(1)},
        {'callcenter_ws_messages_dropped_total{reason="history_exceeded"}': constant(7)},
    ),
    "MailboxLoss": (
        {"callcenter_ws_mailbox_displaced_total": rising(1)},
        {"callcenter_ws_mailbox_displaced_total": constant(7)},
    ),
    "ClientsLag": (
        {"callcenter_ws_lagging_clients": constant(100), **CLIENTS},
        {"callcenter_ws_lagging_clients": constant(20), **CLIENTS},
    ),
    "SlowClientsClosed": (
        {'callcenter_ws_connections_closed_total{code="slow_consumer"}': rising(10), **CLIENTS},
        {'callcenter_ws_connections_closed_total{code="going_away"}': rising(10), **CLIENTS},
    ),
    "InternalErrors": (
        {'callcenter_ws_connections_closed_total{code="internal_error"}': rising(1)},
        {'callcenter_ws_connections_closed_total{code="internal_error"}': constant(3)},
    ),
    "Attack": ({LIMITS: rising(60)}, {LIMITS: rising(1)}),
    "Refusals": (
        {REFUSED: rising(150), "callcenter_ws_connections_opened_total": rising(15)},
        {REFUSED: rising(150), "callcenter_ws_connections_opened_total": rising(300)},
    ),
    "OutgoingBytes": (
        {"callcenter_ws_outgoing_bytes": constant(90), "callcenter_ws_outgoing_bytes_limit": constant(100)},
        {"callcenter_ws_outgoing_bytes": constant(50), "callcenter_ws_outgoing_bytes_limit": constant(100)},
    ),
    "IncomingBytes": (
        {"callcenter_ws_incoming_bytes": constant(90), "callcenter_ws_incoming_bytes_limit": constant(100)},
        {"callcenter_ws_incoming_bytes": constant(50), "callcenter_ws_incoming_bytes_limit": constant(100)},
    ),
    "ConnectionsNearLimit": (
        {**CLIENTS, "callcenter_ws_connections_limit": constant(520)},
        {**CLIENTS, "callcenter_ws_connections_limit": constant(5_000)},
    ),
    "Descriptors": (
        {"process_open_fds": constant(90), "process_max_fds": constant(100)},
        {"process_open_fds": constant(50), "process_max_fds": constant(100)},
    ),
    # The time of the evaluation begins with 0.
    "CertificateExpires": ({CERTIFICATE: constant(10 * 86_400)}, {CERTIFICATE: constant(60 * 86_400)}),
    "ReloadFailed": (
        {"callcenter_ws_last_reload_successful": constant(0)},
        {"callcenter_ws_last_reload_successful": constant(1)},
    ),
    "StatisticsBehind": (
        {"callcenter_ws_figures_behind_events": constant(2_000)},
        {"callcenter_ws_figures_behind_events": f"20000x{STEPS - 6} 0 20000x5"},
    ),
    "StatisticsIncomplete": (
        {"callcenter_ws_figures_gaps_total": rising(1)},
        {"callcenter_ws_figures_gaps_total": constant(7)},
    ),
    "ArchiveFails": (
        {
            "callcenter_ws_archive_appends_failed_total": rising(1),
            "callcenter_ws_archive_events_lost_total": constant(0),
        },
        {
            "callcenter_ws_archive_appends_failed_total": constant(7),
            "callcenter_ws_archive_events_lost_total": constant(2),
        },
    ),
    "WebhooksFail": (
        {"callcenter_ws_webhooks_waiting": constant(1)},
        {"callcenter_ws_webhooks_waiting": f"5x{STEPS - 6} 0 2x5"},
    ),
    "WebhooksDropped": (
        {"callcenter_ws_webhooks_dropped_total": rising(1)},
        {"callcenter_ws_webhooks_dropped_total": constant(7)},
    ),
    "CommandsNotDone": (
        {
            'callcenter_ws_commands_closed_total{outcome="done"}': rising(1),
            'callcenter_ws_commands_closed_total{outcome="timeout"}': rising(0.2),
            'callcenter_ws_commands_closed_total{outcome="outcome_unknown"}': rising(0.2),
        },
        {
            'callcenter_ws_commands_closed_total{outcome="done"}': rising(5),
            'callcenter_ws_commands_closed_total{outcome="rejected"}': rising(50),
            'callcenter_ws_commands_closed_total{outcome="timeout"}': rising(0.5),
        },
    ),
    "AuditFails": (
        {
            'callcenter_ws_audit_lines_total{outcome="lost"}': rising(1),
            "callcenter_ws_audit_lines_waiting": f"3x{STEPS - 6} 0 2x5",
        },
        {
            'callcenter_ws_audit_lines_total{outcome="lost"}': constant(7),
            "callcenter_ws_audit_lines_waiting": f"3x{STEPS - 6} 0 2x5",
        },
    ),
    "BridgeUnreachable": ({'up{job="callcenter-bridge"}': constant(0)}, {'up{job="callcenter-bridge"}': constant(1)}),
    "BridgeExchangeDown": (
        {f"callcenter_bridge_up{PBX}": constant(0)},
        {f"callcenter_bridge_up{PBX}": f"1x{STEPS - 5} 0x2 1x3"},
    ),
    "BridgeGatewayAway": (
        {f"callcenter_bridge_gateway_connected{PBX}": constant(0)},
        {f"callcenter_bridge_gateway_connected{PBX}": f"1x{STEPS - 5} 0x2 1x3"},
    ),
    "BridgeSpoolGrows": (
        {f"callcenter_bridge_spool_events{PBX}": rising(100)},
        {f"callcenter_bridge_spool_events{PBX}": f"0x{STEPS - 10} 5000x5 0x5"},
    ),
    "BridgeSpoolFills": (
        {
            f"callcenter_bridge_spool_events{PBX}": constant(600),
            f"callcenter_bridge_spool_events_limit{PBX}": constant(1_000),
        },
        {
            f"callcenter_bridge_spool_events{PBX}": constant(400),
            f"callcenter_bridge_spool_events_limit{PBX}": constant(1_000),
        },
    ),
    "BridgeSpoolFull": (
        {f"callcenter_bridge_spool_full_total{PBX}": f"0x{STEPS - 20} 1x20"},
        {f"callcenter_bridge_spool_full_total{PBX}": constant(1)},
    ),
    # A series begins with its first event.
    "BridgeEventsRefused": (
        {'callcenter_bridge_refused_events_total{source="pbx1",code="too_large"}': f"_x{STEPS - 20} 1x20"},
        {'callcenter_bridge_refused_events_total{source="pbx1",code="too_large"}': constant(3)},
    ),
    "BridgeWithoutTenant": (
        {'callcenter_bridge_without_tenant_total{source="pbx1",kind="queue"}': f"2x{STEPS - 20} 3x20"},
        {'callcenter_bridge_without_tenant_total{source="pbx1",kind="queue"}': constant(3)},
    ),
    "BridgeOverLimit": (
        {'callcenter_bridge_over_limit_total{source="pbx1",kind="calls"}': f"_x{STEPS - 20} 1x20"},
        {'callcenter_bridge_over_limit_total{source="pbx1",kind="calls"}': constant(3)},
    ),
    "BridgeEventsLate": (
        {
            'callcenter_bridge_lag_seconds_bucket{source="pbx1",le="5.0"}': constant(0),
            'callcenter_bridge_lag_seconds_bucket{source="pbx1",le="10.0"}': rising(10),
            'callcenter_bridge_lag_seconds_bucket{source="pbx1",le="+Inf"}': rising(10),
        },
        {
            'callcenter_bridge_lag_seconds_bucket{source="pbx1",le="0.05"}': rising(10),
            'callcenter_bridge_lag_seconds_bucket{source="pbx1",le="+Inf"}': rising(10),
        },
    ),
    "BridgeReloadFailed": (
        {"callcenter_bridge_last_reload_successful": constant(0)},
        {"callcenter_bridge_last_reload_successful": constant(1)},
    ),
}
"""For each alert series that set it off, and similar ones that do not."""


def of_node(series: str) -> str:
    """Return a series with the labels that Prometheus adds."""
    name, _, labels = series.partition("{")
    own = labels.removesuffix("}")
    job = "callcenter-bridge" if name.startswith("callcenter_bridge_") else "callcenter-ws"
    labels = own if own.startswith("job=") else ",".join(filter(None, (f'job="{job}"', own)))
    return f'{name}{{instance="node-1",{labels}}}'


def firing(folder: Path, series: Series, expected: list[str]) -> None:
    """Check which alerts fire for series."""
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [{"series": of_node(name), "values": values} for name, values in series.items()],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": f"{(STEPS - 2) * 15}s",
                        "exp_samples": [
                            {"labels": f'{{alertname="CallcenterWs{name}"}}', "value": 1} for name in expected
                        ],
                    }
                ],
            }
        ],
    }
    file = folder / "alerts.yml"
    # JSON is YAML.
    file.write_text(json.dumps(test))
    checked = promtool("test", "rules", str(file))
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", CASES)
def test_the_alert_fires(name: str, tmp_path: Path) -> None:
    firing(tmp_path, CASES[name][0], [name])


@pytest.mark.parametrize("name", CASES)
def test_no_alert_fires(name: str, tmp_path: Path) -> None:
    firing(tmp_path, CASES[name][1], [])


def test_no_alert_is_left_out() -> None:
    assert re.findall(r"- alert: CallcenterWs(\w+)", RULES.read_text()) == list(CASES)


def test_the_files_for_prometheus_are_valid() -> None:
    for arguments in (("check", "rules"), ("check", "config")):
        file = RULES if arguments[1] == "rules" else ROOT / "etc" / "prometheus.yml"
        checked = promtool(*arguments, str(file))
        assert checked.returncode == 0, checked.stdout


def test_each_alert_says_what_and_where() -> None:
    for block in RULES.read_text().split("- alert: ")[1:]:
        assert re.search(r"severity: (critical|warning)\n", block)
        for annotation in ("summary", "description", "manual"):
            assert f"\n          {annotation}: " in block, block
