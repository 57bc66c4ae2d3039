"""The metrics of a bridge: they are those of the manual, and say what was counted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bridge_metrics_world import count_everything, exposition, new_bridge
from prometheus_client.parser import text_string_to_metric_families

from callcenter_ws.bridge.loss import Loss, LostReason
from callcenter_ws.bridge.metrics import MAX_KINDS
from callcenter_ws.bridge.service import BridgeService
from callcenter_ws.bridge.summary import summary_of

MANUAL = Path(__file__).parents[2] / "docs" / "metrics.rst"
_ROW = re.compile(r"   \* - ``(callcenter_bridge_\w+)``\n     - (\w+)\n     -(?: (.*))?\n     - (.+)")


@pytest.fixture
def bridge(tmp_path: Path) -> BridgeService:
    return new_bridge(tmp_path)


def test_the_manual_has_exactly_these_metrics(bridge: BridgeService) -> None:
    count_everything(bridge)
    rows = {
        name: (kind, frozenset(re.findall(r"``(\w+)``", labels or "")))
        for name, kind, labels, _ in _ROW.findall(MANUAL.read_text())
    }
    found = {}
    for family in text_string_to_metric_families(exposition(bridge)):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = (family.type, frozenset(labels))
    assert found == rows


def test_what_is_counted_is_shown(bridge: BridgeService) -> None:
    (exchange,) = bridge.exchanges
    exchange.counters.count_loss(Loss(LostReason.TIMEOUT, "no answer").reason)
    exchange.counters.lag.observe(0.02)
    text = exposition(bridge)
    assert 'callcenter_bridge_losses_total{reason="timeout",source="pbx1"} 1.0' in text
    assert 'callcenter_bridge_lag_seconds_bucket{le="0.05",source="pbx1"} 1.0' in text
    assert 'callcenter_bridge_up{source="pbx1"} 0.0' in text


def test_the_number_of_series_is_bounded(bridge: BridgeService) -> None:
    (exchange,) = bridge.exchanges
    for number in range(100):
        exchange.counters.count_refused(f"code{number}")
        exchange.traffic.skipped[f"Event{number}"] = 2
    text = exposition(bridge)
    assert text.count("callcenter_bridge_refused_events_total{") <= MAX_KINDS + 2
    assert text.count("callcenter_bridge_ignored_messages_total{") == MAX_KINDS + 1
    assert f'callcenter_bridge_ignored_messages_total{{name="other",source="pbx1"}} {2.0 * (100 - MAX_KINDS)}' in text


def test_the_summary_names_what_was_lost(bridge: BridgeService) -> None:
    (exchange,) = bridge.exchanges
    assert "over a limit" not in summary_of(exchange)
    exchange._over_limit["calls"] = 2
    exchange._strays["Hangup"] = 3
    assert "over a limit: calls 2, of unknown calls: Hangup 3" in summary_of(exchange)
