"""The log of the workers: each event is written to a pipe and read by the supervisor, which has the log of the node."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel
from zope.interface import implementer

from callcenter_ws.runtime.lines import LineSplitter
from callcenter_ws.runtime.log_text import (
    MAX_FIELDS,
    OF_WORKER,
    RESERVED,
    TRACEBACK_OF_WORKER,
    Scalar,
    fields_of,
    level_of,
    message_of,
    printable,
    traceback_of,
)

_EVENT_PREFIX = b"\x1e"
"""The first byte of an event (the record separator of RFC 7464). Lines without it are other output of the process."""

_MAX_LINE_BYTES = 1_048_576
"""More than the largest event: its text, traceback and fields are bounded, and a character takes at most 12 bytes."""

_STDOUT = 1

_NOT_PASSED_ON = RESERVED | {"worker", "format", "level"}
"""Names that ``Logger.emit`` or the supervisor use."""


class _Record(msgspec.Struct, array_like=True):
    """An event as one line of the pipe."""

    level: str
    namespace: str
    system: str | None
    message: str
    traceback: str | None
    fields: dict[str, Scalar]


@implementer(ILogObserver)
class PipeObserver:
    """Writes each log event to a pipe, as one line: level, namespace, system, text, traceback and fields.

    The reader adds the time. Writing blocks while the pipe is full, as it does for a log on standard output.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __call__(self, event: LogEvent) -> None:
        """Write an event."""
        system = event.get("log_system")
        record = [
            level_of(event),
            str(event.get("log_namespace", "-")),
            None if system is None else str(system),
            message_of(event),
            traceback_of(event),
            fields_of(event),
        ]
        line = _EVENT_PREFIX + json.dumps(record).encode() + b"\n"
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
    """Log a line of a worker in this process, at its own level, with its fields and the worker's number."""
    record = _decode(line)
    names = [name for name in record.fields if name not in _NOT_PASSED_ON and not name.startswith("log_")]
    more: dict[str, Any] = {name: record.fields[name] for name in names[:MAX_FIELDS]}  # values of fields
    if record.system is not None:
        more["log_system"] = record.system
    # The text is in the format, too: for observers that know nothing of workers.
    text = "worker {worker}: {log_of_worker}" + ("" if record.traceback is None else "\n{log_traceback_of_worker}")
    more |= {OF_WORKER: record.message, TRACEBACK_OF_WORKER: record.traceback}
    Logger(record.namespace).emit(LogLevel.levelWithName(record.level), text, worker=number, **more)


def _decode(line: bytes) -> _Record:
    if line.startswith(_EVENT_PREFIX):
        with suppress(ValueError, msgspec.MsgspecError):
            record = msgspec.json.decode(line[1:], type=_Record)
            LogLevel.levelWithName(record.level)
            return record
    return _Record(LogLevel.info.name, "stdout", None, printable(line.decode(errors="replace")), None, {})
