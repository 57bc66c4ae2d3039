"""The publications of a tenant that are delivered and not folded yet, within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from callcenter_ws.events.publication import Publication

MAX_WAITING = 60_000
MAX_WAITING_BYTES = 134_217_728
"""Publications of a tenant that wait to be folded; beyond either they are read from the log, which has them too."""

MAX_WAITING_BYTES_OF_ALL = 268_435_456
"""The same of all tenants of the process."""


@dataclass(slots=True)
class WaitingBytes:
    """Counts the bytes that wait for the folds of all tenants of the process."""

    used: int = 0


class Waiting:
    """A queue of publications in order of ``seq``. What does not fit is dropped, with all of its call.

    Args:
        of_all: the bytes in all queues of the process. Those of a queue count until they are taken or cleared.
    """

    def __init__(self, of_all: WaitingBytes) -> None:
        self._queue: deque[Publication] = deque()
        self._bytes = 0
        self._of_all = of_all

    def __len__(self) -> int:
        return len(self._queue)

    def extend(self, publications: Sequence[Publication]) -> None:
        """Append publications while they fit."""
        size = _size(publications)
        room = min(MAX_WAITING_BYTES - self._bytes, MAX_WAITING_BYTES_OF_ALL - self._of_all.used)
        if len(self._queue) + len(publications) <= MAX_WAITING and size <= room:
            self._queue.extend(publications)
            self._count(size)
            return
        for publication in publications:
            if len(self._queue) >= MAX_WAITING or publication.memory > room:
                return
            self._queue.append(publication)
            self._count(publication.memory)
            room -= publication.memory

    def has(self, seq: int) -> bool:
        """Return whether the publication of a position is the next; drop those before it."""
        while self._queue and self._queue[0].seq < seq:
            self._count(-self._queue.popleft().memory)
        return bool(self._queue) and self._queue[0].seq == seq

    def take(self, seq: int, limit: int) -> list[Publication]:
        """Remove and return the publications from a position on, without gaps, at most ``limit``."""
        if not self.has(seq):
            return []
        count = min(limit, len(self._queue))
        while self._queue[count - 1].seq != seq + count - 1:
            # Some were dropped because they did not fit.
            count -= 1
        taken = [self._queue.popleft() for _ in range(count)]
        self._count(-_size(taken))
        return taken

    @property
    def last(self) -> int:
        """The position of the last publication; 0 if there is none."""
        return self._queue[-1].seq if self._queue else 0

    def clear(self) -> None:
        """Drop all publications."""
        self._queue.clear()
        self._count(-self._bytes)

    def _count(self, size: int) -> None:
        self._bytes += size
        self._of_all.used += size


def _size(publications: Sequence[Publication]) -> int:
    return sum([publication.memory for publication in publications])
