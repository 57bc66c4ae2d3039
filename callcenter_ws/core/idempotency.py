"""What was published lately, so that a repeated event is answered and not published again."""

from __future__ import annotations

WINDOW = 300.0
"""Seconds for which an ``event_id`` is remembered (PROTOCOL section 6)."""

MAX_IDS = 200_000
"""Identifiers remembered per tenant; above that the oldest is forgotten, though its time is not over."""


class RecentIds:
    """Event ids of one tenant and the ``seq`` that each was given, for the last ``WINDOW`` seconds."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def oldest(self) -> int | None:
        """The ``seq`` of the oldest that is remembered."""
        return next(iter(self._seen.values()))[0] if self._seen else None

    def seq_of(self, event_id: str, now: float) -> int | None:
        """The ``seq`` that the event was given, or None when it was not published within the window."""
        self.forget_before(now - WINDOW)
        found = self._seen.get(event_id)
        return None if found is None else found[0]

    def remember(self, event_id: str, seq: int, now: float) -> None:
        """Remember an event that was published at ``now`` (monotonic)."""
        self._seen[event_id] = (seq, now)
        if len(self._seen) > MAX_IDS:
            del self._seen[next(iter(self._seen))]

    def forget_before(self, moment: float) -> None:
        """Forget what was published before ``moment``."""
        while self._seen:
            oldest = next(iter(self._seen))
            if self._seen[oldest][1] >= moment:
                return
            del self._seen[oldest]
