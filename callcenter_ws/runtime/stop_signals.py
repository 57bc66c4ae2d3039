"""The signals that stop a process: the first begins a graceful stop, a second one ends that early."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

from callcenter_ws.runtime.reactor import Reactor


class StopSignals:
    """Handles SIGTERM and SIGINT.

    Twisted's own handlers stop the reactor once more at a second signal, which is logged as an error and changes
    nothing.

    Args:
        is_stopping: returns whether a stop has begun, for whatever reason.
        stop_now: ends the stop early.
    """

    def __init__(self, reactor: Reactor, is_stopping: Callable[[], bool], stop_now: Callable[[], None]) -> None:
        self._reactor = reactor
        self._is_stopping = is_stopping
        self._stop_now = stop_now
        self._received = False

    def install(self) -> None:
        """Replace the handlers of the reactor, which must run."""
        for number, stop in {signal.SIGTERM: self._reactor.sigTerm, signal.SIGINT: self._reactor.sigInt}.items():
            signal.signal(number, lambda *args, stop=stop: self._handle(stop, *args))

    def _handle(self, stop: Callable[[int, FrameType | None], None], number: int, frame: FrameType | None) -> None:
        if self._received or self._is_stopping():
            self._reactor.callFromThread(self._stop_now)
        else:
            self._received = True
            # It records the signal, which ends the process at last.
            stop(number, frame)
