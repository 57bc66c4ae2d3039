"""One measurement, round after round."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.cpu import Span
from bench.failure import Broken
from bench.report import Figure, Ratio, Row

_LEAST = 1e-9
"""The smallest CPU time that there is, in seconds: what was measured to be nothing was too short to be seen."""


_SEEN = 0.5
"""Seconds in which the system's accounting sees whatever works."""


@dataclass(slots=True)
class Course:
    """The same thing, done once per round.

    Attributes:
        unit: what is counted.
        spans: with the CPU of ``server``, and of those who make it work.
        counts: how much each round had.
    """

    unit: str = "event"
    spans: list[Span] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)

    def add(self, span: Span, count: int) -> None:
        """One round more.

        Raises:
            Broken: a server has done something for long without any CPU, so that another process must have done it.
        """
        if not span.cpu["server"] and span.seconds > _SEEN:
            raise Broken(f"no CPU was counted in {span.seconds:g} s: it is not the server that was watched")
        self.spans.append(span)
        self.counts.append(count)

    @property
    def rates(self) -> list[float]:
        """How much in a second."""
        return [count / span.seconds for span, count in zip(self.spans, self.counts, strict=True)]

    @property
    def costs(self) -> list[float]:
        """Microseconds of the server's CPU for each; of a span too short for the system's accounting, the least."""
        spans = zip(self.spans, self.counts, strict=True)
        return [1e6 * max(_LEAST, span.cpu["server"]) / count for span, count in spans]

    @property
    def cost(self) -> float:
        """The median of the costs."""
        return statistics.median(self.costs)

    def over(self, other: Course, label: str, goal: float | None = None, most: float | None = None) -> Ratio:
        """How this compares with another measurement of the same rounds."""
        return Ratio(label, _over(self.rates, other.rates), _over(self.costs, other.costs), goal, most)

    def over_rate(self, rate: float, label: str) -> Ratio:
        """How this compares with a known rate."""
        return Ratio(label, [own / rate for own in self.rates])

    def row(self, label: str) -> Row:
        """The row of a table; shares are percents of one core."""
        figures = [Figure(f"{self.unit}s/s", self.rates), Figure(f"CPU µs/{self.unit}", self.costs, 2)]
        figures += [Figure(f"{name} %", [100 * span.share(name) for span in self.spans]) for name in self.spans[0].cpu]
        return Row(label, figures)


def _over(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(above, below, strict=True)]
