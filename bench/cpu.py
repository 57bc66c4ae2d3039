"""Measures the CPU time of processes (user and system time together)."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_libc = ctypes.CDLL(None, use_errno=True)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process in seconds, of all its threads, to the nanosecond (clock_getcpuclockid(3)).

    Raises:
        OSError: if there is no such process.
    """
    clock = ctypes.c_int()
    error = _libc.clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error))
    return time.clock_gettime(clock.value)


@dataclass(frozen=True, slots=True)
class Span:
    """The time and CPU of a measured interval.

    Attributes:
        seconds: elapsed time.
        cpu: seconds of CPU, by the name of the process.
    """

    seconds: float
    cpu: Mapping[str, float]

    def share(self, name: str) -> float:
        """Return the share of one core that a process used; near 1 a single-threaded process is saturated."""
        return self.cpu[name] / self.seconds


class Stopwatch:
    """Measures time and CPU from its creation.

    Args:
        pids: the processes to measure by name; the CPU of several processes with one name is added.
    """

    def __init__(self, **pids: int | Sequence[int]) -> None:
        self._pids = {name: [pid] if isinstance(pid, int) else pid for name, pid in pids.items()}
        self._cpu = self._read()
        self._began = time.monotonic()

    def stop(self) -> Span:
        """Return the time and CPU since the creation."""
        seconds = time.monotonic() - self._began
        after = self._read()
        return Span(seconds, {name: after[name] - before for name, before in self._cpu.items()})

    def _read(self) -> dict[str, float]:
        return {name: sum(map(cpu_seconds, pids)) for name, pids in self._pids.items()}
