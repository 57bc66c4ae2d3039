"""The log of the workers: each event is written to a pipe and read by the supervisor, which has the log of the node."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, eventAsText
from zope.interface import implementer

from callcenter_ws.runtime.lines import LineSplitter

_EVENT_PREFIX = b"\x1e"
"""The first byte of an event (the record separator of RFC 7464). Lines without it are other output of the process."""

_MAX_LINE_BYTES = 1_048_576
_STDOUT = 1


@implementer(ILogObserver)
class PipeObserver:
    """Writes each log event to a pipe, as one line: level, namespace, system and text. The reader adds the time.

    Writing blocks while the pipe is full, as it does for a log on standard output.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, event: LogEvent) -> None:
        """Write an event."""
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        level = event.get("log_level", LogLevel.info).name
        record = [level, str(event.get("log_namespace", "-")), event.get("log_system"), text]
        line = _EVENT_PREFIX + json.dumps(record, default=str).encode() + b"\n"
        # Without a reader the supervisor has ended, and this worker is about to stop.
        with suppress(OSError):
            while line:
                line = line[os.write(self._descriptor, line) :]


def worker_log() -> PipeObserver:
    """Return the log observer of a worker, for ``twistd --logger``."""
    return PipeObserver(_STDOUT)


def output_lines(received: Callable[[bytes], None]) -> LineSplitter:
    """Return a splitter for one output pipe of a worker."""
    return LineSplitter(received, _MAX_LINE_BYTES)


def log_line(number: int, line: bytes) -> None:
    """Log a line of a worker in this process, at its own level and with the worker's number."""
    level, namespace, system, text = _decode(line)
    more = {} if system is None else {"log_system": system}
    Logger(namespace).emit(level, "worker {number}: {text}", number=number, text=text, **more)


def _decode(line: bytes) -> tuple[LogLevel, str, str | None, str]:
    if line.startswith(_EVENT_PREFIX):
        with suppress(ValueError):
            name, namespace, system, text = json.loads(line[1:])
            return LogLevel.levelWithName(name), namespace, system, text
    return LogLevel.info, "stdout", None, line.decode(errors="replace")
