"""Clock: the time and timers of the system and the reactor, as the other parts use them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IReactorTime

from callcenter_ws.runtime.timers import CoarseTimer, CoarseTimers


class DelayedCall(Protocol):
    """The part of Twisted's ``IDelayedCall`` that is used here."""

    def cancel(self) -> None:
        """Cancel the call; raises ``AlreadyCalled`` or ``AlreadyCancelled``."""


class ReactorTime(Protocol):
    """The part of Twisted's ``IReactorTime`` that is used here."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> DelayedCall:  # noqa: N802, A002 - Twisted's names
        """Call ``callable(*args)`` after ``delay`` seconds."""


class ReactorTimer:
    """A delayed call of the reactor. Implements Timer."""

    __slots__ = ("_call",)

    def __init__(self, call: DelayedCall) -> None:
        self._call = call

    def cancel(self) -> None:
        """Cancel the call; does nothing if it was made or cancelled."""
        try:
            self._call.cancel()
        except (AlreadyCalled, AlreadyCancelled):
            return


MAX_EXACT_DELAY_SECONDS = 5.0
"""Longer delays are accurate to half a second only. When thousands of them end together, as those of the users of a
proxy that was restarted, their calls are made in slices; those of exact delays are made in one turn."""


class ReactorClock:
    """Implements Clock with the system's clocks and the timers of a reactor.

    Delays are measured by the reactor's clock: by default the system time, as returned by ``time``.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._coarse = CoarseTimers(reactor)
        self.time = time.time
        self.monotonic = time.monotonic

    def call_later(self, delay: float, call: Callable[..., object], *args: object) -> ReactorTimer | CoarseTimer:
        """Call ``call(*args)`` after ``delay`` seconds; 0 means in the next iteration of the reactor."""
        if delay > MAX_EXACT_DELAY_SECONDS:
            return self._coarse.call_later(delay, call, *args)
        return ReactorTimer(self._reactor.callLater(max(0.0, delay), call, *args))


class Timer(Protocol):
    """A pending call of a Clock."""

    def cancel(self) -> None:
        """Cancel the call; does nothing if it was made or cancelled."""


class Clock(Protocol):
    """The source of time and timers; tests replace it."""

    def time(self) -> float:
        """Return the Unix time in seconds. It is not monotonic."""

    def monotonic(self) -> float:
        """Return seconds of a monotonic clock, for measuring durations."""

    def call_later(self, delay: float, call: Callable[..., object], *args: object) -> Timer:
        """Call ``call(*args)`` after ``delay`` seconds; 0 means in the next iteration of the reactor."""


def unix_ms(clock: Clock) -> int:
    """Return the Unix time in milliseconds, as deadlines and commands have it."""
    return int(clock.time() * 1_000)
