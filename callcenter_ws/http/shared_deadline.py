"""Those who are given the same time: one timer for all of them."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.logger import Logger

_log = Logger()


class HasDeadline(Protocol):
    """Somebody who waits, or is waited for."""

    def deadline_passed(self) -> None:
        """The time is over."""


class SharedDeadline:
    """Tells each that its time is over, unless it has left.

    Args:
        reactor: an ``IReactorTime``.
        seconds: what everybody is given.
    """

    def __init__(self, reactor: Any, seconds: float) -> None:
        self._reactor = reactor
        self._seconds = seconds
        # In the order of their ends.
        self._ends: dict[HasDeadline, float] = {}
        self._timer: Any = None

    @property
    def is_empty(self) -> bool:
        """Whether nobody is here."""
        return not self._ends

    def add(self, one: HasDeadline) -> None:
        """Begin to count for somebody who is not here."""
        self._ends[one] = self._reactor.seconds() + self._seconds
        if self._timer is None:
            self._timer = self._reactor.callLater(self._seconds, self._look)

    def leave(self, one: HasDeadline) -> float:
        """Somebody need not be told any more; return the seconds that were left, 0 for who was not here."""
        end = self._ends.pop(one, None)
        return 0.0 if end is None else max(0.0, end - self._reactor.seconds())

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        now = self._reactor.seconds()
        while self._ends:
            one, end = next(iter(self._ends.items()))
            if end > now:
                self._timer = self._reactor.callLater(end - now, self._look)
                return
            del self._ends[one]
            try:
                one.deadline_passed()
            except Exception:
                _log.failure("somebody who was overdue met a bug")
