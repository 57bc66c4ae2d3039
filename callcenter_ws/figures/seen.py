"""What a process has seen of a tenant's stream: by this it notices that the store has lost all of it."""

from __future__ import annotations

from collections.abc import Sequence

from callcenter_ws.events.publication import Publication


class SeenStream:
    """Remembers the newest publication, also while another process folds the tenant.

    A store that has lost everything, the rows of the fold too, looks like one of a new tenant: the figures of the day
    would seem to be complete.

    Attributes:
        lost_since: when the last publication was received that the store has lost, in Unix milliseconds; None: none.
    """

    def __init__(self) -> None:
        self._seq = 0
        self._received_ms = 0
        self.lost_since: int | None = None

    def note(self, publications: Sequence[Publication]) -> None:
        """Take note of publications that were delivered, in order of ``seq``."""
        self.check(publications[0].seq - 1)
        last = publications[-1]
        self._seq, self._received_ms = last.seq, last.event.received_ms

    def check(self, seq: int) -> None:
        """Compare with a position of the store."""
        if seq < self._seq:
            self.lost_since, self._seq = self._received_ms, seq

    def reach(self, seq: int, now: int) -> None:
        """Take note of the position of the store: events up to it may never be delivered to this process."""
        self.check(seq)
        if seq > self._seq:
            self._seq, self._received_ms = seq, now
