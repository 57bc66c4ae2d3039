"""What a bridge counts of one source, for its metrics and for the summary in its log."""

from __future__ import annotations

from callcenter_ws.runtime.histogram import DELAY_BOUNDS, Histogram

MAX_KINDS = 32
"""Kinds of refused events that are counted apart; further ones are counted as ``other``."""

OTHER = "other"


class SourceCounters:
    """The counters of one source since the start of the process.

    Attributes:
        events: events of the gateway that were given to the spool.
        reconciled: of these, events that a comparison with the lists of the exchange has found.
        refused: events that were refused, by the error code.
        resyncs: complete synchronizations with the lists of the exchange, audits included.
        losses: sessions that ended and attempts to connect that failed, by reason.
        commands: commands that have ended, by their outcome: ``done``, or the code of the failure.
        pauses: how often the bridge left the exchange because the spool was full.
        lag: from the time of an event on the exchange until it was given to the spool, in seconds.
    """

    def __init__(self) -> None:
        self.events = 0
        self.reconciled = 0
        self.refused: dict[str, int] = {}
        self.resyncs = 0
        self.losses: dict[str, int] = {}
        self.commands: dict[str, int] = {}
        self.pauses = 0
        self.lag = Histogram(DELAY_BOUNDS)

    def count_refused(self, code: str) -> None:
        """Count an event that was refused."""
        _count(self.refused, code)

    def count_loss(self, reason: str) -> None:
        """Count the end of a session, or an attempt that failed."""
        _count(self.losses, reason)

    def count_command(self, outcome: str) -> None:
        """Count a command that has ended."""
        _count(self.commands, outcome)


def _count(counts: dict[str, int], kind: str) -> None:
    known = kind if kind in counts or len(counts) < MAX_KINDS else OTHER
    counts[known] = counts.get(known, 0) + 1
