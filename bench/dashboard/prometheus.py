"""A real Prometheus, which scrapes the nodes every other second and answers the queries of the dashboard."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.failure import InvalidRun, Unavailable
from bench.gateway import DEADLINE

_ETC = Path(__file__).parents[2] / "etc"
_UNPACKED = Path(__file__).parents[2] / ".prometheus"


@dataclass(frozen=True, slots=True)
class Series:
    """A series of a query's result."""

    labels: dict[str, str]
    points: list[tuple[float, float]]

    def name(self, legend: str) -> str:
        """Return its name in the legend."""
        for label, value in self.labels.items():
            legend = legend.replace("{{" + label + "}}", value)
        while "{{" in legend:
            before, _, rest = legend.partition("{{")
            legend = before + rest.partition("}}")[2]
        return " ".join(legend.split())


class Prometheus:
    """Debian's Prometheus, with the alerts of ``etc/prometheus-rules.yml``.

    Args:
        targets: the addresses of ``web.metrics_listen``, by the name that each node is shown with.

    Raises:
        Unavailable: it is not installed.
    """

    def __init__(self, folder: Path, port: int, targets: dict[str, str]) -> None:
        binary = shutil.which("prometheus", path=str(_UNPACKED)) or shutil.which("prometheus")
        if binary is None:
            raise Unavailable("Prometheus is not installed; tests/run unpacks it")
        folder.mkdir()
        nodes = [{"targets": [address], "labels": {"instance": name}} for name, address in targets.items()]
        config = {
            "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "2s"},
            "rule_files": [str(_ETC / "prometheus-rules.yml")],
            "scrape_configs": [{"job_name": "callcenter-ws", "static_configs": nodes}],
        }
        # JSON is YAML.
        (folder / "prometheus.yml").write_text(json.dumps(config))
        options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        with (folder / "log").open("w") as log:
            self._process = subprocess.Popen(  # noqa: S603 - Debian's prometheus
                [binary, *options, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=subprocess.STDOUT
            )
        self._url = f"http://127.0.0.1:{port}"
        self._await_ready(folder / "log")

    def _await_ready(self, log: Path) -> None:
        end = time.monotonic() + DEADLINE
        while True:
            try:
                with urllib.request.urlopen(f"{self._url}/-/ready", timeout=DEADLINE):  # noqa: S310 - our own
                    return
            except OSError:
                if time.monotonic() > end or self._process.poll() is not None:
                    self.close()
                    raise InvalidRun(f"Prometheus does not start:\n{log.read_text()}") from None
                time.sleep(0.1)

    def range(self, query: str, start: float, end: float) -> Sequence[Series]:
        """Return the result of a query for each second of a time."""
        result = self._get("query_range", query=query, start=str(start), end=str(end), step="1")["result"]
        return [Series(one["metric"], [(float(at), float(value)) for at, value in one["values"]]) for one in result]

    def alerts(self) -> list[str]:
        """Return the names of the alerts that fire or wait."""
        return sorted({one["labels"]["alertname"] for one in self._get("alerts")["alerts"]})

    def _get(self, path: str, **parameters: str) -> Any:  # the data of the answer, by the path
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=DEADLINE) as answer:  # noqa: S310 - our own
            return json.load(answer)["data"]

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(DEADLINE)
