"""WorkerProcess: one worker as its supervisor sees it, from its start to its end."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.workers.handoff import STATUS
from callcenter_ws.workers.log import Lines, log_line
from callcenter_ws.workers.one_shot import OneShotEvent

_log = Logger()

READY = "ready"
"""What a worker reports when it serves; before, it reports what it waits for."""

STDOUT, STDERR = 1, 2


class WorkerProcess(ProcessProtocol):
    """A worker.

    Args:
        started_at: the reactor's time.
        ended: called when the process has gone and all that it wrote has been read.

    Attributes:
        ready: it has reported that it serves.
        waits_for: what it reported to wait for last.
        exit_status: None while it runs, and where a signal ended it.
        ending: how it ended, for a person; empty while it runs.
    """

    transport: Any  # an IProcessTransport

    def __init__(self, reactor: Any, number: int, ended: Callable[[WorkerProcess], None]) -> None:
        self._reactor = reactor
        self.number = number
        self._ended = ended
        self.started_at: float = reactor.seconds()
        self.pid = 0
        self.ready = False
        self.waits_for = "it has not reported anything yet"
        self.exit_status: int | None = None
        self.ending = ""
        self._asked_to_end = False
        self._settled = OneShotEvent()
        self._gone = OneShotEvent()
        took = partial(log_line, number)
        self._lines = {STDOUT: Lines(took), STDERR: Lines(took), STATUS: Lines(self._reported)}

    def __str__(self) -> str:
        return f"worker {self.number} (pid {self.pid})"

    # What Twisted calls

    def connectionMade(self) -> None:
        """The process is started."""
        self.pid = self.transport.pid

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803 - Twisted's names
        """Take what it wrote."""
        self._lines[childFD].feed(data)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """It has gone, and its pipes are read to their ends."""
        for lines in self._lines.values():
            lines.end()
        how: Any = reason.value  # ProcessDone or ProcessTerminated
        self.exit_status = how.exitCode
        self.ending = _ending(how)
        self._ended(self)
        self._settled.come()
        self._gone.come()

    # What the supervisor asks of it

    async def settle(self, seconds: float) -> None:
        """Wait until it is ready or has ended, but no longer than so many seconds."""
        await self._settled.within(seconds, self._reactor)

    async def end(self, patience: float) -> None:
        """Have it drain and end; kill it when that takes longer than ``patience`` seconds."""
        if not self._asked_to_end:
            self._asked_to_end = True
            self._signal("TERM")
        if not await self._gone.within(patience, self._reactor):
            _log.error("{worker} has not ended within {seconds:g} s: killed", worker=str(self), seconds=patience)
            self._signal("KILL")
            await self._gone.wait()

    def _signal(self, name: str) -> None:
        try:
            self.transport.signalProcess(name)
        except ProcessExitedAlready:
            return

    def _reported(self, line: bytes) -> None:
        report = line.decode(errors="replace")
        if report == READY:
            self.ready = True
            _log.info("{worker} serves", worker=str(self))
            self._settled.come()
        else:
            self.waits_for = report
            _log.warn("{worker} does not serve yet: {reason}", worker=str(self), reason=report)


def _ending(how: Any) -> str:
    if how.signal is None:
        return f"ended with status {how.exitCode}"
    try:
        return f"was ended by {signal.Signals(how.signal).name}"
    except ValueError:
        return f"was ended by signal {how.signal}"
