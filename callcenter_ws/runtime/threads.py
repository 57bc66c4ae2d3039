"""Threads of our own, for what waits for a disk: those of the reactor's pool may all be waiting for a resolver."""

from __future__ import annotations

from threading import Thread
from typing import Any

from twisted.python.threadpool import ThreadPool


class _Thread(Thread):
    """One that a process which ends without stopping it does not wait for; the files survive that."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, daemon=True)


class DedicatedThreadPool(ThreadPool):
    """A pool that is nobody else's. Threads begin when there is something to do."""

    threadFactory = _Thread  # noqa: N815 - Twisted's name

    def __init__(self, most: int, name: str) -> None:
        super().__init__(0, most, name)
