"""What a bridge counts of the messages of one exchange."""

from __future__ import annotations

from collections.abc import Mapping

MAX_SKIPPED_NAMES = 256
"""Names of events that are counted each; further names are counted together under ``OTHER_NAMES``."""

OTHER_NAMES = "(other)"


class Traffic:
    """The sums of some sessions with an exchange.

    Attributes:
        messages: events and responses.
        skipped: the events that the state machine did not want, by name.
        sessions: the number of sessions.
        abandoned_audits: audits that were given up, because too many events came meanwhile or a list failed.
    """

    def __init__(
        self,
        messages: int = 0,
        skipped: Mapping[str, int] | None = None,
        sessions: int = 0,
        abandoned_audits: int = 0,
    ) -> None:
        self.messages = messages
        self.skipped = dict(skipped or {})
        self.sessions = sessions
        self.abandoned_audits = abandoned_audits

    def add(self, other: Traffic) -> None:
        """Add the sums of other sessions."""
        self.messages += other.messages
        self.sessions += other.sessions
        self.abandoned_audits += other.abandoned_audits
        for name, count in other.skipped.items():
            known = name if name in self.skipped or len(self.skipped) < MAX_SKIPPED_NAMES else OTHER_NAMES
            self.skipped[known] = self.skipped.get(known, 0) + count

    def plus(self, other: Traffic) -> Traffic:
        """Return the sums of both."""
        total = Traffic(self.messages, self.skipped, self.sessions, self.abandoned_audits)
        total.add(other)
        return total
