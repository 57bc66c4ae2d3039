"""CoarseTimers: many timers with a resolution of one second, which share delayed calls of the reactor.

A delayed call of the reactor takes half a KiB and an entry in a heap. Each connection has two or three timers, for
pings and for the expiry of its token, most of which are cancelled when the connection ends.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

MAX_CALLS_PER_TURN = 50
"""Calls in one iteration of the reactor. After many clients reconnect at once, thousands are due in the same second."""

_log = Logger()


class CoarseTimer:
    """A pending call. Implements ``clock.Timer``."""

    __slots__ = ("_args", "_bucket", "_call")

    def __init__(self, bucket: dict[CoarseTimer, None], call: Callable[..., object], args: tuple[object, ...]) -> None:
        self._bucket = bucket
        self._call = call
        self._args = args
        bucket[self] = None

    def cancel(self) -> None:
        """Cancel the call; does nothing if it was made or cancelled."""
        self._bucket.pop(self, None)

    def fire(self) -> None:
        """Make the call; does nothing if it was made or cancelled. An exception is logged."""
        if self in self._bucket:
            self.cancel()
            try:
                self._call(*self._args)
            except Exception:
                _log.failure("unhandled error in a timer")


class CoarseTimers:
    """Makes each call within half a second of its time, by the reactor's clock.

    Args:
        reactor: its clock is by default the system time, which is not monotonic; all delayed calls of Twisted depend on
            it.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._buckets: dict[int, dict[CoarseTimer, None]] = {}

    def call_later(self, delay: float, call: Callable[..., object], *args: object) -> CoarseTimer:
        """Call ``call(*args)`` after about ``delay`` seconds; exceptions are logged."""
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
        for timer in timers[:MAX_CALLS_PER_TURN]:
            timer.fire()
        if len(timers) > MAX_CALLS_PER_TURN:
            self._reactor.callLater(0, self._fire, timers[MAX_CALLS_PER_TURN:])
