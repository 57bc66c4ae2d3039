"""RefusalLog: log lines that peers can cause, at most some per minute; the others are counted and reported."""

from __future__ import annotations

import os
from collections.abc import Mapping

from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from callcenter_ws.runtime.clock import Clock

WINDOW_SECONDS = 60.0

MAX_FAILURES = 10
"""Unhandled errors that are logged with a traceback in a minute, each of another kind."""

MAX_NAMED = 100
"""Networks or users whose lines of one kind are counted one by one when they are left out; others count together."""

_SHOWN = 3
"""Networks or users that the line about what was left out names: those with most lines."""

_OTHERS = "others"

_log = Logger("callcenter_ws")


class RefusalLog:
    """Logs lines that peers can cause, a limited number in each minute.

    What is left out is reported at the end of the minute, in one line for each kind: for each text.

    Args:
        lines: lines per minute in all. They also bound the table of networks.
        lines_per_network: lines per minute of one network, or whatever the lines are about.

    Attributes:
        left_out: the lines that were left out, since the start.
    """

    def __init__(self, clock: Clock, *, lines: int = 120, lines_per_network: int = 20) -> None:
        self._clock = clock
        self._lines = lines
        self._lines_per_network = lines_per_network
        self._written = 0
        self._by_network: dict[str, int] = {}
        # What was left out in this minute, by the text of the line and by what it is about. The texts are constants.
        self._left_out_now: dict[str, dict[str, int]] = {}
        self._failures: dict[tuple[object, ...], int] = {}
        self._is_open = False
        self.left_out = 0

    def set_limits(self, *, lines: int, lines_per_network: int) -> None:
        """Change the limits; they apply to this minute too."""
        self._lines, self._lines_per_network = lines, lines_per_network

    def write(self, network: str, text: str, *, is_warning: bool = False, **fields: object) -> None:
        """Log a line about a network or another peer, or count it as left out.

        Args:
            text: a format of ``twisted.logger`` with the names of ``fields``; a constant.
        """
        self._open_window()
        of_network = self._by_network.get(network, 0)
        if self._written >= self._lines or of_network >= self._lines_per_network:
            self.left_out += 1
            counts = self._left_out_now.setdefault(text, {})
            _count(counts, network)
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
        if kind not in self._failures and len(self._failures) < MAX_FAILURES:
            self._failures[kind] = 0
            _log.failure(text, failure, LogLevel.critical, **fields)
            return
        self.left_out += 1
        kind = kind if kind in self._failures else (None,)
        self._failures[kind] = self._failures.get(kind, 0) + 1

    def report(self) -> None:
        """Report now what was left out, and begin another minute; nothing is logged if all lines were written."""
        failures, self._failures = self._failures, {}
        left_out, self._left_out_now = self._left_out_now, {}
        self._written = 0
        self._by_network.clear()
        again = {_name_of(kind): count for kind, count in failures.items() if count}
        if again:
            _log.error(
                "{count} more unhandled errors in the last minute were not logged: {kinds}",
                count=sum(again.values()),
                kinds=_most(again),
            )
        for text, counts in left_out.items():
            _log.warn(
                '{count} more lines in the last minute were not logged: "{kind}", most of them about {who}',
                count=sum(counts.values()),
                kind=text,
                who=_most(counts),
            )

    def _open_window(self) -> None:
        if not self._is_open:
            self._is_open = True
            self._clock.call_later(WINDOW_SECONDS, self._end_window)

    def _end_window(self) -> None:
        self._is_open = False
        self.report()


def _count(counts: dict[str, int], name: str) -> None:
    """Count for ``name``, or for the others if the table is full."""
    if name not in counts and len(counts) >= MAX_NAMED:
        name = _OTHERS
    counts[name] = counts.get(name, 0) + 1


def _most(counts: Mapping[str, int]) -> str:
    """Return the names with the largest counts, and the sum of the others."""
    named = sorted((name for name in counts if name != _OTHERS), key=lambda name: -counts[name])
    shown = [f"{name} ({counts[name]})" for name in named[:_SHOWN]]
    others = counts.get(_OTHERS, 0) + sum(counts[name] for name in named[_SHOWN:])
    return ", ".join([*shown, f"{_OTHERS} ({others})"] if others else shown)


def _name_of(kind: tuple[object, ...]) -> str:
    """Return the name of a kind of unhandled error: its type, and where it was raised."""
    type_, *frame = kind
    if type_ is None:
        return _OTHERS
    name = getattr(type_, "__name__", str(type_))
    return f"{name} in {os.path.basename(str(frame[1]))} line {frame[2]}" if frame else name
