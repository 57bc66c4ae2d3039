"""SharedDeadline: one timer for many objects that all have the same time limit."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

_log = Logger()


class HasDeadline(Protocol):
    """An object with a deadline."""

    def deadline_passed(self) -> None:
        """Handle the end of the time limit."""


class SharedDeadline:
    """Calls ``deadline_passed`` of each object ``seconds`` after it was added, unless it was cancelled.

    Args:
        seconds: the time limit.
    """

    def __init__(self, reactor: IReactorTime, seconds: float) -> None:
        self._reactor = reactor
        self._seconds = seconds
        # In the order of the deadlines.
        self._deadlines: dict[HasDeadline, float] = {}
        self._timer: IDelayedCall | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no object has a deadline."""
        return not self._deadlines

    def add(self, waiting: HasDeadline) -> None:
        """Set the deadline of an object that has none."""
        self._deadlines[waiting] = self._reactor.seconds() + self._seconds
        if self._timer is None:
            self._timer = self._reactor.callLater(self._seconds, self._check)

    def cancel(self, waiting: HasDeadline) -> float:
        """Cancel the deadline of an object; return the seconds that were left, 0 if it had none."""
        deadline = self._deadlines.pop(waiting, None)
        return 0.0 if deadline is None else max(0.0, deadline - self._reactor.seconds())

    def change(self, seconds: float) -> None:
        """Use another time limit from now on, also for what is waiting: so the deadlines keep their order."""
        difference, self._seconds = seconds - self._seconds, seconds
        self._deadlines = {waiting: deadline + difference for waiting, deadline in self._deadlines.items()}
        if self._timer is not None:
            self._timer.reset(0)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        now = self._reactor.seconds()
        while self._deadlines:
            waiting, deadline = next(iter(self._deadlines.items()))
            if deadline > now:
                self._timer = self._reactor.callLater(deadline - now, self._check)
                return
            del self._deadlines[waiting]
            try:
                waiting.deadline_passed()
            except Exception:
                _log.failure("unhandled error in a deadline")
