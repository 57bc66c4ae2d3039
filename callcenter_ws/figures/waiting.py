"""The publications of a tenant that are delivered and not folded yet, within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from callcenter_ws.events.publication import Publication

MAX_WAITING = 20_000
MAX_WAITING_BYTES = 33_554_432
"""Publications of a tenant that wait to be folded; beyond either they are read from the log, which has them too."""


class Waiting:
    """A queue of publications in order of ``seq``. What does not fit is dropped, with all of its call."""

    def __init__(self) -> None:
        self._queue: deque[Publication] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._queue)

    def extend(self, publications: Sequence[Publication]) -> None:
        """Append publications while they fit."""
        for publication in publications:
            if len(self._queue) >= MAX_WAITING or self._bytes + publication.memory > MAX_WAITING_BYTES:
                return
            self._queue.append(publication)
            self._bytes += publication.memory

    def has(self, seq: int) -> bool:
        """Return whether the publication of a position is the next; drop those before it."""
        while self._queue and self._queue[0].seq < seq:
            self.take()
        return bool(self._queue) and self._queue[0].seq == seq

    def take(self) -> Publication:
        """Remove and return the next publication."""
        publication = self._queue.popleft()
        self._bytes -= publication.memory
        return publication

    @property
    def last(self) -> int:
        """The position of the last publication; 0 if there is none."""
        return self._queue[-1].seq if self._queue else 0

    def clear(self) -> None:
        """Drop all publications."""
        self._queue.clear()
        self._bytes = 0
