"""Detects workers that hang: the supervisor asks each of them regularly, and kills one that does not answer."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from callcenter_ws.runtime.background import spawn
from callcenter_ws.workers.channel import Act, WorkerAnswer
from callcenter_ws.workers.process import WorkerProcess

_log = Logger()

INTERVAL_SECONDS = 1.0
"""Seconds between two looks at the workers."""

HUNG_AFTER_SECONDS = 15.0
"""A worker that has reported, and then does not answer for this time, is killed."""

START_TIMEOUT_SECONDS = 120.0
"""A worker that has not reported anything for this time since its start is killed."""

TRACEBACK_SECONDS = 1.0
"""Seconds between the signal with which a worker logs where it hangs, and SIGKILL."""

TRACEBACK_SIGNAL = signal.SIGUSR2
"""The signal with which a worker writes the tracebacks of its threads to its output (``workers.worker``)."""


_PING_TIMEOUT_SECONDS = 3_600.0
"""Longer than a worker may be silent: an answer that comes late is an answer."""


@dataclass(slots=True)
class _Watch:
    """What is known of a process.

    Attributes:
        silent_seconds: since its start, since it reported first, or since its last answer.
        is_asked: whether an answer is due.
        kill: the kill of a process that hangs.
    """

    silent_seconds: float = 0.0
    was_connected: bool = False
    is_asked: bool = False
    kill: IDelayedCall | None = None


class Heartbeat:
    """Asks the workers and kills those that hang; their slots start new ones.

    Time during which this process itself stood still does not count, but for two intervals.

    Args:
        processes: returns all processes that run.
    """

    def __init__(self, reactor: IReactorTime, processes: Callable[[], Iterable[WorkerProcess]]) -> None:
        self._reactor = reactor
        self._processes = processes
        self._watches: dict[WorkerProcess, _Watch] = {}
        self._last_look = 0.0
        self._next_look: IDelayedCall | None = None

    def start(self) -> None:
        """Start to ask."""
        self._last_look = self._reactor.seconds()
        self._next_look = self._reactor.callLater(INTERVAL_SECONDS, self._look)

    def stop(self) -> None:
        """Ask no more, and kill no process any more."""
        for call in (self._next_look, *(watch.kill for watch in self._watches.values())):
            if call is not None and call.active():
                call.cancel()
        self._next_look = None
        self._watches.clear()

    def _look(self) -> None:
        now = self._reactor.seconds()
        # The clock of the reactor is that of the system, which may be set.
        elapsed = min(max(0.0, now - self._last_look), 2 * INTERVAL_SECONDS)
        self._last_look = now
        self._next_look = self._reactor.callLater(INTERVAL_SECONDS, self._look)
        # A worker that stops has a time limit of its own.
        watched = [process for process in self._processes() if not process.is_stopping]
        self._watches = {process: self._watches.get(process, _Watch()) for process in watched}
        for process, watch in self._watches.items():
            self._check(process, watch, elapsed)

    def _check(self, process: WorkerProcess, watch: _Watch, elapsed: float) -> None:
        if process.is_connected and not watch.was_connected:
            watch.was_connected, watch.silent_seconds = True, 0.0
        else:
            watch.silent_seconds += elapsed
        limit = HUNG_AFTER_SECONDS if watch.was_connected else START_TIMEOUT_SECONDS
        if watch.silent_seconds >= limit:
            if watch.kill is None:
                watch.kill = self._end(process, limit)
        elif process.is_connected and not watch.is_asked:
            watch.is_asked = True
            spawn(self._ask(process, watch))

    async def _ask(self, process: WorkerProcess, watch: _Watch) -> None:
        answer = await process.ask(Act.PING, _PING_TIMEOUT_SECONDS)
        if isinstance(answer, WorkerAnswer) and process.ready:
            process.not_ready_reason = answer.not_ready_reason
        watch.is_asked = False
        watch.silent_seconds = 0.0

    def _end(self, process: WorkerProcess, limit: float) -> IDelayedCall:
        what = "has not answered" if process.is_connected else "has not reported anything since its start"
        _log.error(
            "{process} hangs: it {what} for {seconds:g} s. It is killed; where it hangs follows, if it can say so",
            process=str(process),
            what=what,
            seconds=limit,
        )
        process.signal(TRACEBACK_SIGNAL)
        return self._reactor.callLater(TRACEBACK_SECONDS, process.signal, "KILL")
