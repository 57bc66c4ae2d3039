"""The thread that writes the files of all archives, and what it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool

from callcenter_ws.events.publication import Publication
from callcenter_ws.figures.archive_files import TenantFolder
from callcenter_ws.runtime.threads import DedicatedThreadPool
from callcenter_ws.statistics.export_line import export_line

T = TypeVar("T")


class ArchiveThread:
    """The thread of the archives of all tenants: it runs one call after the other.

    It does not keep the process from exiting, should the disk hang.
    """

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._pool = DedicatedThreadPool(1, "callcenter-ws archive")
        self._pool.start()

    def call(self, call: Callable[[], T]) -> Awaitable[T]:
        """Run a call in the thread; return its result."""
        return deferToThreadPool(self._reactor, self._pool, call)


def write_events(
    folder: TenantFolder, name: str, size: int, day: int, epoch: str, publications: Sequence[Publication]
) -> tuple[str, int]:
    """Append events to a file, a new one if the name is empty; return its name, and its new size. Blocks.

    Raises:
        OSError: see ``TenantFolder.append``.
    """
    lines = [export_line(publication, epoch) for publication in publications]
    file = name or folder.new_file(day)
    return file, folder.append(file, size, lines)


def close_file(folder: TenantFolder, name: str, before: int) -> None:
    """Close the file of a day, if there is one; remove files of days before another. Blocks.

    Raises:
        OSError: it is to be tried again.
    """
    if name:
        folder.close_day(name)
    folder.remove_before(before)
