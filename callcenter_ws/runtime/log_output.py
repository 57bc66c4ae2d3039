"""The log's level and form: text lines as Twisted writes them, or one JSON object for each line."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol, TextIO

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
)
from twisted.python.logfile import LogFile

from callcenter_ws.runtime.json import rfc3339
from callcenter_ws.runtime.log_text import OF_WORKER, fields_of, level_of, message_of, printable, traceback_of
from callcenter_ws.runtime.reactor import Reactor


class LogForm(Protocol):
    """The settings of a log: the lowest level that is written, and ``text`` or ``json``."""

    @property
    def level(self) -> str: ...  # noqa: D102

    @property
    def format(self) -> str: ...  # noqa: D102


class LogLevelFilter:
    """The lowest level that is written, which may change."""

    def __init__(self, level: str) -> None:
        self.predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName(level))

    def set(self, level: str) -> None:
        """Write events of this level and above from now on."""
        self.predicate.setLogLevelForNamespace("", LogLevel.levelWithName(level))


def log_observer(
    settings: LogForm, twistd: Mapping[str, object], reactor: Reactor, lowest: LogLevelFilter | None = None
) -> ILogObserver | None:
    """Return the observer for ``twistd``; None if its options name one that decides by itself.

    Args:
        twistd: the options of ``twistd``: with ``--logger`` and ``--syslog`` it makes the observer.
        lowest: the lowest level that is written; None: that of the settings, for good.
    """
    if twistd.get("logger") or twistd.get("syslog"):
        return None
    file = _log_file(str(twistd.get("logfile") or ""), nodaemon=bool(twistd.get("nodaemon")), reactor=reactor)
    written = FileLogObserver(file, json_line if settings.format == "json" else TextLine())
    return FilteringLogObserver(written, [(lowest or LogLevelFilter(settings.level)).predicate])


def _log_file(name: str, *, nodaemon: bool, reactor: Reactor) -> TextIO:
    """Return the file that ``twistd`` would log to with these options."""
    if name == "-" or (nodaemon and not name):
        return sys.stdout
    # A file that an operator has named is rotated by another program, or by SIGUSR1.
    file = LogFile.fromFullPath(name) if name else LogFile.fromFullPath("twistd.log")
    if name:
        file.rotateLength = None
    if signal.getsignal(signal.SIGUSR1) in (signal.SIG_DFL, None):
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(begin_file, file))
    opened: TextIO = file
    return opened


def begin_file(file: LogFile) -> None:
    """Begin a new log file. The previous one is renamed, unless another program has done that, such as logrotate."""
    try:
        is_moved = not os.path.samestat(os.stat(file.path), os.fstat(file._file.fileno()))
    except FileNotFoundError:
        is_moved = True
    if not is_moved:
        file.rotate()
    elif os.access(file.path if os.path.exists(file.path) else file.directory, os.W_OK):
        file.reopen()


class TextLine:
    """Formats events as ``twistd`` does: time, namespace and level, text; further lines of a traceback are indented.

    The time is formatted once a second: it costs more than the rest of a line.
    """

    def __init__(self, offset_of: Callable[[float], str] = lambda at: time.strftime("%z", time.localtime(at))) -> None:
        self._offset_of = offset_of
        self._second = -1
        self._time = ""

    def __call__(self, event: LogEvent) -> str:
        """Return the line of an event with its line break."""
        at = event.get("log_time", 0.0)
        if int(at) != self._second:
            self._second = int(at)
            self._time = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(at)) + self._offset_of(at)
        text, trace = message_of(event), traceback_of(event)
        if OF_WORKER in event:
            text = f"worker {event['worker']}: {text}"
        if trace is not None:
            text = f"{text}\n{trace}"
        indented = text.replace("\n", "\n\t")
        return f"{self._time} [{_system(event)}] {indented}\n"


def _system(event: LogEvent) -> str:
    system = event.get("log_system")
    if system is not None:
        return printable(str(system))
    level = event.get("log_level")
    return f"{event.get('log_namespace', '-')}#{'-' if level is None else level.name}"


def json_line(event: LogEvent) -> str:
    """Return an event as a JSON object on one line (docs/log.rst).

    It has ``time``, ``level``, ``namespace`` and ``message``, the fields of the event, and ``traceback`` if it reports
    a bug.
    """
    line: dict[str, object] = {
        "time": rfc3339(event.get("log_time", 0.0)),
        "level": level_of(event),
        "namespace": str(event.get("log_namespace", "-")),
        "message": message_of(event),
        **fields_of(event),
    }
    trace = traceback_of(event)
    if trace is not None:
        line["traceback"] = trace
    text = json.dumps(line, ensure_ascii=False)
    # Some programs take other characters than a newline for the end of a line, too.
    return (text if text.isprintable() else json.dumps(line)) + "\n"
