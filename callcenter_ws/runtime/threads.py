"""Thread pools that are not shared, for blocking work on files.

The threads of the reactor's own pool may all be blocked by the resolver.
"""

from __future__ import annotations

from threading import Thread
from typing import Any

from twisted.python.threadpool import ThreadPool


class _DaemonThread(Thread):
    """A thread that does not keep the process from exiting; the files survive that."""

    def __init__(self, *args: Any, **options: Any) -> None:  # the arguments of Thread
        super().__init__(*args, **options, daemon=True)


class DedicatedThreadPool(ThreadPool):
    """A thread pool for one purpose. It starts threads when there is work.

    Args:
        max_threads: the maximum number of threads.
        name: the prefix of the threads' names.
    """

    threadFactory = _DaemonThread  # noqa: N815 - Twisted's name

    def __init__(self, max_threads: int, name: str) -> None:
        super().__init__(0, max_threads, name)
