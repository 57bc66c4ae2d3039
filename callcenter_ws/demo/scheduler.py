"""Story: model time, what is planned in it, and what has been told.

Everything that is random comes from one injected source, so a seed is a whole day of the call center.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import Any, Generic, NamedTuple, TypeVar

from callcenter_ws.runtime.json import rfc3339

Card = TypeVar("Card")


class Happening(NamedTuple):
    """An event of the model.

    Attributes:
        at: model time, seconds since the start.
        type: a name of the event catalogue.
        payload: matches the type's declaration.
        user_id: the one user that it is for, or None.
    """

    at: float
    type: str
    payload: dict[str, Any]
    user_id: str | None


class Plan:
    """Something that will happen unless it is cancelled."""

    __slots__ = ("act", "args")

    def __init__(self, act: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.act: Callable[..., object] | None = act
        self.args = args

    def cancel(self) -> None:
        """Make it not happen. Harmless when it has happened."""
        self.act = None


class Story:
    """The clock, the plans and the events of a model.

    Args:
        random: the only source of chance.
        unix_time: Unix time in seconds of a model time, for the instants in payloads.
    """

    def __init__(self, random: Random, unix_time: Callable[[float], float]) -> None:
        self.random = random
        self.now = 0.0
        self._unix_time = unix_time
        self._plans: list[tuple[float, int, Plan]] = []
        self._order = count()
        self._told: list[Happening] = []

    @property
    def next_at(self) -> float:
        """Model time of the next plan. A model that always plans its next arrival always has one."""
        return self._plans[0][0]

    def later(self, delay: float, act: Callable[..., object], *args: Any) -> Plan:
        """Plan ``act(*args)`` in ``delay`` seconds."""
        plan = Plan(act, args)
        heapq.heappush(self._plans, (self.now + delay, next(self._order), plan))
        return plan

    def between(self, low: float, high: float) -> float:
        """A random number of seconds."""
        return self.random.uniform(low, high)

    def tell(self, type_: str, payload: dict[str, Any], user_id: str | None = None) -> None:
        """Say that something happened, now."""
        self._told.append(Happening(self.now, type_, payload, user_id))

    def instant(self) -> str:
        """The present, as payloads have it (RFC 3339)."""
        return rfc3339(self._unix_time(self.now))

    def step(self) -> list[Happening]:
        """Go to the next plan, carry it out and return what was told; often nothing."""
        self.now, _, plan = heapq.heappop(self._plans)
        if plan.act is not None:
            plan.act(*plan.args)
        told, self._told = self._told, []
        return told


class Deck(Generic[Card]):
    """Chance without droughts: cards are dealt from a shuffled deck, which is shuffled again when it is used up.

    Over every full deck each card comes exactly as often as it is in it, so a rare fate is never more than two
    decks away.
    """

    def __init__(self, random: Random, cards: Sequence[Card]) -> None:
        self._random = random
        self._cards = list(cards)
        self._left: list[Card] = []

    def deal(self) -> Card:
        """Return the next card."""
        if not self._left:
            self._left = self._random.sample(self._cards, len(self._cards))
        return self._left.pop()
