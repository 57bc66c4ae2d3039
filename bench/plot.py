"""Draws the figures as bars: CPU per delivery, CPU per connect, and the memory of an idle connection."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.failure import Unavailable
from bench.peers.peer_list import ALL_SERVERS
from bench.peers.server import Transport
from bench.report import Figure, Report

SHOWN = frozenset({"fan-out", "connect", "memory"})
"""The cases that the plot shows."""

_COST, _CONNECT, _MEMORY = "CPU µs/message", "CPU µs/client", "KiB/connection"
_AXIS_START = 0.5
"""The lower end of the axis, as a multiple of the smallest bar."""

_HEIGHT, _WIDE, _NARROW = 4.2, 5.5, 4.0
"""Sizes of a panel in inches."""


@dataclass(slots=True)
class Panel:
    """One bar chart.

    Attributes:
        unit: the unit of the figures.
        bars: figures by server, then by group.
    """

    title: str
    unit: str
    width: float
    bars: dict[str, dict[str, Figure]] = field(default_factory=dict)

    def add(self, server: str, group: str, figures: Sequence[Figure]) -> None:
        """Add the figure that has the panel's unit, if there is one."""
        for figure in figures:
            if figure.unit == self.unit:
                self.bars.setdefault(server, {})[group] = figure

    @property
    def groups(self) -> list[str]:
        """The groups in the order in which they were added."""
        return list(dict.fromkeys(group for bars in self.bars.values() for group in bars))


def check_plotting(cases: Collection[str]) -> None:
    """Check in advance that a plot can be drawn of these cases.

    Raises:
        Unavailable: if matplotlib is not installed, or the plot shows none of the cases.
    """
    if SHOWN.isdisjoint(cases):
        raise Unavailable(f"--plot shows {', '.join(sorted(SHOWN))}, and none of these is to be measured")
    if importlib.util.find_spec("matplotlib") is None:
        raise Unavailable("--plot needs matplotlib, which is not installed; bench/setup installs it")


def draw(reports: Sequence[Report], file: Path) -> None:
    """Write an SVG file; equal figures give an equal file. ``check_plotting`` must have succeeded."""
    panels = _panels({report.case: report for report in reports})
    # Imported here because it is installed only with the extra "bench".
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 8})
    from matplotlib import pyplot as plt

    widths = [panel.width for panel in panels]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(sum(widths), _HEIGHT), width_ratios=widths, squeeze=False, layout="constrained"
    )
    colors = {kind.name: f"C{index}" for index, kind in enumerate(ALL_SERVERS)}
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
            panel = Panel(f"server CPU per delivery, {transport}", _COST, _WIDE)
            for row in reports["fan-out"].rows:
                server, _, group = row.label.partition(" | ")
                if group.startswith(f"{transport}, "):
                    panel.add(server, group.removeprefix(f"{transport}, "), row.figures)
            panels.append(panel)
    for case, title, unit in (
        ("connect", "server CPU per connect", _CONNECT),
        ("memory", "memory of an idle connection", _MEMORY),
    ):
        if case in reports:
            panel = Panel(title, unit, _NARROW)
            for row in reports[case].rows:
                server, _, group = row.label.partition(" | ")
                panel.add(server, group, row.figures)
            panels.append(panel)
    return [panel for panel in panels if panel.bars]


def _draw(axis: Any, panel: Panel, colors: Mapping[str, str]) -> None:  # Any: matplotlib may be missing.
    """Draw the medians as bars side by side, with error bars from the lowest to the highest round."""
    groups, width = panel.groups, 0.8 / len(panel.bars)
    for index, (server, bars) in enumerate(panel.bars.items()):
        x = [groups.index(group) + width * (index - (len(panel.bars) - 1) / 2) for group in bars]
        medians = [figure.median for figure in bars.values()]
        below = [median - min(figure.values) for median, figure in zip(medians, bars.values(), strict=True)]
        above = [max(figure.values) - median for median, figure in zip(medians, bars.values(), strict=True)]
        axis.bar(
            x, medians, width, label=server, color=colors[server], yerr=[below, above], error_kw={"linewidth": 0.6}
        )
    axis.set_xticks(range(len(groups)), groups)
    axis.set_yscale("log")
    axis.set_ylim(bottom=_AXIS_START * min(figure.median for bars in panel.bars.values() for figure in bars.values()))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("")
    axis.set_ylabel(f"{panel.unit}, logarithmic")
    axis.set_title(panel.title)
    axis.grid(axis="y", linewidth=0.3)
