"""Compares the figures of gateways with a fold of the exported stream, and with a second implementation."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from datetime import datetime
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

from figure_load import ORDERLY, TENANTS
from processes import CALLCENTER_WS, DEADLINE
from restartable import RestartableGateway, until

from callcenter_ws.cli.main import main
from callcenter_ws.statistics.service_level import METHODS
from tests.statistics.reference_figures import Event, queue_figures, state_seconds

Parameters = Mapping[str, str]

PERIODS: tuple[Parameters, ...] = (
    {},
    {"interval": "15"},
    {"interval": "60", "from": "-4", "to": "+1"},
    {"interval": "30", "queue": "sales", "agent": "a1", "from": "-1", "to": "+1"},
)
"""Parameters of ``GET /ws/statistics``; with a sign, days from today."""

_OPTIONS = {"from": "--since", "to": "--until"}

DAY_MS = 86_400_000


class FigureChecks:
    """The comparisons of one run.

    Attributes:
        compared: how many figures were compared.
    """

    def __init__(self, nodes: Sequence[RestartableGateway], folder: Path) -> None:
        self.nodes = nodes
        self.compared = 0
        self._folder = folder

    def compare(self, periods: Sequence[Parameters] = PERIODS) -> None:
        """Compare every figure of every node with a fold of the export; nothing may be published meanwhile."""
        for tenant in (*TENANTS, ORDERLY):
            path, head = self._export(tenant)
            if tenant == ORDERLY:
                report = self._compare(self.nodes[-1], tenant, {}, path, head)
                self._compare_with_reference(report, path)
                continue
            for period in periods:
                for node in self.nodes:
                    self._compare(node, tenant, period, path, head)

    def _export(self, tenant: str) -> tuple[Path, int]:
        """Export a tenant; return the file, and the last position."""
        path = self._folder / f"{tenant}.jsonl"
        with path.open("wb") as file:
            command = [*CALLCENTER_WS, "export", "--config", str(self.nodes[0].config), "--tenant", tenant]
            subprocess.run(command, cwd="/", stdout=file, timeout=2 * DEADLINE, check=True)
        return path, json.loads(path.read_bytes().splitlines()[-1])["seq"]

    def _compare(
        self, node: RestartableGateway, tenant: str, period: Parameters, path: Path, head: int
    ) -> dict[str, Any]:
        values = {name: _day(value) for name, value in period.items()}
        options = [part for name, value in values.items() for part in (_OPTIONS.get(name, f"--{name}"), value)]
        query = "&".join(f"{name}={value}" for name, value in values.items())
        token = node.token("admin", tenant_id=tenant)
        differing: list[str] = []

        def found() -> dict[str, Any] | None:
            status, report = node.http(f"/ws/statistics?{query}", token=token)
            if status != 200 or report["as_of_seq"] < head:
                return None
            expected = _folded(path, report["generated_at"], *options)
            differing[:] = _differences(report, expected)
            # Rows are written before the live figures of the same moment, which the report has too.
            only_now = all(".now." in line or line.startswith(".incomplete_since") for line in differing)
            return None if differing and only_now else report

        try:
            report: dict[str, Any] = until(found, f"the figures of {tenant} at {node.folder.name} reach {head}")
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *differing[:20]])) from None
        assert not differing, "\n".join([f"{tenant} {query} at {node.folder.name}:", *differing[:40]])
        self.compared += _leaves(report)
        return report

    def _compare_with_reference(self, report: dict[str, Any], path: Path) -> None:
        events: list[Event] = []
        for line in path.read_bytes().splitlines():
            message = json.loads(line)
            at = round(datetime.fromisoformat(message["timestamp"]).timestamp() * 1000)
            events.append((at, message["type"], message["payload"]))
        events.sort(key=lambda event: event[0])
        now = round(datetime.fromisoformat(report["generated_at"]).timestamp() * 1000)
        start = now // DAY_MS * DAY_MS
        assert report["queues"] and report["agents"]
        for one in report["queues"]:
            expected = queue_figures(events, one["queue_name"], start, start + DAY_MS, 20_000, 5_000)
            found = one["intervals"][0]
            assert set(expected["service_levels"]) == set(METHODS)
            assert {name: found[name] for name in expected} == expected
            self.compared += _leaves(expected)
        for one in report["agents"]:
            states = state_seconds(events, one["user_id"], start, now)
            found = one["intervals"][0]["state_seconds"]
            assert found == {name: value / 1000 for name, value in states.items()}
            self.compared += len(found)


def _day(value: str) -> str:
    if value[0] in "+-":
        return time.strftime("%Y-%m-%d", time.gmtime(time.time() + DAY_MS // 1000 * int(value)))
    return value


def _folded(exported: Path, at: str, *options: str) -> dict[str, Any]:
    """Return the report of ``callcenter-ws statistics --from``."""
    out, errors = TextIOWrapper(BytesIO()), StringIO()
    with redirect_stdout(out), redirect_stderr(errors):
        status = main(["statistics", "--from", str(exported), "--at", at, "--json", *options])
        out.flush()
    assert (status, errors.getvalue()) == (0, "")
    assert isinstance(out.buffer, BytesIO)
    found: dict[str, Any] = json.loads(out.buffer.getvalue())
    return found


def _leaves(value: Any) -> int:
    """Return how many values there are."""
    if isinstance(value, dict):
        return sum(map(_leaves, value.values()))
    return sum(map(_leaves, value)) if isinstance(value, list) else 1


def _differences(found: Any, expected: Any, where: str = "") -> list[str]:
    """Return the values that differ."""
    if isinstance(found, dict) and isinstance(expected, dict):
        names = sorted(found.keys() | expected.keys())
        return [line for name in names for line in _differences(found.get(name), expected.get(name), f"{where}.{name}")]
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return [line for number, pair in pairs for line in _differences(*pair, f"{where}[{number}]")]
    return [] if found == expected else [f"{where}: {found!r}, and the fold of the export has {expected!r}"]
