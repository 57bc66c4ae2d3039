"""The manual, the dashboard and the alerts name the metrics that real gateways have."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_tools import ROOT, promtool

from bench.dashboard.panels import read_panels

_OTHER_NAMES = ("callcenter_ws_fields",)
"""What begins like a metric: a field of log events."""

Families = dict[str, tuple[str, frozenset[str]]]

MANUAL = ROOT / "docs" / "metrics.rst"
RULES = ROOT / "etc" / "prometheus-rules.yml"

_ROW = re.compile(
    r"   \* - ``(callcenter_ws_\w+)``\n     - (\w+)\n     -(?: (.*))?\n     - (.+)",
)
_OF_PROMETHEUS = {"up", "process_start_time_seconds", "process_cpu_seconds_total", "process_resident_memory_bytes"}
_OF_PROMETHEUS |= {"process_open_fds", "process_max_fds"}


def names_in(expression: str) -> set[str]:
    """Return the names of metrics in a query; those of buckets without their suffix."""
    without_strings = re.sub(r'"[^"]*"', "", expression)
    names = re.findall(r"\b(?:callcenter_ws|callcenter_bridge|process)_\w+|\bup\b", without_strings)
    return {re.sub("_(bucket|sum|count)$", "", name) for name in names}


def labels_in(expression: str) -> set[str]:
    """Return the labels by which a query selects and groups."""
    selected = re.findall(r"[{,](\w+)(?:=~|!=|!~|=)", expression)
    grouped = [label for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")]
    return {label.strip() for label in (*selected, *grouped) if label.strip()}


def queries_of_the_dashboard() -> list[tuple[str, str]]:
    return [(panel.title, query.expression) for panel in read_panels() for query in panel.queries]


def alerts() -> dict[str, str]:
    """Return the expressions of the alerts by name."""
    text = RULES.read_text()
    found = re.findall(r"- alert: (\w+)\n        expr: >-\n((?: {10}.*\n)+)", text)
    assert len(found) == text.count("- alert:")
    return {name: " ".join(lines.split()) for name, lines in found}


def test_the_manual_has_exactly_the_metrics_of_real_gateways(families: Families) -> None:
    rows = {
        name: (kind, frozenset(re.findall(r"``(\w+)``", labels or "")))
        for name, kind, labels, _ in _ROW.findall(MANUAL.read_text())
    }
    ours = {name: value for name, value in families.items() if name.startswith("callcenter_ws_")}
    assert rows.keys() - ours.keys() == set()
    assert ours.keys() - rows.keys() == set()
    assert rows == ours


def test_the_manual_names_the_metrics_of_the_process(families: Families) -> None:
    ours = ("callcenter_ws_", "callcenter_bridge_", "python_gc_")
    for name in families.keys() - {name for name in families if name.startswith(ours)}:
        assert f"``{name}``" in MANUAL.read_text()


def test_every_page_names_metrics_that_there_are(families: Families) -> None:
    for page in [*(ROOT / "docs").glob("*.rst"), ROOT / "README.rst", *filter(Path.is_file, (ROOT / "etc").rglob("*"))]:
        for name in re.findall(r"\bcallcenter_ws_\w+", page.read_text()):
            assert re.sub("_(bucket|sum|count)$", "", name) in {*families, *_OTHER_NAMES}, (page.name, name)


@pytest.mark.parametrize(("title", "expression"), queries_of_the_dashboard())
def test_the_dashboard_asks_for_metrics_that_there_are(title: str, expression: str, families: Families) -> None:
    used = names_in(expression)
    assert used
    assert used <= families.keys() | _OF_PROMETHEUS


@pytest.mark.parametrize(("name", "expression"), alerts().items())
def test_the_alerts_are_about_metrics_that_there_are(name: str, expression: str, families: Families) -> None:
    used = names_in(expression)
    assert used
    assert used <= families.keys() | _OF_PROMETHEUS


@pytest.mark.parametrize("expression", [*alerts().values(), *(query for _, query in queries_of_the_dashboard())])
def test_queries_use_labels_that_their_metrics_have(expression: str, families: Families) -> None:
    known = {"job", "instance", "worker", "le"}
    for name in names_in(expression) & families.keys():
        known |= families[name][1]
    assert labels_in(expression) <= known


def test_every_label_is_known_and_none_can_name_a_tenant_a_user_or_an_address(families: Families) -> None:
    labels = {label for name, (_, own) in families.items() if name.startswith("callcenter_ws_") for label in own}
    assert labels == {
        "cause", "class", "code", "endpoint", "kind", "limit", "outcome", "reason", "role", "state", "version",
    }  # fmt: skip


def test_the_manual_has_a_section_for_each_alert_and_no_other() -> None:
    text = RULES.read_text()
    named = re.findall(r"manual: metrics\.html#(\S+)", text)
    assert len(named) == len(alerts())
    assert sorted(named) == sorted(re.findall(r"^\.\. _(alert-[\w-]+):$", MANUAL.read_text(), re.MULTILINE))
    for name, anchor in zip(alerts(), named, strict=True):
        title = name.removeprefix("CallcenterWs")
        assert f".. _{anchor}:\n\n{title}\n" in MANUAL.read_text()


def test_the_manual_names_panels_that_there_are() -> None:
    titles = [panel.title for panel in read_panels()]
    manual = MANUAL.read_text()
    named = re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", manual[manual.index(".. _walk-throughs:") :])
    assert named
    for name in named:
        assert any(title.startswith(" ".join(name.split())) for title in titles), name


def test_the_dashboard_can_be_imported() -> None:
    """It has no data source of its own, and each panel has a place, an id and a description."""
    dashboard = json.loads((ROOT / "etc" / "grafana-dashboard.json").read_text())
    assert [one["name"] for one in dashboard["templating"]["list"]] == ["datasource", "job", "instance"]
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    assert len({panel["title"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        assert all(x < 24 for x, _ in own)
        cells |= own
    for panel in panels:
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all("${datasource}" in target["datasource"]["uid"] for target in panel["targets"])
        assert all('instance=~"$instance"' in target["expr"] for target in panel["targets"])


def test_the_expositions_follow_the_rules_of_prometheus(single: str, with_workers: str) -> None:
    for text in (single, with_workers):
        checked = promtool("check", "metrics", text=text)
        assert (checked.returncode, checked.stdout) == (0, "")


def test_a_worker_is_named_in_every_sample_of_a_node_with_workers(with_workers: str) -> None:
    for family in text_string_to_metric_families(with_workers):
        for sample in family.samples:
            assert ("worker" in sample.labels) is not sample.name.startswith("callcenter_ws_workers"), sample


def test_the_certificate_in_use_is_shown(single: str) -> None:
    assert re.search(
        r'^callcenter_ws_certificate_not_after_timestamp_seconds\{endpoint="ssl:0:127\.0\.0\.1"\} \d\.\d+e\+09$',
        single,
        re.MULTILINE,
    )
