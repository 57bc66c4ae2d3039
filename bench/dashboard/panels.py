"""The panels of ``etc/grafana-dashboard.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

DASHBOARD = Path(__file__).parents[2] / "etc" / "grafana-dashboard.json"


@dataclass(frozen=True, slots=True)
class Query:
    """A query of a panel, and how the legend names its series: a text with ``{{label}}``."""

    expression: str
    legend: str

    def filled_in(self, job: str, instance: str, interval: str) -> str:
        """Return the query with the variables of the dashboard replaced by values."""
        values = {"$job": job, "$instance": instance, "$__rate_interval": interval}
        text = self.expression
        for name, value in values.items():
            text = text.replace(name, value)
        return text


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel, or the title of a row.

    Attributes:
        x, y, width, height: its place in Grafana's grid of 24 columns.
        is_row: whether it is the title of a row.
    """

    title: str
    unit: str
    x: int
    y: int
    width: int
    height: int
    is_row: bool
    is_stacked: bool
    has_steps: bool
    max: float | None
    queries: tuple[Query, ...]


def read_panels(path: Path = DASHBOARD) -> list[Panel]:
    """Return the panels in the order of the file."""
    panels = []
    for one in json.loads(path.read_text())["panels"]:
        place, defaults = one["gridPos"], one.get("fieldConfig", {}).get("defaults", {})
        custom = defaults.get("custom", {})
        panels.append(
            Panel(
                title=one["title"],
                unit=defaults.get("unit", ""),
                x=place["x"],
                y=place["y"],
                width=place["w"],
                height=place["h"],
                is_row=one["type"] == "row",
                is_stacked=custom.get("stacking", {}).get("mode") == "normal",
                has_steps=custom.get("lineInterpolation") == "stepAfter",
                max=defaults.get("max"),
                queries=tuple(Query(target["expr"], target["legendFormat"]) for target in one.get("targets", ())),
            )
        )
    return panels
