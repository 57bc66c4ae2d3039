"""Runs twistd and records the longest reactor turns: ``python turn_recorder.py FILE TWISTD_ARGUMENT…``.

A turn is the time between two polls of the reactor. At each SIGUSR2 the process writes the longest turns since the
signal before to ``FILE``, as a JSON list of ``[seconds, seconds of CPU]``, longest first, and starts again.
"""

# mypy: allow-untyped-calls
# Twisted has no annotations on its reactors and its scripts.

from __future__ import annotations

import heapq
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

TURNS = 10
"""The number of turns that are kept."""


class TurnRecorder:
    """A poll object of the epoll reactor that measures the time from each return of ``poll`` to the next call."""

    def __init__(self, poller: Any, file: Path) -> None:  # select.epoll, whose methods are passed on
        self._poller = poller
        self._file = file
        self._began = self._cpu = 0.0
        self._longest: list[tuple[float, float]] = []

    def __getattr__(self, name: str) -> Any:  # as above
        return getattr(self._poller, name)

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        """Record the turn that ends here, and poll."""
        if self._began:
            turn = (time.perf_counter() - self._began, time.thread_time() - self._cpu)
            keep = heapq.heappush if len(self._longest) < TURNS else heapq.heappushpop
            keep(self._longest, turn)
        events: list[tuple[int, int]] = self._poller.poll(timeout, maxevents)
        self._began, self._cpu = time.perf_counter(), time.thread_time()
        return events

    def write(self, *_: object) -> None:
        """Write the longest turns to the file, which appears complete, and forget them."""
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(sorted(self._longest, reverse=True)))
        os.replace(draft, self._file)
        self._longest = []


def main() -> None:
    """Install the recorder, then run twistd with the other arguments."""
    from twisted.internet import reactor
    from twisted.scripts.twistd import run

    recorder = TurnRecorder(reactor._poller, Path(sys.argv[1]))  # type: ignore[attr-defined]  # of EPollReactor
    reactor._poller = recorder  # type: ignore[attr-defined]
    signal.signal(signal.SIGUSR2, recorder.write)
    sys.argv[0:2] = ["twistd"]
    run()


if __name__ == "__main__":
    main()
