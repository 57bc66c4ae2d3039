"""What was published lately, so that a repeated event is answered and not published again."""

from __future__ import annotations

from collections import OrderedDict

WINDOW = 300.0
"""Seconds for which an ``event_id`` is remembered (PROTOCOL section 6)."""

MAX_IDS = 200_000
"""Identifiers remembered per tenant; above that the oldest is forgotten, though its time is not over."""


class RecentIds:
    """Event ids of one tenant and the ``seq`` that each was given, for the last ``WINDOW`` seconds."""

    def __init__(self) -> None:
        # Not a dict: the first of one that has lost many at its front is searched for anew each time.
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def oldest(self) -> int | None:
        """The ``seq`` of the oldest that is remembered."""
        return next(iter(self._seen.values()))[0] if self._seen else None

    def seq_of(self, event_id: str, now: float) -> int | None:
        """The ``seq`` that the event was given, or None when it was not published within the window."""
        found = self._seen.get(event_id)
        return None if found is None or found[1] < now - WINDOW else found[0]

    def remember(self, event_id: str, seq: int, now: float) -> None:
        """Remember an event that was published at ``now`` (monotonic)."""
        self.forget_before(now - WINDOW)
        self._seen[event_id] = (seq, now)
        self._seen.move_to_end(event_id)
        if len(self._seen) > MAX_IDS:
            self._seen.popitem(last=False)

    def forget_before(self, moment: float) -> None:
        """Forget what was published before ``moment``."""
        while self._seen and next(iter(self._seen.values()))[1] < moment:
            self._seen.popitem(last=False)
