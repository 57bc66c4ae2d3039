"""One worker process, as the supervisor sees it: its reports, its output and its end."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.workers.handoff import STATUS_DESCRIPTOR
from callcenter_ws.workers.log import log_line, output_lines
from callcenter_ws.workers.one_shot import OneShotEvent

_log = Logger()

ExitOutcome = Any  # ProcessDone or ProcessTerminated, whose attributes have no declared types

READY = "ready"
"""The status line of a worker that serves. Before that, its status lines say why it does not."""

STDOUT, STDERR = 1, 2


class WorkerProcess(ProcessProtocol):
    """A worker process.

    Args:
        ended: called when the process has ended and all its output has been read.

    Attributes:
        started_at: the reactor's time at the start.
        ready: whether it has reported that it serves.
        not_ready_reason: the last reason that it reported for not serving.
        exit_status: None while it runs, and if a signal ended it.
        exit_text: how it ended, for log lines; empty while it runs.
    """

    transport: IProcessTransport

    def __init__(self, reactor: IReactorTime, number: int, ended: Callable[[WorkerProcess], None]) -> None:
        self._reactor = reactor
        self.number = number
        self._on_ended = ended
        self.started_at: float = reactor.seconds()
        self.pid = 0
        self.ready = False
        self.not_ready_reason = "it has not reported anything yet"
        self.exit_status: int | None = None
        self.exit_text = ""
        self._stop_requested = False
        self._ready_or_ended = OneShotEvent()
        self._ended = OneShotEvent()
        log = partial(log_line, number)
        self._lines = {
            STDOUT: output_lines(log),
            STDERR: output_lines(log),
            STATUS_DESCRIPTOR: output_lines(self._status_received),
        }

    def __str__(self) -> str:
        return f"worker {self.number} (pid {self.pid})"

    # Called by Twisted

    def connectionMade(self) -> None:
        """Record the pid; the process has started."""
        self.pid = self.transport.pid

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803 - Twisted's names
        """Process output of the worker."""
        self._lines[childFD].feed(data)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """Record how the process ended; its pipes have been read to the end."""
        for lines in self._lines.values():
            lines.end()
        outcome: ExitOutcome = reason.value
        self.exit_status = outcome.exitCode
        self.exit_text = _exit_text(outcome)
        self._on_ended(self)
        self._ready_or_ended.set()
        self._ended.set()

    # Called by the supervisor

    async def wait_until_ready(self, timeout_seconds: float) -> None:
        """Wait until it is ready or has ended, at most ``timeout_seconds``."""
        await self._ready_or_ended.wait_at_most(timeout_seconds, self._reactor)

    async def stop(self, timeout_seconds: float) -> None:
        """Make it drain and end with SIGTERM; kill it if it has not ended after ``timeout_seconds``."""
        if not self._stop_requested:
            self._stop_requested = True
            self._signal("TERM")
        if not await self._ended.wait_at_most(timeout_seconds, self._reactor):
            _log.error("{worker} has not ended within {seconds:g} s: killed", worker=str(self), seconds=timeout_seconds)
            self._signal("KILL")
            await self._ended.wait()

    def _signal(self, name: str) -> None:
        try:
            self.transport.signalProcess(name)
        except ProcessExitedAlready:
            return

    def _status_received(self, line: bytes) -> None:
        status = line.decode(errors="replace")
        if status == READY:
            self.ready = True
            _log.info("{worker} serves", worker=str(self))
            self._ready_or_ended.set()
        else:
            self.not_ready_reason = status
            _log.warn("{worker} does not serve yet: {reason}", worker=str(self), reason=status)


def _exit_text(outcome: ExitOutcome) -> str:
    if outcome.signal is None:
        return f"ended with status {outcome.exitCode}"
    try:
        return f"was ended by {signal.Signals(outcome.signal).name}"
    except ValueError:
        return f"was ended by signal {outcome.signal}"
