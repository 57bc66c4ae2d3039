"""Calls on signals that ask a running process for something, as SIGHUP for a reload."""

from __future__ import annotations

import signal
from collections.abc import Callable

from callcenter_ws.runtime.reactor import Reactor


def call_on_signal(reactor: Reactor, number: signal.Signals, act: Callable[[], None]) -> None:
    """Call ``act`` in the reactor at each signal, which by default ends the process without a log line.

    While the process starts, ``act`` waits until the reactor runs.
    """
    signal.signal(number, lambda received, frame: reactor.callFromThread(act))
