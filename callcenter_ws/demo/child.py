"""What the senders of the demo share: they are child processes of the gateway, and end with it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    eventAsText,
    globalLogBeginner,
)
from twisted.python.failure import Failure

from callcenter_ws.runtime.reactor import Reactor


class _UntilClosed(Protocol):
    """Calls ``closed`` at the end of the standard input; its content is ignored."""

    def __init__(self, closed: Callable[[], object]) -> None:
        self._closed = closed

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._closed()


def call_at_end_of_input(reactor: Reactor, closed: Callable[[], object]) -> None:
    """Call ``closed`` when the standard input is closed: the process that started this one has ended."""
    StandardIO(_UntilClosed(closed), reactor=reactor)


def log_to_stderr() -> None:
    """Write log events as plain lines without a time, which the reader adds."""
    lines = FileLogObserver(
        sys.stderr, lambda event: f"{eventAsText(event, includeTimestamp=False, includeSystem=False)}\n"
    )
    levels = LogLevelFilterPredicate(LogLevel.info)
    levels.setLogLevelForNamespace("twisted", LogLevel.warn)
    filtered = FilteringLogObserver(lines, [levels])
    globalLogBeginner.beginLoggingTo([filtered], redirectStandardIO=False)
