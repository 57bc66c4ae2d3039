"""``python -m bench --quick`` succeeds, and every event of every case arrives once and in order."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
DEADLINE = 900
DELIVERING = (
    "fan-out",
    "latency",
    "compression",
    "tenants",
    "ingest",
    "resume",
    "snapshot",
    "cluster",
    "bridge",
    "statistics",
    "calls",
)
OF_STORES = ("ingest", "resume", "snapshot", "statistics", "calls")
CASES = (
    "fan-out",
    "latency",
    "connect",
    "memory",
    "compression",
    "tenants",
    "ingest",
    "resume",
    "snapshot",
    "cluster",
    "hostile",
    "bridge",
    "statistics",
    "calls",
)
EXPLAINED = re.compile(r"not installed; bench/setup installs it$|not delivered completely and in order: ")
"""Why a peer has no figures: it is missing, or it has lost events, which some do on a busy machine."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON results of a run of all cases, by case."""
    folder = tmp_path_factory.mktemp("bench")
    command = [
        sys.executable,
        "-m",
        "bench",
        "--quick",
        "--folder",
        str(folder),
        "--json",
        str(folder / "results.json"),
    ]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert run.returncode == 0, run.stderr
    return {case["case"]: case for case in json.loads((folder / "results.json").read_text())["cases"]}


def test_every_case_has_run(results: dict[str, Any]) -> None:
    assert tuple(results) == CASES


@pytest.mark.parametrize("case", DELIVERING)
def test_delivery_is_complete_and_in_order(results: dict[str, Any], case: str) -> None:
    deliveries = results[case]["deliveries"]
    assert deliveries
    for delivery in deliveries:
        assert 0 < delivery["expected"] == delivery["received"], delivery
        assert (delivery["lost"], delivery["repeated_or_disordered"]) == (0, 0), delivery


@pytest.mark.parametrize("case", OF_STORES)
def test_every_store_is_measured(results: dict[str, Any], case: str) -> None:
    assert [row["label"] for row in results[case]["rows"] if row["unavailable"]] == []


@pytest.mark.parametrize("case", CASES)
def test_the_gateway_is_measured_and_missing_peers_are_named(results: dict[str, Any], case: str) -> None:
    for row in results[case]["rows"]:
        if row["unavailable"]:
            assert not row["label"].startswith("gateway")
            assert EXPLAINED.search(row["unavailable"]), row
    assert any(row["figures"] for row in results[case]["rows"])


@pytest.mark.parametrize("case", ["fan-out", "connect", "memory"])
@pytest.mark.parametrize("transport", ["plain", "TLS"])
def test_the_gateway_is_measured_with_each_transport(results: dict[str, Any], case: str, transport: str) -> None:
    modes = [row["label"] for row in results[case]["rows"] if row["label"].startswith(f"gateway | {transport}")]
    assert modes


def test_memory_goals_are_evaluated(results: dict[str, Any]) -> None:
    (plain, tls) = results["memory"]["ratios"]
    assert (plain["maximum"], tls["maximum"]) == (10, 36)
    assert {type(plain["met"]), type(tls["met"])} == {bool}
