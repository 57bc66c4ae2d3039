"""RefusalLog: log lines that peers can cause, at most some per minute; the others are counted and reported."""

from __future__ import annotations

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from callcenter_ws.runtime.clock import Clock

WINDOW_SECONDS = 60.0

MAX_FAILURES = 10
"""Unhandled errors that are logged with a traceback in a minute, each of another kind."""

_log = Logger("callcenter_ws")


class RefusalLog:
    """Logs refusals, a limited number in each minute.

    What is left out is reported in one line at the end of the minute.

    Args:
        lines: lines per minute in all. They also bound the table of networks.
        lines_per_network: lines per minute of one network, or whatever the lines are about.
        about: what the lines report, for the line about those that were left out.

    Attributes:
        left_out: the lines that were left out, since the start.
    """

    def __init__(self, clock: Clock, *, lines: int = 120, lines_per_network: int = 20, about: str = "refusals") -> None:
        self._clock = clock
        self._about = about
        self._lines = lines
        self._lines_per_network = lines_per_network
        self._written = 0
        self._by_network: dict[str, int] = {}
        self._left_out_now = 0
        self._failures: dict[tuple[object, ...], int] = {}
        self._is_open = False
        self.left_out = 0

    def write(self, network: str, text: str, *, is_warning: bool = False, **fields: object) -> None:
        """Log a line about a network or another peer, or count it as left out.

        Args:
            text: a format of ``twisted.logger`` with the names of ``fields``.
        """
        self._open_window()
        of_network = self._by_network.get(network, 0)
        if self._written >= self._lines or of_network >= self._lines_per_network:
            self._left_out_now += 1
            self.left_out += 1
            return
        self._written += 1
        self._by_network[network] = of_network + 1
        _log.emit(LogLevel.warn if is_warning else LogLevel.info, text, **fields)

    def failure(self, text: str, failure: Failure, **fields: object) -> None:
        """Log an exception that a peer has caused, with its traceback; only the first of its kind in a minute.

        Two are of one kind if they have the same type and were raised at the same place.
        """
        self._open_window()
        frame = failure.frames[-1][:3] if failure.frames else ()
        kind = (failure.type, *frame)
        if kind in self._failures:
            self._failures[kind] += 1
            self.left_out += 1
        elif len(self._failures) < MAX_FAILURES:
            self._failures[kind] = 0
            _log.failure(text, failure, LogLevel.critical, **fields)
        else:
            self._left_out_now += 1
            self.left_out += 1

    def _open_window(self) -> None:
        if not self._is_open:
            self._is_open = True
            self._clock.call_later(WINDOW_SECONDS, self._end_window)

    def _end_window(self) -> None:
        self._is_open = False
        again = sum(self._failures.values())
        self._failures.clear()
        if again:
            _log.error("{count} more unhandled errors of the last minute were not logged", count=again)
        self._written = 0
        self._by_network.clear()
        left_out, self._left_out_now = self._left_out_now, 0
        if left_out:
            _log.warn("{count} more {about} in the last minute were not logged", count=left_out, about=self._about)
