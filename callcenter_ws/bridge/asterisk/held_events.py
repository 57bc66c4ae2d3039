"""The live events that a session holds back while the exchange answers with its lists."""

from __future__ import annotations

from collections import deque

from callcenter_ws.bridge.asterisk.message import AmiMessage

MAX_HELD = 50_000
"""Live events that are held back. Beyond that the first synchronization fails, and an audit is given up."""


class HeldEvents:
    """Two queues: the events that are held back, and those that were released and have to be handled before others."""

    def __init__(self) -> None:
        self._held: list[tuple[AmiMessage, float]] = []
        self._released: deque[tuple[AmiMessage, float]] = deque()

    def hold(self, message: AmiMessage, arrived: float) -> bool:
        """Hold an event back; return whether more may be held."""
        self._held.append((message, arrived))
        return len(self._held) <= MAX_HELD

    @property
    def meanwhile(self) -> tuple[tuple[AmiMessage, float], ...]:
        """The events that are held back, with the times of their arrival."""
        return tuple(self._held)

    def release(self) -> None:
        """Hold nothing back any more."""
        self._released.extend(self._held)
        self._held = []

    @property
    def has_released(self) -> bool:
        """Whether released events have to be handled."""
        return bool(self._released)

    def next(self) -> tuple[AmiMessage, float]:
        """Remove and return the next released event."""
        return self._released.popleft()

    def clear(self) -> None:
        """Drop everything."""
        self._held.clear()
        self._released.clear()
