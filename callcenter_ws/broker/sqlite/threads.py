"""The store's own threads: one that writes, and some that read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from callcenter_ws.runtime.threads import DedicatedThreadPool

READERS = 2
"""One may load a large tenant while the other serves those who read on."""

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """Runs calls into the file away from the reactor's thread, and not in the reactor's pool, which others fill."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._writer = DedicatedThreadPool(1, "callcenter-ws store writer")
        self._readers = DedicatedThreadPool(READERS, "callcenter-ws store reader")

    def start(self) -> None:
        """Take calls from now on."""
        self._writer.start()
        self._readers.start()

    def write(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run a call in the writing thread, after those before it."""
        return deferToThreadPool(self._reactor, self._writer, call, *args, **kwargs)

    def read(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        """Run a call in a reading thread."""
        return deferToThreadPool(self._reactor, self._readers, call, *args, **kwargs)

    def stop_reading(self) -> None:
        """Finish the reads that were begun and take no more; blocks until then."""
        self._readers.stop()

    def stop(self) -> None:
        """Finish what is being written and end the thread; blocks until then."""
        self._writer.stop()
