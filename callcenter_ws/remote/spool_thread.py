"""The thread that waits for the spool's disk, so that the reactor does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from callcenter_ws.runtime.threads import DedicatedThreadPool

T = TypeVar("T")


class SpoolThread:
    """One thread. Can be started again."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._pool = _new_pool()

    def start(self) -> None:
        """Begin."""
        self._pool.start()

    def call(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """Have a function called, after those before; fires in the reactor's thread."""
        called: Deferred[T] = deferToThreadPool(self._reactor, self._pool, function, *args)
        return called

    def stop(self) -> None:
        """End, when everything that was called is done."""
        pool, self._pool = self._pool, _new_pool()
        pool.stop()


def _new_pool() -> DedicatedThreadPool:
    return DedicatedThreadPool(1, "callcenter-ws-spool")
