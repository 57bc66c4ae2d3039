"""OneShotEvent: something that comes once, and that any number of coroutines may wait for."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, TimeoutError


class OneShotEvent:
    """Comes once."""

    def __init__(self) -> None:
        self.has_come = False
        self._waiting: list[Deferred[None]] = []

    def come(self) -> None:
        """It is now; a second time changes nothing."""
        self.has_come = True
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.called:
                one.callback(None)

    async def within(self, seconds: float, reactor: Any) -> bool:
        """Wait for it, but no longer than so many seconds; whether it came."""
        if not self.has_come:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            waiting.addTimeout(seconds, reactor)
            try:
                await waiting
            except TimeoutError:
                return self.has_come
        return True

    async def wait(self) -> None:
        """Wait for it."""
        if not self.has_come:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            await waiting
