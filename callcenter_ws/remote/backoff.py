"""How long to wait before the next try."""

from __future__ import annotations

import random


class Backoff:
    """Doubles from ``first`` to ``most`` seconds, and spreads what many daemons would do at the same moment."""

    def __init__(self, first: float, most: float) -> None:
        self._first = first
        self._most = most
        self._next = first

    def delay(self) -> float:
        """Return the seconds to wait, and wait longer the next time."""
        delay = self._next
        self._next = min(self._most, delay * 2)
        return delay * random.uniform(0.75, 1.0)  # noqa: S311 - it spreads load, it keeps no secret

    def worst(self) -> None:
        """The next try is far off: what failed will not mend itself soon."""
        self._next = self._most

    def reset(self) -> None:
        """It worked: begin anew."""
        self._next = self._first
