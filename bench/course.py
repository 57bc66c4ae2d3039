"""One measurement, round after round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.cpu import Span
from bench.report import Figure, Ratio, Row


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
        """One round more."""
        self.spans.append(span)
        self.counts.append(count)

    @property
    def rates(self) -> list[float]:
        """How much in a second."""
        return [count / span.seconds for span, count in zip(self.spans, self.counts, strict=True)]

    @property
    def costs(self) -> list[float]:
        """Microseconds of the server's CPU for each."""
        return [1e6 * span.cpu["server"] / count for span, count in zip(self.spans, self.counts, strict=True)]

    def over(self, other: Course, label: str, goal: float | None = None) -> Ratio:
        """How this compares with another measurement of the same rounds."""
        return Ratio(label, _over(self.rates, other.rates), _over(self.costs, other.costs), goal)

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
