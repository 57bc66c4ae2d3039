"""Calls of which those with the same key run one at a time, in the order in which they were made."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar

from twisted.internet.defer import Deferred

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime.clock import Clock

MAX_WAITING_OF_KEY = 64
"""Calls with the same key that may wait."""

MAX_WAITING_CALLS = 4_096
MAX_WAITING_CALL_BYTES = 67_108_864
"""Calls with all keys that may wait, and bytes that they hold."""

RETRY_AFTER_SECONDS = 1
"""The ``retry_after`` of the refusal when there are more."""

R = TypeVar("R")


class OneAtATime:
    """Runs calls; one with the key of another that has not returned yet waits for it.

    Nothing is kept of a key of which no call runs.

    Args:
        what: what waits, for the text of the refusal: ``"messages of the session"``.
    """

    def __init__(self, clock: Clock, what: str) -> None:
        self._clock = clock
        self._what = what
        # For each key of which a call runs, those that wait.
        self._waiting: dict[Hashable, deque[Deferred[None]]] = {}
        self._waiting_calls = 0
        self._waiting_bytes = 0

    def __len__(self) -> int:
        """Return the number of keys of which a call runs."""
        return len(self._waiting)

    async def run(self, key: Hashable, size: int, call: Callable[[], Awaitable[R]]) -> R:
        """Make a call when those with the same key that were made before have returned; return its result.

        Args:
            size: the bytes that the call holds while it waits.

        Raises:
            Refusal: ``overloaded``: too many calls wait; this one is not made. Or what the call raises.
        """
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = deque()
        else:
            await self._wait(waiting, size)
        try:
            return await call()
        finally:
            self._finish(key)

    async def _wait(self, waiting: deque[Deferred[None]], size: int) -> None:
        if (
            len(waiting) >= MAX_WAITING_OF_KEY
            or self._waiting_calls >= MAX_WAITING_CALLS
            or self._waiting_bytes + size > MAX_WAITING_CALL_BYTES
        ):
            raise Refusal(ErrorCode.OVERLOADED, f"too many {self._what} wait", retry_after=RETRY_AFTER_SECONDS)
        self._waiting_calls += 1
        self._waiting_bytes += size
        turn: Deferred[None] = Deferred()
        waiting.append(turn)
        await turn
        self._waiting_calls -= 1
        self._waiting_bytes -= size

    def _finish(self, key: Hashable) -> None:
        """Let the next call with the key run, in the next turn: after this one has been answered."""
        waiting = self._waiting[key]
        if waiting:
            self._clock.call_later(0, waiting.popleft().callback, None)
        else:
            del self._waiting[key]
