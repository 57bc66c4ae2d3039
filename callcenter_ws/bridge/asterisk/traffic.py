"""Counts what came from an exchange, over all its sessions."""

from __future__ import annotations

from callcenter_ws.bridge.asterisk.framing import MAX_SKIPPED_NAMES, OTHER_NAMES
from callcenter_ws.bridge.asterisk.session import AmiSession


class Traffic:
    """The sums of the sessions that have ended.

    Attributes:
        messages: events and responses.
        skipped: the events that the state machine did not want, by name.
        cut_lines, dropped_headers: what exceeded the limits of the framing.
        sessions: how many sessions have ended.
        abandoned_audits: audits that were given up, because too many events came meanwhile or a list failed.
    """

    def __init__(self) -> None:
        self.messages = 0
        self.skipped: dict[str, int] = {}
        self.cut_lines = 0
        self.dropped_headers = 0
        self.sessions = 0
        self.abandoned_audits = 0

    def add_session(self, session: AmiSession) -> None:
        """Add a session, which has ended or goes on."""
        framing = session.framing
        self.messages += framing.messages
        self.cut_lines += framing.cut_lines
        self.dropped_headers += framing.dropped_headers
        self.sessions += 1
        self.abandoned_audits += session.abandoned_audits
        for name, count in framing.skipped.items():
            known = name if name in self.skipped or len(self.skipped) < MAX_SKIPPED_NAMES else OTHER_NAMES
            self.skipped[known] = self.skipped.get(known, 0) + count

    def plus(self, session: AmiSession | None) -> Traffic:
        """Return the sums with those of a session that goes on."""
        total = Traffic()
        for name in ("messages", "cut_lines", "dropped_headers", "sessions", "abandoned_audits"):
            setattr(total, name, getattr(self, name))
        total.skipped = dict(self.skipped)
        if session is not None:
            total.add_session(session)
        return total
