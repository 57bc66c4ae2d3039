"""What processes cost, in seconds of CPU (user and system together)."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_libc = ctypes.CDLL(None, use_errno=True)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far, all its threads together, to the nanosecond (clock_getcpuclockid(3)).

    Raises:
        OSError: there is no such process.
    """
    clock = ctypes.c_int()
    error = _libc.clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error))
    return time.clock_gettime(clock.value)


@dataclass(frozen=True, slots=True)
class Span:
    """What passed between two moments.

    Attributes:
        seconds: by the clock on the wall.
        cpu: seconds of CPU of each process, by the name that it was given.
    """

    seconds: float
    cpu: Mapping[str, float]

    def share(self, name: str) -> float:
        """How much of one core a process took; near 1 it was at its limit."""
        return self.cpu[name] / self.seconds


class Stopwatch:
    """Runs from the moment when it is made.

    Args:
        pids: the processes to watch, by a name; several may have one name together.
    """

    def __init__(self, **pids: int | Sequence[int]) -> None:
        self._pids = {name: [pid] if isinstance(pid, int) else pid for name, pid in pids.items()}
        self._cpu = self._read()
        self._began = time.monotonic()

    def stop(self) -> Span:
        """Return what passed until now."""
        seconds = time.monotonic() - self._began
        after = self._read()
        return Span(seconds, {name: after[name] - before for name, before in self._cpu.items()})

    def _read(self) -> dict[str, float]:
        return {name: sum(map(cpu_seconds, pids)) for name, pids in self._pids.items()}
