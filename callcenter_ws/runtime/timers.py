"""Timers by the thousand, to the nearest second: the reactor is asked once for all that end together.

A delayed call of the reactor is half a KiB and a place in a heap. Each connection has two or three that as a rule are
never made, because the connection ends before: pings, and the end of its token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

AT_ONCE = 500
"""Calls that are made before others have a turn: after a storm of reconnects thousands fall into one second."""

_log = Logger()


class CoarseTimer:
    """A call that will be made; ``cancel`` may come at any time, any number of times."""

    __slots__ = ("_args", "_bucket", "_call")

    def __init__(self, bucket: dict[CoarseTimer, None], call: Callable[..., object], args: tuple[object, ...]) -> None:
        self._bucket = bucket
        self._call = call
        self._args = args
        bucket[self] = None

    def cancel(self) -> None:
        """Forget the call, unless it was made already."""
        self._bucket.pop(self, None)

    def fire(self) -> None:
        """Make the call, unless it was made or cancelled."""
        if self in self._bucket:
            self.cancel()
            try:
                self._call(*self._args)
            except Exception:
                _log.failure("a timer met a bug")


class CoarseTimers:
    """Makes calls half a second early at most, and half a second late.

    Args:
        reactor: an ``IReactorTime``.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._buckets: dict[int, dict[CoarseTimer, None]] = {}

    def call_later(self, delay: float, call: Callable[..., object], *args: object) -> CoarseTimer:
        """Call ``call(*args)`` after about ``delay`` seconds; what it raises is logged."""
        now = self._reactor.seconds()
        second = round(now + delay)
        bucket = self._buckets.get(second)
        if bucket is None:
            bucket = self._buckets[second] = {}
            self._reactor.callLater(max(0.0, second - now), self._due, second)
        return CoarseTimer(bucket, call, args)

    def _due(self, second: int) -> None:
        self._fire(list(self._buckets.pop(second)))

    def _fire(self, timers: list[CoarseTimer]) -> None:
        for timer in timers[:AT_ONCE]:
            timer.fire()
        if len(timers) > AT_ONCE:
            self._reactor.callLater(0, self._fire, timers[AT_ONCE:])
