"""The thread that waits for the spool's disk, so that the reactor does not."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")


class _Thread(Thread):
    """One that a daemon which ends without ``stopService`` does not wait for; the spool survives that."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, daemon=True)


class _Pool(ThreadPool):
    threadFactory = _Thread  # noqa: N815 - Twisted's name


class SpoolThread:
    """One thread of our own, not of the reactor's: those may all be waiting for a resolver. Can be started again."""

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


def _new_pool() -> ThreadPool:
    return _Pool(1, 1, name="callcenter-ws-spool")
