"""Model time, the scheduled steps of the model, and the events that it has produced.

All randomness comes from one injected source: the same seed produces the same events.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from itertools import count
from random import Random
from typing import Generic, NamedTuple, TypeVar

from callcenter_ws.runtime.json import JsonObject, rfc3339

Item = TypeVar("Item")


class ModelEvent(NamedTuple):
    """An event that the model produced.

    Attributes:
        at: model time, in seconds since the start.
        type: a name of the event catalogue.
        payload: the payload, as the catalogue declares it for the type.
        user_id: the only user who receives it; None for all.
    """

    at: float
    type: str
    payload: JsonObject
    user_id: str | None


class ScheduledCall:
    """A call that the scheduler will make unless it is cancelled."""

    __slots__ = ("args", "function")

    def __init__(self, function: Callable[..., object], args: tuple[object, ...]) -> None:
        self.function: Callable[..., object] | None = function
        self.args = args

    def cancel(self) -> None:
        """Do not make the call. Has no effect if it was made already."""
        self.function = None


class Scheduler:
    """The clock, the scheduled calls and the events of a model.

    Args:
        random: the only source of randomness.
        unix_time: converts a model time to Unix time, both in seconds, for the timestamps in payloads.
    """

    def __init__(self, random: Random, unix_time: Callable[[float], float]) -> None:
        self.random = random
        self.now = 0.0
        self._unix_time = unix_time
        self._scheduled: list[tuple[float, int, ScheduledCall]] = []
        self._order = count()
        self._events: list[ModelEvent] = []

    @property
    def next_at(self) -> float:
        """Model time of the next call. There is always one if each arrival in the model schedules the next."""
        return self._scheduled[0][0]

    def call_later(self, delay: float, function: Callable[..., object], *args: object) -> ScheduledCall:
        """Schedule ``function(*args)`` in ``delay`` seconds of model time."""
        call = ScheduledCall(function, args)
        heapq.heappush(self._scheduled, (self.now + delay, next(self._order), call))
        return call

    def random_seconds(self, low: float, high: float) -> float:
        """Return a random number of seconds between ``low`` and ``high``."""
        return self.random.uniform(low, high)

    def emit(self, type_: str, payload: JsonObject, user_id: str | None = None) -> None:
        """Add an event that happens now."""
        self._events.append(ModelEvent(self.now, type_, payload, user_id))

    def timestamp(self) -> str:
        """Return the present as payloads represent it (RFC 3339)."""
        return rfc3339(self._unix_time(self.now))

    def step(self) -> list[ModelEvent]:
        """Advance to the next call, make it, and return the events that it produced; often none."""
        self.now, _, call = heapq.heappop(self._scheduled)
        if call.function is not None:
            call.function(*call.args)
        return self.take_events()

    def advance(self, at: float) -> None:
        """Advance to a time between two steps; it never goes back, and not beyond the next call."""
        self.now = max(self.now, min(at, self.next_at))

    def take_events(self) -> list[ModelEvent]:
        """Return the events that were added since the last step."""
        events, self._events = self._events, []
        return events


class ShuffleBag(Generic[Item]):
    """Draws items at random, each as often as it was put in before any is repeated.

    The items are shuffled again when all have been drawn. So even the rarest item comes at least once in two rounds.
    """

    def __init__(self, random: Random, items: Sequence[Item]) -> None:
        self._random = random
        self._items = list(items)
        self._remaining: list[Item] = []

    def draw(self) -> Item:
        """Return the next item."""
        if not self._remaining:
            self._remaining = self._random.sample(self._items, len(self._items))
        return self._remaining.pop()
