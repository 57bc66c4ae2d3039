"""The time of a session with the manager interface, and how long it waits for an answer."""

from __future__ import annotations

ANSWER_SECONDS = 15.0
"""Within this time after an action something of its answer must come: else the exchange is lost."""

MAX_STEP_SECONDS = 2.0
"""A longer time between two ticks counts as this: the process did not run, and could not read an answer either."""


class SessionClock:
    """Counts the seconds in which the process ran, and those that an answer takes.

    Attributes:
        now: the seconds since the first tick.
        waits_for: what has to be answered, for people.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.waits_for = ""
        self._last_tick: float | None = None
        self._answer_until: float | None = None

    def tick(self, now: float) -> None:
        """Let time pass.

        Args:
            now: seconds of a monotonic clock.
        """
        if self._last_tick is not None:
            self.now += max(0.0, min(now - self._last_tick, MAX_STEP_SECONDS))
        self._last_tick = now

    def expect(self, what: str, seconds: float = ANSWER_SECONDS) -> None:
        """Expect an answer, instead of any other, within some seconds."""
        self.waits_for = what
        self._answer_until = self.now + seconds

    def expect_more(self) -> None:
        """Expect the rest of an answer, of which a part has come."""
        self._answer_until = self.now + ANSWER_SECONDS

    def expect_nothing(self) -> None:
        """Note that the answer has come, or is not waited for any more."""
        self._answer_until = None

    @property
    def is_overdue(self) -> bool:
        """Whether the answer has not come in time."""
        return self._answer_until is not None and self.now >= self._answer_until
