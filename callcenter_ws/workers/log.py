"""The workers' log: each event goes over a pipe to the supervisor, which has the one log of the node."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, eventAsText
from zope.interface import implementer

_MARK = b"\x1e"
"""Begins an event (the record separator, RFC 7464); a line without it was printed by something else."""

_LINE_BYTES = 1_048_576
"""Longer lines are cut: a process that prints without end must not fill the supervisor's memory."""

_STDOUT = 1


@implementer(ILogObserver)
class PipeObserver:
    """Writes each event to a pipe, as one line: level, namespace, system and text. The time is the reader's.

    It waits when the pipe is full, as a log to standard output would.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, event: LogEvent) -> None:
        """Write an event."""
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        level = event.get("log_level", LogLevel.info).name
        record = [level, str(event.get("log_namespace", "-")), event.get("log_system"), text]
        line = _MARK + json.dumps(record, default=str).encode() + b"\n"
        # Where nobody reads any more the supervisor is gone, and this process is about to follow.
        with suppress(OSError):
            while line:
                line = line[os.write(self._descriptor, line) :]


def worker_log() -> PipeObserver:
    """What ``twistd --logger`` is given in a worker."""
    return PipeObserver(_STDOUT)


class Lines:
    """Cuts what comes out of a pipe into lines."""

    def __init__(self, took: Callable[[bytes], None]) -> None:
        self._took = took
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take what was read."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._took(line)
        if len(self._rest) > _LINE_BYTES:
            self.end()

    def end(self) -> None:
        """Nothing more will come."""
        if self._rest:
            self._took(self._rest)
            self._rest = b""


def log_line(number: int, line: bytes) -> None:
    """Put a line of a worker's into this process's log: at its own level, with the worker's number."""
    level, namespace, system, text = _read(line)
    more = {} if system is None else {"log_system": system}
    Logger(namespace).emit(level, "worker {number}: {text}", number=number, text=text, **more)


def _read(line: bytes) -> tuple[LogLevel, str, str | None, str]:
    if line.startswith(_MARK):
        with suppress(ValueError):
            name, namespace, system, text = json.loads(line[1:])
            return LogLevel.levelWithName(name), namespace, system, text
    return LogLevel.info, "stdout", None, line.decode(errors="replace")
