"""What publishers have handed in and no group has taken yet: bounded, in order, and fair to the tenants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from callcenter_ws.core.message import Event
from callcenter_ws.errors import Refusal
from callcenter_ws.interfaces import Published

Outcome = Published | Refusal


@dataclass(slots=True, eq=False)
class Submission:
    """One call of ``publish``.

    Attributes:
        answer: fires with one outcome for each event when the last of them is known.
    """

    outcomes: list[Outcome | None]
    open: int
    answer: Deferred[list[Outcome]] = field(default_factory=Deferred)

    @classmethod
    def of(cls, events: Sequence[Event]) -> Submission:
        """A call that is not answered yet."""
        return cls([None] * len(events), len(events))

    def settle(self, place: int, outcome: Outcome) -> None:
        """The outcome of one event is known."""
        self.outcomes[place] = outcome
        self.open -= 1
        if not self.open:
            self.answer.callback([outcome for outcome in self.outcomes if outcome is not None])


@dataclass(slots=True, eq=False)
class Entry:
    """One event of a submission, and its place there."""

    submission: Submission
    place: int
    event: Event

    def settle(self, outcome: Outcome) -> None:
        """The outcome is known."""
        self.submission.settle(self.place, outcome)
