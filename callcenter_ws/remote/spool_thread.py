"""SpoolThread: the thread that accesses the spool's disk, so that the reactor does not block."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool

from callcenter_ws.runtime.threads import DedicatedThreadPool

T = TypeVar("T")


class SpoolThread:
    """A single thread. It can be started again after it was stopped."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._pool = _new_pool()

    def start(self) -> None:
        """Start the thread."""
        self._pool.start()

    def call(self, function: Callable[..., T], *args: object) -> Deferred[T]:
        """Call a function in the thread, after the calls before it; the Deferred fires in the reactor's thread."""
        called: Deferred[T] = deferToThreadPool(self._reactor, self._pool, function, *args)
        return called

    def stop(self) -> None:
        """Stop the thread after all calls made before, and wait for it."""
        pool, self._pool = self._pool, _new_pool()
        pool.stop()


def _new_pool() -> DedicatedThreadPool:
    return DedicatedThreadPool(1, "callcenter-ws-spool")
