"""The threads of the store: one that writes, and some that read."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool

from callcenter_ws.runtime.threads import DedicatedThreadPool

READER_THREADS = 2
"""One may load a large tenant while the other reads histories and mailboxes."""

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """Runs calls that use the file in threads of the store, not in those of the reactor's pool, which others use."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._writer = DedicatedThreadPool(1, "callcenter-ws store writer")
        self._readers = DedicatedThreadPool(READER_THREADS, "callcenter-ws store reader")

    def start(self) -> None:
        """Accept calls from now on."""
        self._writer.start()
        self._readers.start()

    def write(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run a call in the writing thread, after the calls before it."""
        return deferToThreadPool(self._reactor, self._writer, call, *args, **kwargs)

    def read(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run a call in a reading thread."""
        return deferToThreadPool(self._reactor, self._readers, call, *args, **kwargs)

    def stop_reading(self) -> None:
        """Finish the reads that were accepted, and accept no more; blocks until then."""
        self._readers.stop()

    def stop(self) -> None:
        """Finish the writes that were accepted, and end the thread; blocks until then."""
        self._writer.stop()
