"""A picture of the figures: CPU for a delivery, for a connection, and the memory of one that waits."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.failure import Unavailable
from bench.peers.contestant import Transport
from bench.peers.roster import EVERYBODY
from bench.report import Figure, Report

SHOWN = frozenset({"fan-out", "connect", "memory"})
"""The cases that a plot shows."""

_COST, _CONNECT, _MEMORY = "CPU µs/message", "CPU µs/client", "KiB/connection"
_FOOT = 0.5
"""Where bars begin, over the smallest of them."""

_HEIGHT, _WIDE, _NARROW = 4.2, 5.5, 4.0


@dataclass(slots=True)
class Panel:
    """Bars in groups.

    Attributes:
        unit: of the figures.
        bars: by who it is, then by the group.
    """

    title: str
    unit: str
    width: float
    bars: dict[str, dict[str, Figure]] = field(default_factory=dict)

    def add(self, who: str, group: str, figures: Sequence[Figure]) -> None:
        """One bar more, if there is a figure for it."""
        for figure in figures:
            if figure.unit == self.unit:
                self.bars.setdefault(who, {})[group] = figure

    @property
    def groups(self) -> list[str]:
        """In the order in which they came."""
        return list(dict.fromkeys(group for bars in self.bars.values() for group in bars))


def check_plotting(cases: Collection[str]) -> None:
    """Make sure that a plot can be drawn of what these cases will measure.

    Raises:
        Unavailable: matplotlib is not installed, or none of them is shown.
    """
    if SHOWN.isdisjoint(cases):
        raise Unavailable(f"--plot shows {', '.join(sorted(SHOWN))}, and none of these is to be measured")
    if importlib.util.find_spec("matplotlib") is None:
        raise Unavailable("--plot needs matplotlib, which is not installed; bench/setup installs it")


def draw(reports: Sequence[Report], file: Path) -> None:
    """Write an SVG, the same for the same figures, of which there must be some."""
    panels = _panels({report.case: report for report in reports})
    # Here, because it is there only where the extra is installed.
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 8})
    from matplotlib import pyplot as plt

    widths = [panel.width for panel in panels]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(sum(widths), _HEIGHT), width_ratios=widths, squeeze=False, layout="constrained"
    )
    colors = {kind.name: f"C{place}" for place, kind in enumerate(EVERYBODY)}
    for axis, panel in zip(axes[0], panels, strict=True):
        _draw(axis, panel, colors)
    handles = {text: bar for axis in axes[0] for bar, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), frameon=False)
    figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)


def _panels(reports: Mapping[str, Report]) -> list[Panel]:
    panels = []
    if "fan-out" in reports:
        for transport in Transport:
            panel = Panel(f"CPU of the server for a delivery, {transport}", _COST, _WIDE)
            for row in reports["fan-out"].rows:
                who, _, where = row.label.partition(" | ")
                if where.startswith(f"{transport}, "):
                    panel.add(who, where.removeprefix(f"{transport}, "), row.figures)
            panels.append(panel)
    for case, title, unit in (
        ("connect", "CPU of the server to let a client in", _CONNECT),
        ("memory", "memory of a connection that waits", _MEMORY),
    ):
        if case in reports:
            panel = Panel(title, unit, _NARROW)
            for row in reports[case].rows:
                who, _, how = row.label.partition(" | ")
                panel.add(who, how, row.figures)
            panels.append(panel)
    return [panel for panel in panels if panel.bars]


def _draw(axis: Any, panel: Panel, colors: Mapping[str, str]) -> None:
    """Bars side by side, with a line from the lowest to the highest round."""
    groups, width = panel.groups, 0.8 / len(panel.bars)
    for place, (who, bars) in enumerate(panel.bars.items()):
        at = [groups.index(group) + width * (place - (len(panel.bars) - 1) / 2) for group in bars]
        middles = [figure.median for figure in bars.values()]
        below = [middle - min(figure.values) for middle, figure in zip(middles, bars.values(), strict=True)]
        above = [max(figure.values) - middle for middle, figure in zip(middles, bars.values(), strict=True)]
        axis.bar(at, middles, width, label=who, color=colors[who], yerr=[below, above], error_kw={"linewidth": 0.6})
    axis.set_xticks(range(len(groups)), groups)
    axis.set_yscale("log")
    axis.set_ylim(bottom=_FOOT * min(figure.median for bars in panel.bars.values() for figure in bars.values()))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("")
    axis.set_ylabel(f"{panel.unit}, logarithmic")
    axis.set_title(panel.title)
    axis.grid(axis="y", linewidth=0.3)
