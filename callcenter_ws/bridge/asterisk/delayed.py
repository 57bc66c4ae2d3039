"""Work that waits for what an exchange sends next, or for a time."""

from __future__ import annotations

from collections.abc import Callable

_NEVER = float("inf")

GOES_ON = float("inf")
"""Stands for the time where a caller is seen to go on elsewhere."""

Work = Callable[[float], None]
"""Called with the time."""


class DelayedWork:
    """Work by keys, each with a time at which it is done at the latest.

    Each key has one entry. The keys are made of channels and calls, whose numbers are limited.
    """

    def __init__(self) -> None:
        self._entries: dict[str, tuple[float, Work]] = {}
        self._next = _NEVER

    def add(self, key: str, due: float, work: Work) -> None:
        """Do something at a time unless it is done or canceled before; it replaces what waits under the key."""
        self._entries[key] = (due, work)
        self._next = min(self._next, due)

    def run(self, key: str, time: float) -> bool:
        """Do what waits under a key; return whether there was anything."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return False
        entry[1](time)
        return True

    def cancel(self, key: str) -> bool:
        """Forget what waits under a key; return whether there was anything."""
        return self._entries.pop(key, None) is not None

    def advance(self, time: float) -> None:
        """Do what is due."""
        if time < self._next:
            return
        for key in [key for key, (due, _) in self._entries.items() if due <= time]:
            self.run(key, time)
        self._next = min((due for due, _ in self._entries.values()), default=_NEVER)

    def shift(self, by: float) -> None:
        """Move all times, because the exchange's clock was set."""
        self._entries = {key: (due + by, work) for key, (due, work) in self._entries.items()}
        self._next += by

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._next = _NEVER
