"""The reactor as the Clock that the core is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from twisted.internet.error import AlreadyCalled, AlreadyCancelled

from callcenter_ws.runtime.timers import CoarseTimer, CoarseTimers


class DelayedCall(Protocol):
    """What the reactor's ``callLater`` returns, as far as it is used here."""

    def cancel(self) -> None:
        """Raise ``AlreadyCalled`` or ``AlreadyCancelled`` when it is too late."""


class ReactorTime(Protocol):
    """Twisted's ``IReactorTime``, which mypy cannot read without a plugin."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> DelayedCall:  # noqa: N802, A002 - Twisted's names
        """Call ``callable(*args)`` after ``delay`` seconds."""


class ReactorTimer:
    """A delayed call of the reactor that may be cancelled at any time, any number of times."""

    __slots__ = ("_call",)

    def __init__(self, call: DelayedCall) -> None:
        self._call = call

    def cancel(self) -> None:
        """Forget the call, unless it was made already."""
        try:
            self._call.cancel()
        except (AlreadyCalled, AlreadyCancelled):
            return


EXACT = 15.0
"""Delays over so many seconds may be half a second off."""


class ReactorClock:
    """Implements ``interfaces.Clock`` on a reactor and the system's clocks."""

    def __init__(self, reactor: ReactorTime) -> None:
        self._reactor = reactor
        self._coarse = CoarseTimers(reactor)
        self.time = time.time
        self.monotonic = time.monotonic

    def call_later(self, delay: float, call: Callable[..., object], *args: object) -> ReactorTimer | CoarseTimer:
        """Call ``call(*args)`` after ``delay`` seconds; 0 means in the reactor's next turn."""
        if delay > EXACT:
            return self._coarse.call_later(delay, call, *args)
        return ReactorTimer(self._reactor.callLater(max(0.0, delay), call, *args))


class Timer(Protocol):
    """A call that a Clock will make."""

    def cancel(self) -> None:
        """Forget the call. Cancelling one that was made, or cancelled, is harmless."""


class Clock(Protocol):
    """Time, as the core is given it."""

    def time(self) -> float:
        """Unix time in seconds."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back, for measuring spans."""

    def call_later(self, delay: float, call: Callable[..., object], *args: object) -> Timer:
        """Call ``call(*args)`` after ``delay`` seconds; 0 means in the reactor's next turn."""
