"""A measurement that is repeated once in each round."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.cpu import Span
from bench.failure import InvalidRun
from bench.report import Figure, Ratio, Row

_MIN_CPU_SECONDS = 1e-9
"""Replaces a measured CPU time of 0: the interval was shorter than the system's accounting resolves."""

_RESOLVED_SECONDS = 0.5
"""After this time the system's accounting shows CPU of every process that works."""


@dataclass(slots=True)
class Measurement:
    """The results of one measurement, an entry for each round.

    Attributes:
        unit: what is counted, in the singular.
        spans: time and CPU; ``server`` is the measured process, the others generate the load.
        counts: the number of units.
    """

    unit: str = "event"
    spans: list[Span] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def add(self, span: Span, count: int) -> None:
        """Add the result of a round.

        Raises:
            InvalidRun: if the server used no CPU in a long interval: then another process did the work.
        """
        if not span.cpu["server"] and span.seconds > _RESOLVED_SECONDS:
            raise InvalidRun(f"no CPU was counted in {span.seconds:g} s: the measured process is not the server")
        self.spans.append(span)
        self.counts.append(count)

    @property
    def rates(self) -> list[float]:
        """Units per second."""
        return [count / span.seconds for span, count in zip(self.spans, self.counts, strict=True)]

    @property
    def costs(self) -> list[float]:
        """Microseconds of the server's CPU per unit."""
        spans = zip(self.spans, self.counts, strict=True)
        return [1e6 * max(_MIN_CPU_SECONDS, span.cpu["server"]) / count for span, count in spans]

    @property
    def cost(self) -> float:
        """The median of the costs."""
        return statistics.median(self.costs)

    def over(self, other: Measurement, label: str, goal: float | None = None, maximum: float | None = None) -> Ratio:
        """Return the ratio of this measurement to another one of the same rounds."""
        return Ratio(label, _over(self.rates, other.rates), _over(self.costs, other.costs), goal, maximum)

    def over_rate(self, rate: float, label: str) -> Ratio:
        """Return the ratio of this measurement's rate to a known rate."""
        return Ratio(label, [own / rate for own in self.rates])

    def row(self, label: str) -> Row:
        """Return the row of a table; CPU shares are percent of one core."""
        figures = [Figure(f"{self.unit}s/s", self.rates), Figure(f"CPU µs/{self.unit}", self.costs, 2)]
        figures += [Figure(f"{name} %", [100 * span.share(name) for span in self.spans]) for name in self.spans[0].cpu]
        return Row(label, figures)


def _over(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(above, below, strict=True)]
