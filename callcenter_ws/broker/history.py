"""A tenant's recent messages, and its state compacted from them (PROTOCOL sections 4.2 and 7)."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

from callcenter_ws.events.publication import Publication


class History:
    """The most recent messages of one tenant, without holes, oldest first.

    Invariant: ``seq`` of neighbours differ by one, so that a position is an index.
    """

    def __init__(self) -> None:
        self._ring: deque[Publication] = deque()
        self._newest: dict[tuple[str, ...], int] = {}
        self.head = 0
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._ring)

    @property
    def floor(self) -> int:
        """The lowest position from which everything after it is still here."""
        return self.head - len(self._ring)

    def append(self, publication: Publication) -> None:
        """Add the next message; its ``seq`` is ``head + 1``."""
        self._ring.append(publication)
        self.head = publication.seq
        self.bytes += publication.memory
        key = publication.event.conflation_key
        if key is not None:
            self._newest[key] = publication.seq

    def keep(self, count: int, received_after: float) -> None:
        """Forget the oldest so that at most ``count`` are left, none older than ``received_after``."""
        ring = self._ring
        while ring and (len(ring) > count or ring[0].event.received_at < received_after):
            self._forget(ring.popleft())

    def _forget(self, publication: Publication) -> None:
        self.bytes -= publication.memory
        key = publication.event.conflation_key
        if key is not None and self._newest.get(key) == publication.seq:
            del self._newest[key]

    def after(self, position: int, limit: int) -> Sequence[Publication]:
        """At most ``limit`` messages after ``position``, which must not lie below ``floor``."""
        start = max(0, position - self.floor)
        return list(islice(self._ring, start, start + limit))

    def newest_of(self, conflation_key: tuple[str, ...]) -> int:
        """``seq`` of the newest message with this key, 0 when there is none here."""
        return self._newest.get(conflation_key, 0)
