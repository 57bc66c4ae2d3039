"""What the operating system tells about processes, beside their CPU time."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from bench.cpu import cpu_seconds
from bench.failure import Broken
from bench.gateway import DEADLINE

_PAUSE = 0.05
_CALM = 0.02
"""A process that takes less than this share of a core has nothing left to do."""

_OWN = re.compile(r"^Pss_(?:Anon|Shmem):\s+(\d+) kB$", re.MULTILINE)


def own_memory(pids: Sequence[int]) -> int:
    """Bytes that are resident and not those of a file, shared memory by share: Pss_Anon and Pss_Shmem of proc(5)."""
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    return 1024 * sum(int(size) for text in texts for size in _OWN.findall(text))


def open_files(pids: Sequence[int]) -> int:
    """How many files and sockets they have open."""
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)


def await_calm(pids: Sequence[int], files: int | None = None) -> None:
    """Wait until they have done what there was to do, and have no more than ``files`` open.

    Raises:
        Broken: it does not come to that.
    """
    end = time.monotonic() + DEADLINE
    while files is not None and open_files(pids) > files:
        if time.monotonic() > end:
            raise Broken(f"{open_files(pids)} files are open, not {files}")
        time.sleep(_PAUSE)
    before = sum(map(cpu_seconds, pids))
    while True:
        time.sleep(_PAUSE)
        after = sum(map(cpu_seconds, pids))
        if after - before < _CALM * _PAUSE:
            return
        if time.monotonic() > end:
            raise Broken(f"{pids} do not come to rest")
        before = after
