"""Closes a client that reads too slowly: a minimum rate while its socket is blocked.

A client that reads slower than events are published, but faster than that, stays connected and is fed from the history.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from callcenter_ws.delivery.limits import HasLimits
from callcenter_ws.runtime.clock import Clock, Timer


class UnsentBytes(Protocol):
    """What a peer has not received."""

    def unsent_bytes(self) -> int:
        """Return the bytes that the peer has not received."""


class SlowConsumerWatch:
    """Watches a blocked socket.

    In each ``slow_timeout`` its peer must receive ``slow_timeout`` · ``min_rate`` bytes, or everything that was unsent
    when it began. What was received in one does not count in the next: the buffers of the system may accept megabytes
    at once.

    Args:
        source: has these limits; they are read at the beginning of each ``slow_timeout``.
        timed_out: called when the peer has received less.
    """

    __slots__ = ("_clock", "_min_bytes", "_source", "_timed_out", "_timer", "_transport", "_unsent")

    def __init__(self, clock: Clock, transport: UnsentBytes, source: HasLimits, timed_out: Callable[[], None]) -> None:
        self._min_bytes = 0.0
        self._clock = clock
        self._transport = transport
        self._source = source
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
        limits = self._source.limits
        self._min_bytes = limits.slow_timeout * limits.min_rate
        self._unsent = self._transport.unsent_bytes()
        self._timer = self._clock.call_later(limits.slow_timeout, self._check)

    def _check(self) -> None:
        # At least one byte: with a rate of 0, a client that reads anything at all stays connected.
        if self._unsent - self._transport.unsent_bytes() >= max(1, min(self._unsent, self._min_bytes)):
            self._schedule_check()
        else:
            self._timed_out()
