"""Draws the panels with the titles, units and layout of the dashboard."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.dashboard.panels import Panel
from bench.dashboard.prometheus import Series

_COLUMNS = 24
_WIDTH_INCHES, _UNIT_INCHES, _DPI = 21.0, 0.42, 80
_MAX_LEGEND = 7
_MIB = 1_048_576
_COLORS = 64
_DARK, _PANEL, _TEXT, _LINES = "#111217", "#181b1f", "#ccccdc", "#2c3235"
_PALETTE = (
    "#73bf69",
    "#f2cc0c",
    "#5794f2",
    "#ff9830",
    "#f2495c",
    "#b877d9",
    "#8ab8ff",
    "#fade2a",
    "#96d98d",
    "#ca95e5",
)

Results = Mapping[str, Sequence[tuple[str, Series]]]
"""The series of each panel with their names, by the title of the panel."""


def draw(
    panels: Sequence[Panel], results: Results, span: tuple[float, float], marks: Mapping[str, float], file: Path
) -> None:
    """Write the picture of all panels as a PNG file.

    Args:
        span: Unix times at which the axes begin and end.
        marks: when something was done to the nodes, as Unix time, by its name.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    rows = max(panel.y + panel.height for panel in panels)
    height = (rows + 1) * _UNIT_INCHES
    figure = pyplot.figure(figsize=(_WIDTH_INCHES, height), dpi=_DPI, facecolor=_DARK)
    for panel in panels:
        left, bottom = panel.x / _COLUMNS, 1 - (panel.y + panel.height) / (rows + 1)
        box = (left, bottom, panel.width / _COLUMNS, panel.height / (rows + 1))
        if panel.is_row:
            figure.text(
                left + 0.006, bottom + box[3] * 0.25, f"▾  {panel.title}", color="white", size=13, weight="bold"
            )
        else:
            _draw_panel(figure, panel, results[panel.title], box, span, marks)
    legend = "   ".join(f"{number} {name}" for number, name in enumerate(marks, 1))
    figure.text(0.006, 0.35 / (rows + 1), f"Dashed lines:   {legend}", color=_TEXT, size=11)
    drawn = io.BytesIO()
    figure.savefig(drawn, facecolor=_DARK)
    pyplot.close(figure)
    _write_small(drawn, file)


def _draw_panel(
    figure: Any,  # of matplotlib, which the checks of types do not need
    panel: Panel,
    series: Sequence[tuple[str, Series]],
    box: tuple[float, float, float, float],
    span: tuple[float, float],
    marks: Mapping[str, float],
) -> None:
    start, end = span
    left, bottom, width, height = box
    frame = figure.add_axes((left + 0.002, bottom + 0.002, width - 0.004, height - 0.003), facecolor=_PANEL)
    frame.set_xticks([])
    frame.set_yticks([])
    for spine in frame.spines.values():
        spine.set_color(_LINES)
    frame.text(0.015, 0.985, panel.title, color="white", size=11, weight="bold", va="top", transform=frame.transAxes)
    axes = figure.add_axes((left + 0.032, bottom + 0.29 * height, width - 0.042, 0.57 * height), facecolor=_PANEL)
    _draw_series(axes, panel, series, start)
    for number, at in enumerate(marks.values(), 1):
        axes.axvline(at - start, color="#8e8e9e", linewidth=0.7, linestyle=(0, (3, 3)))
        axes.text(at - start, 1.0, str(number), color="#8e8e9e", size=7, transform=axes.get_xaxis_transform())
    axes.set_xlim(0, end - start)
    axes.set_ylim(bottom=0, top=None if panel.max is None else panel.max * 1.05)
    axes.tick_params(colors=_TEXT, labelsize=8, length=0)
    axes.yaxis.set_major_formatter(lambda value, _: formatted(value, panel.unit))
    axes.xaxis.set_major_formatter(lambda value, _: f"{int(value) // 60}:{int(value) % 60:02}")
    axes.grid(color=_LINES, linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_visible(False)
    handles, names = axes.get_legend_handles_labels()
    columns = max(1, min(4, len(names), round(width * 10)))
    shown = names[:_MAX_LEGEND] + ([f"+{len(names) - _MAX_LEGEND} more"] if len(names) > _MAX_LEGEND else [])
    frame.legend(
        handles[: len(shown)], shown, loc="lower left", ncol=columns, fontsize=7.5, frameon=False, labelcolor=_TEXT,
        handlelength=1.2, columnspacing=1.0, borderaxespad=0.2, labelspacing=0.25,
    )  # fmt: skip


def _draw_series(axes: Any, panel: Panel, series: Sequence[tuple[str, Series]], start: float) -> None:  # of matplotlib
    base: dict[float, float] = {}
    for index, (name, one) in enumerate(series):
        color = _PALETTE[index % len(_PALETTE)]
        times = [at for at, _ in one.points]
        # So that the marks of the axis are round.
        scale = _MIB if panel.unit == "bytes" else 1
        values = [0.0 if math.isnan(value) and panel.is_stacked else value / scale for _, value in one.points]
        lower = [base.get(at, 0.0) if panel.is_stacked else 0.0 for at in times]
        upper = [low + value for low, value in zip(lower, values, strict=True)]
        base.update(zip(times, upper, strict=True))
        x, y, low = _with_gaps([at - start for at in times], upper, lower)
        step = "post" if panel.has_steps else None
        axes.plot(x, y, color=color, linewidth=1.3, label=name, drawstyle="steps-post" if step else "default")
        axes.fill_between(x, low, y, color=color, alpha=0.25 if panel.is_stacked else 0.06, linewidth=0, step=step)


def _with_gaps(times: list[float], upper: list[float], lower: list[float]) -> tuple[list[float], ...]:
    """Return the points with a NaN where Prometheus had no value, so that no line is drawn there."""
    x: list[float] = []
    y: list[float] = []
    low: list[float] = []
    for index, at in enumerate(times):
        if index and at - times[index - 1] > 1.5:
            x.append(at)
            y.append(math.nan)
            low.append(math.nan)
        x.append(at)
        y.append(upper[index])
        low.append(lower[index])
    return x, y, low


def formatted(value: float, unit: str) -> str:
    """Return a value of an axis in its unit, as Grafana writes it; bytes are given in MiB."""
    if unit == "s":
        if value and abs(value) < 1:
            return f"{value * 1_000:.3g} ms"
        return f"{value:.3g} s" if abs(value) < 120 else f"{value / 60:.3g} min"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "bytes":
        return f"{value:.4g} MiB"
    text = f"{value / 1_000:.3g} K" if abs(value) >= 10_000 else f"{value:.4g}"
    return f"{text}/s" if unit == "cps" else text


def _write_small(drawn: io.BytesIO, file: Path) -> None:
    """Write the picture with few colors."""
    from PIL import Image

    image = Image.open(drawn).convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE)
    image.save(file, optimize=True)
