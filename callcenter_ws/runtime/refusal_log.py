"""RefusalLog: log lines that any peer can cause, at most some per minute; the others are counted and reported."""

from __future__ import annotations

from twisted.logger import Logger, LogLevel

from callcenter_ws.runtime.clock import Clock

WINDOW_SECONDS = 60.0

_log = Logger("callcenter_ws")


class RefusalLog:
    """Logs refusals, a limited number in each minute.

    What is left out is reported in one line at the end of the minute.

    Args:
        lines: lines per minute in all. They also bound the table of networks.
        lines_per_network: lines per minute of one network.

    Attributes:
        left_out: the lines that were left out, since the start.
    """

    def __init__(self, clock: Clock, *, lines: int = 120, lines_per_network: int = 20) -> None:
        self._clock = clock
        self._lines = lines
        self._lines_per_network = lines_per_network
        self._written = 0
        self._by_network: dict[str, int] = {}
        self._left_out_now = 0
        self._is_open = False
        self.left_out = 0

    def write(self, network: str, text: str, *, is_warning: bool = False, **fields: object) -> None:
        """Log a line about a peer of a network, or count it as left out.

        Args:
            text: a format of ``twisted.logger`` with the names of ``fields``.
        """
        if not self._is_open:
            self._is_open = True
            self._clock.call_later(WINDOW_SECONDS, self._end_window)
        of_network = self._by_network.get(network, 0)
        if self._written >= self._lines or of_network >= self._lines_per_network:
            self._left_out_now += 1
            self.left_out += 1
            return
        self._written += 1
        self._by_network[network] = of_network + 1
        _log.emit(LogLevel.warn if is_warning else LogLevel.info, text, **fields)

    def _end_window(self) -> None:
        self._is_open = False
        self._written = 0
        self._by_network.clear()
        left_out, self._left_out_now = self._left_out_now, 0
        if left_out:
            _log.warn("{count} more refusals in the last minute were not logged", count=left_out)
