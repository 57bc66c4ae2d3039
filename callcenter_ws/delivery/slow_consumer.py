"""Closes a client that reads nothing; a client that reads slowly stays connected and is fed from the history."""

from __future__ import annotations

from collections.abc import Callable

from callcenter_ws.interfaces import Transport
from callcenter_ws.runtime.clock import Clock, Timer


class SlowConsumerWatch:
    """Watches a blocked socket, which may stay open as long as it accepts some bytes within each ``timeout``.

    Args:
        timeout: seconds.
        timed_out: called when the socket has accepted nothing for that long.
    """

    __slots__ = ("_clock", "_timed_out", "_timeout", "_timer", "_transport", "_unsent")

    def __init__(self, clock: Clock, transport: Transport, timeout: float, timed_out: Callable[[], None]) -> None:
        self._clock = clock
        self._transport = transport
        self._timeout = timeout
        self._timed_out = timed_out
        self._timer: Timer | None = None
        self._unsent = 0

    def start(self) -> None:
        """Watch the socket, which is blocked from now on."""
        self.stop()
        self._schedule_check()

    def stop(self) -> None:
        """Stop watching: the socket accepts bytes again, or is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule_check(self) -> None:
        self._unsent = self._transport.unsent_bytes()
        self._timer = self._clock.call_later(self._timeout, self._check)

    def _check(self) -> None:
        if self._transport.unsent_bytes() < self._unsent:
            self._schedule_check()
        else:
            self._timed_out()
