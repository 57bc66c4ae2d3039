"""Recently published event identifiers, so that a repeated event is answered but not published twice."""

from __future__ import annotations

from collections import OrderedDict

WINDOW_SECONDS = 300.0
"""How long an ``event_id`` is remembered (``docs/senders.rst``, "The commands")."""

MAX_IDS = 200_000
"""Identifiers remembered per tenant; above that the oldest is removed before its window ends."""


class RecentIds:
    """The event identifiers of one tenant from the last ``WINDOW_SECONDS``, each with the ``seq`` it was given."""

    def __init__(self) -> None:
        # Not a dict: finding the first key of a dict that has lost many keys at its front takes linear time.
        self._seen: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    @property
    def oldest(self) -> int | None:
        """The ``seq`` of the oldest identifier; None when there is none."""
        return next(iter(self._seen.values()))[0] if self._seen else None

    def seq_of(self, event_id: str, now: float) -> int | None:
        """Return the ``seq`` of the event; None when it was not published within the window."""
        found = self._seen.get(event_id)
        return None if found is None or found[1] < now - WINDOW_SECONDS else found[0]

    def remember(self, event_id: str, seq: int, now: float) -> None:
        """Add an event that was published at ``now``, in seconds of the monotonic clock."""
        self.forget_before(now - WINDOW_SECONDS)
        self._seen[event_id] = (seq, now)
        self._seen.move_to_end(event_id)
        if len(self._seen) > MAX_IDS:
            self._seen.popitem(last=False)

    def forget_before(self, published_at: float) -> None:
        """Remove identifiers that were published before this time of the monotonic clock."""
        while self._seen and next(iter(self._seen.values()))[1] < published_at:
            self._seen.popitem(last=False)
