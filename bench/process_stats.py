"""Reads the memory and the open files of processes from /proc, and waits until they are idle."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from bench.cpu import cpu_seconds
from bench.failure import InvalidRun
from bench.gateway import DEADLINE

_PAUSE_SECONDS = 0.05
_IDLE_SHARE = 0.02
"""Processes that use less than this share of one core are idle."""

_PRIVATE = re.compile(r"^Pss_(?:Anon|Shmem):\s+(\d+) kB$", re.MULTILINE)


def private_memory(pids: Sequence[int]) -> int:
    """Return the resident bytes that back no file, shared memory by share: Pss_Anon and Pss_Shmem of proc(5)."""
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    return 1024 * sum(int(size) for text in texts for size in _PRIVATE.findall(text))


def resident_memory(pid: int) -> int:
    """Return the resident bytes of a process, at a lower cost than ``private_memory``."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_files(pids: Sequence[int]) -> int:
    """Return the number of open file descriptors."""
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)


def await_idle(pids: Sequence[int], files: int | None = None) -> None:
    """Wait until the processes use almost no CPU, and have at most ``files`` file descriptors open.

    Raises:
        InvalidRun: if this takes longer than ``DEADLINE``.
    """
    end = time.monotonic() + DEADLINE
    while files is not None and open_files(pids) > files:
        if time.monotonic() > end:
            raise InvalidRun(f"{open_files(pids)} files are open, not {files}")
        time.sleep(_PAUSE_SECONDS)
    before = sum(map(cpu_seconds, pids))
    while True:
        time.sleep(_PAUSE_SECONDS)
        after = sum(map(cpu_seconds, pids))
        if after - before < _IDLE_SHARE * _PAUSE_SECONDS:
            return
        if time.monotonic() > end:
            raise InvalidRun(f"processes {pids} are not idle after {DEADLINE:g} s")
        before = after
