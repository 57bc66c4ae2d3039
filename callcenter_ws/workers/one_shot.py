"""An event that happens once and that coroutines can wait for."""

from __future__ import annotations

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime


class OneShotEvent:
    """Is set once and stays set; any number of coroutines may wait for it."""

    def __init__(self) -> None:
        self.is_set = False
        self._waiters: list[Deferred[None]] = []

    def set(self) -> None:
        """Set the event and resume all waiting coroutines. Has no effect if it is set already."""
        self.is_set = True
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.called:
                waiter.callback(None)

    async def wait(self) -> None:
        """Wait until the event is set."""
        if not self.is_set:
            await self._new_waiter()

    async def wait_at_most(self, seconds: float, reactor: IReactorTime) -> bool:
        """Wait until the event is set, at most ``seconds``; return whether it is set."""
        if not self.is_set:
            try:
                await self._new_waiter().addTimeout(seconds, reactor)
            except TimeoutError:
                return self.is_set
        return True

    def _new_waiter(self) -> Deferred[None]:
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        return waiter
