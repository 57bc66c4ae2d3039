"""The results of a case: rows of figures, ratios and deliveries, as text and as JSON."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from bench.failure import InvalidRun
from bench.loader import GroupStats

_MET = {True: "met", False: "NOT MET"}


@dataclass(frozen=True, slots=True)
class Figure:
    """The values of one figure, one for each round.

    Attributes:
        digits: decimal places in the text.
    """

    unit: str
    values: Sequence[float]
    digits: int = 0

    @property
    def median(self) -> float:
        """The median of the values."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        low, high = min(self.values), max(self.values)
        median = f"{self.median:,.{self.digits}f}"
        return median if low == high else f"{median} ({low:,.{self.digits}f} to {high:,.{self.digits}f})"


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one measurement; or, in ``unavailable``, why it was not made."""

    label: str
    figures: Sequence[Figure] = ()
    unavailable: str | None = None


@dataclass(frozen=True, slots=True)
class Ratio:
    """The ratio of one measurement to another, for each round.

    Attributes:
        rates: ratios of the units per second.
        costs: ratios of the CPU per unit, where they are meaningful.
        goal: the minimum of the median ratio of rates, or None.
        maximum: the maximum of the median ratio of costs, or None.
    """

    label: str
    rates: Sequence[float]
    costs: Sequence[float] = ()
    goal: float | None = None
    maximum: float | None = None

    def __str__(self) -> str:
        text = f"rate {Figure('', self.rates, 2)}"
        if self.goal is not None:
            text += f", goal: {self.goal:g}, {_MET[self._is_as_fast]}"
        return f"{text}; {self._cost}" if self.costs else text

    @property
    def met(self) -> bool | None:
        """Whether the goals are met; None if there are none."""
        return None if self.goal is None and self.maximum is None else self._is_as_fast and self._cost.met is not False

    @property
    def _is_as_fast(self) -> bool:
        return self.goal is None or statistics.median(self.rates) >= self.goal

    @property
    def _cost(self) -> Limit:
        return Limit(self.label, "CPU", self.costs, self.maximum)


@dataclass(frozen=True, slots=True)
class Limit:
    """A ratio or a figure that should be small.

    Attributes:
        what: the name of the quantity.
        maximum: the maximum of its median, or None.
    """

    label: str
    what: str
    values: Sequence[float]
    maximum: float | None = None
    unit: str = ""

    def __str__(self) -> str:
        text = f"{self.what} {Figure('', self.values, 2)}{self.unit}"
        if self.met is None:
            return text
        return f"{text}, goal: at most {self.maximum:g}{self.unit}, {_MET[self.met]}"

    @property
    def met(self) -> bool | None:
        """Whether the median is within the maximum; None if there is none."""
        return None if self.maximum is None else statistics.median(self.values) <= self.maximum


@dataclass(frozen=True, slots=True)
class Delivery:
    """A complete delivery of events to clients.

    Raises:
        InvalidRun: if an event was lost, repeated or out of order.
    """

    label: str
    expected: int
    received: int
    lost: int = 0
    repeated_or_disordered: int = 0

    def __post_init__(self) -> None:
        if self.expected != self.received or self.lost or self.repeated_or_disordered:
            raise InvalidRun(f"not delivered completely and in order: {self}")

    def renamed(self, label: str) -> Delivery:
        """Return the delivery with another label."""
        return Delivery(label, self.expected, self.received)


def delivery_of(stats: GroupStats, label: str, expected: int, last_seq: int) -> Delivery:
    """Check what a group of clients received, and return it.

    Args:
        expected: events for all clients together.
        last_seq: the ``seq`` that each client must have reached.

    Raises:
        InvalidRun: if an event is missing, repeated, out of order or miscounted.
    """
    if stats.lost or stats.mismatches or (stats.low_seq, stats.high_seq) != (last_seq, last_seq):
        raise InvalidRun(f"{label}: every client must have reached {last_seq}: {stats}")
    return Delivery(label, expected, stats.events.total, stats.gaps, stats.disorder)


@dataclass(slots=True)
class Report:
    """The results of one case.

    Attributes:
        case: the name in ``--case``.
        notes: explanations of the figures.
    """

    case: str
    title: str
    rows: list[Row] = field(default_factory=list)
    ratios: list[Ratio | Limit] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add_delivery(self, delivery: Delivery) -> None:
        """Add a delivery; deliveries with the same label are added up."""
        for index, known in enumerate(self.deliveries):
            if known.label == delivery.label:
                expected, received = known.expected + delivery.expected, known.received + delivery.received
                self.deliveries[index] = Delivery(known.label, expected, received)
                return
        self.deliveries.append(delivery)

    def as_json(self) -> dict[str, Any]:
        """Return the results for JSON, with the medians and whether goals are met."""
        document = asdict(self)
        for ratio, entry in zip(self.ratios, document["ratios"], strict=True):
            entry["met"] = ratio.met
        for row, row_entry in zip(self.rows, document["rows"], strict=True):
            for figure, entry in zip(row.figures, row_entry["figures"], strict=True):
                entry["median"] = figure.median
        return document

    def __str__(self) -> str:
        parts = [f"{self.case}: {self.title}", ""]
        parts += _table(self.rows)
        if self.ratios:
            width = max(len(ratio.label) for ratio in self.ratios)
            parts += ["", *[f"  {ratio.label:<{width}}  {ratio}" for ratio in self.ratios]]
        parts += ["", *[_delivery_line(delivery) for delivery in self.deliveries]]
        parts += [f"  Note: {note}" for note in self.notes]
        return "\n".join([*parts, ""])


def _delivery_line(delivery: Delivery) -> str:
    return f"  Complete and in order: {delivery.label}: {delivery.received:,} of {delivery.expected:,} events"


def _table(rows: Sequence[Row]) -> list[str]:
    """Return the lines of the table: consecutive rows with the same units share one heading."""
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
        padded = [f"{cell:>{size}}" for cell, size in zip(cells, widths, strict=True)]
        yield "  ".join([f"  {label:<{width}}", *padded])


def heading(machine: Mapping[str, str]) -> str:
    """Return the description of the machine as text."""
    width = max(map(len, machine))
    return "\n".join(f"{name:<{width}} {value}" for name, value in machine.items()) + "\n"


def print_result(text: str) -> None:
    """Write a result to standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def print_progress(text: str) -> None:
    """Write a line about the progress to standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
