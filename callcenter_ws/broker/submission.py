"""What publishers have handed in and no group has taken yet: bounded, in order, and fair to the tenants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from callcenter_ws.errors import Refusal
from callcenter_ws.events.event import Event
from callcenter_ws.interfaces import PublishResult

Outcome = PublishResult | Refusal


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


Entry = tuple[Submission, int, Event]
"""One event, its submission, and its place there. There is one for each event: a tuple is made fastest."""


def settle(entry: Entry, outcome: Outcome) -> None:
    """The outcome of one event is known."""
    submission, place, _ = entry
    submission.outcomes[place] = outcome
    submission.open -= 1
    if not submission.open:
        submission.answer.callback([outcome for outcome in submission.outcomes if outcome is not None])
