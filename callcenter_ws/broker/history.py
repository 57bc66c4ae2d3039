"""The recent publications of one tenant, in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from callcenter_ws.events.publication import Publication

NO_LIMIT = 2**63


@dataclass(frozen=True, slots=True)
class Hold:
    """What is not removed from the history of a tenant, because its statistics or its archive need it.

    Attributes:
        after: publications after this position are needed.
        max_events, max_bytes: unless there are more of these, or they are larger; then the oldest are removed.
    """

    after: int
    max_events: int
    max_bytes: int


class History:
    """The most recent publications of one tenant, oldest first.

    Invariant: the ``seq`` of neighbours differ by one, so that a position is an index.

    Attributes:
        head: ``seq`` of the newest publication; it stays when the publications are removed.
        bytes: memory of the publications.
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
        """The lowest position after which every publication is still present."""
        return self.head - len(self._ring)

    def append(self, publication: Publication) -> None:
        """Add the next publication; its ``seq`` is ``head + 1``."""
        self._ring.append(publication)
        self.head = publication.seq
        self.bytes += publication.memory
        key = publication.event.conflation_key
        if key is not None:
            self._newest[key] = publication.seq

    def trim(self, max_count: int, received_after: float, max_bytes: int = NO_LIMIT, hold: Hold | None = None) -> None:
        """Remove the oldest publications so that at most ``max_count`` are left, none older than ``received_after``.

        Args:
            received_after: seconds of the monotonic clock.
            max_bytes: the largest ``bytes`` of those that are left.
            hold: what is left nevertheless.
        """
        ring = self._ring
        while ring and (len(ring) > max_count or self.bytes > max_bytes or ring[0].event.received_at < received_after):
            if hold is not None and self._is_held(ring[0], hold):
                return
            self._remove(ring.popleft())

    def _is_held(self, oldest: Publication, hold: Hold) -> bool:
        # All publications come after the oldest: if that one is needed, they all are.
        return oldest.seq > hold.after and len(self._ring) <= hold.max_events and self.bytes <= hold.max_bytes

    def _remove(self, publication: Publication) -> None:
        self.bytes -= publication.memory
        key = publication.event.conflation_key
        if key is not None and self._newest.get(key) == publication.seq:
            del self._newest[key]

    def after(self, position: int, limit: int) -> Sequence[Publication]:
        """Return at most ``limit`` publications after ``position``, which must not lie below ``floor``."""
        start = max(0, position - self.floor)
        return list(islice(self._ring, start, start + limit))

    def newest_of(self, conflation_key: tuple[str, ...]) -> int:
        """Return the ``seq`` of the newest publication with this key; 0 when none is present."""
        return self._newest.get(conflation_key, 0)
