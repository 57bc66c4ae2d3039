"""What was measured, as rows of figures, ratios and deliveries; as a text for people, and as JSON."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from bench.failure import Broken
from bench.loader import Catch

_MET = {True: "met", False: "NOT MET"}


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, once per round.

    Attributes:
        unit: what it counts.
        digits: behind the point, as shown.
    """

    unit: str
    values: Sequence[float]
    digits: int = 0

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        low, high = min(self.values), max(self.values)
        middle = f"{self.median:,.{self.digits}f}"
        return middle if low == high else f"{middle} ({low:,.{self.digits}f} to {high:,.{self.digits}f})"


@dataclass(frozen=True, slots=True)
class Row:
    """What was done, and its figures; or why it could not be done."""

    label: str
    figures: Sequence[Figure] = ()
    unavailable: str | None = None


@dataclass(frozen=True, slots=True)
class Ratio:
    """One measurement over another, round by round.

    Attributes:
        rates: of how much was done in a second.
        costs: of the CPU for each, where that says something.
        goal: what the ratio of the rates should be at least, if that was asked for.
        most: what the ratio of the costs should be at most, if that was asked for.
    """

    label: str
    rates: Sequence[float]
    costs: Sequence[float] = ()
    goal: float | None = None
    most: float | None = None

    def __str__(self) -> str:
        text = f"rate {Figure('', self.rates, 2)}"
        if self.goal is not None:
            text += f", asked for: {self.goal:g}, {_MET[self._is_as_fast]}"
        return f"{text}; {self._cost}" if self.costs else text

    @property
    def met(self) -> bool | None:
        """Whether it is as it was asked for; None if nothing was asked for."""
        return None if self.goal is None and self.most is None else self._is_as_fast and self._cost.met is not False

    @property
    def _is_as_fast(self) -> bool:
        return self.goal is None or statistics.median(self.rates) >= self.goal

    @property
    def _cost(self) -> Limit:
        return Limit(self.label, "CPU", self.costs, self.most)


@dataclass(frozen=True, slots=True)
class Limit:
    """What should be small: a ratio or a figure.

    Attributes:
        what: it is.
        most: what it should be at most, if that was asked for.
    """

    label: str
    what: str
    values: Sequence[float]
    most: float | None = None
    unit: str = ""

    def __str__(self) -> str:
        text = f"{self.what} {Figure('', self.values, 2)}{self.unit}"
        if self.met is None:
            return text
        return f"{text}, asked for: at most {self.most:g}{self.unit}, {_MET[self.met]}"

    @property
    def met(self) -> bool | None:
        """Whether it is as it was asked for; None if nothing was asked for."""
        return None if self.most is None else statistics.median(self.values) <= self.most


@dataclass(frozen=True, slots=True)
class Delivery:
    """Events that were to reach somebody, and what did. It exists only where nothing was wrong."""

    label: str
    expected: int
    received: int
    lost: int = 0
    repeated_or_disordered: int = 0

    def __post_init__(self) -> None:
        if self.expected != self.received or self.lost or self.repeated_or_disordered:
            raise Broken(f"not delivered completely and in order: {self}")

    def renamed(self, label: str) -> Delivery:
        """The same by another label."""
        return Delivery(label, self.expected, self.received)


def delivery_of(catch: Catch, label: str, expected: int, last_seq: int) -> Delivery:
    """Check what a group of clients got, to the last event, and return it.

    Args:
        expected: events for all the clients together.
        last_seq: where each of them must stand.

    Raises:
        Broken: something is missing, repeated, out of order or miscounted.
    """
    if catch.lost or catch.mismatches or (catch.low_seq, catch.high_seq) != (last_seq, last_seq):
        raise Broken(f"{label}: every client must stand at {last_seq}, {catch}")
    return Delivery(label, expected, catch.events.total, catch.gaps, catch.disorder)


@dataclass(slots=True)
class Report:
    """One case.

    Attributes:
        notes: what a reader has to know about the figures.
    """

    case: str
    title: str
    rows: list[Row] = field(default_factory=list)
    ratios: list[Ratio | Limit] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def deliver(self, delivery: Delivery) -> None:
        """Add a delivery; those of the same label are counted together."""
        for place, known in enumerate(self.deliveries):
            if known.label == delivery.label:
                expected, received = known.expected + delivery.expected, known.received + delivery.received
                self.deliveries[place] = Delivery(known.label, expected, received)
                return
        self.deliveries.append(delivery)

    def as_json(self) -> dict[str, Any]:
        """The whole, as JSON has it, with the medians worked out."""
        plain = asdict(self)
        for ratio, shown in zip(self.ratios, plain["ratios"], strict=True):
            shown["met"] = ratio.met
        for row, shown in zip(self.rows, plain["rows"], strict=True):
            for figure, entry in zip(row.figures, shown["figures"], strict=True):
                entry["median"] = figure.median
        return plain

    def __str__(self) -> str:
        parts = [f"{self.case}: {self.title}", ""]
        parts += _table(self.rows)
        if self.ratios:
            width = max(len(ratio.label) for ratio in self.ratios)
            parts += ["", *[f"  {ratio.label:<{width}}  {ratio}" for ratio in self.ratios]]
        parts += ["", *[_line(delivery) for delivery in self.deliveries]]
        parts += [f"  Note: {note}" for note in self.notes]
        return "\n".join([*parts, ""])


def _line(delivery: Delivery) -> str:
    return f"  Complete and in order: {delivery.label}: {delivery.received:,} of {delivery.expected:,} events"


def _table(rows: Sequence[Row]) -> list[str]:
    """Rows in blocks of the same units, each below a heading of them."""
    lines: list[str] = []
    width = max(len(row.label) for row in rows)
    measured = [row for row in rows if row.unavailable is None]
    for units, block in groupby(measured, lambda row: [figure.unit for figure in row.figures]):
        lines += _block(units, list(block), width)
    return lines + [f"  {row.label:<{width}}  not available: {row.unavailable}" for row in rows if row.unavailable]


def _block(units: list[str], rows: Sequence[Row], width: int) -> Iterator[str]:
    lines = [units, *[[str(figure) for figure in row.figures] for row in rows]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for label, cells in zip(["", *[row.label for row in rows]], lines, strict=True):
        shown = [f"{cell:>{size}}" for cell, size in zip(cells, widths, strict=True)]
        yield "  ".join([f"  {label:<{width}}", *shown])


def heading(machine: Mapping[str, str]) -> str:
    """The machine and the versions as a text."""
    width = max(map(len, machine))
    return "\n".join(f"{name:<{width}} {value}" for name, value in machine.items()) + "\n"


def say(text: str) -> None:
    """Tell the person at the terminal a result."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def progress(text: str) -> None:
    """Tell the person at the terminal what is going on."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
