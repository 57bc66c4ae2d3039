"""SimulatorProcess: runs the simulator beside the gateway, as the separate sender that a real daemon would be."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.runtime.clock import ReactorTime, ReactorTimer

_log = Logger()

_FIRST_DELAY = 1.0
_MOST_DELAY = 30.0
_STEADY_SECONDS = 60.0
_PATIENCE = 5.0
_LINE_BYTES = 8192
_STDIN, _STDOUT, _STDERR = 0, 1, 2


class ChildProcess(Protocol):
    """Twisted's ``IProcessTransport``, as far as it is used here."""

    def signalProcess(self, signalID: str) -> None:  # noqa: N802, N803 - Twisted's names
        """Send a signal; raise ``ProcessExitedAlready`` when it is too late."""


class Reactor(ReactorTime, Protocol):
    """As much of a reactor as it takes to run a process."""

    def seconds(self) -> float:
        """The reactor's monotonic time."""

    def spawnProcess(  # noqa: N802 - Twisted's name
        self,
        processProtocol: ProcessProtocol,  # noqa: N803 - Twisted's name
        executable: str,
        args: list[str],
        env: None = None,
        *,
        childFDs: dict[int, str],  # noqa: N803 - Twisted's name
    ) -> ChildProcess:
        """Start a process; ``env`` None passes on the environment of this one."""


class _Lines:
    """Cuts what a process writes into lines, and a line without an end into pieces."""

    def __init__(self, took: Callable[[str], None]) -> None:
        self._took = took
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._took(line.decode(errors="replace"))
        if len(self._rest) > _LINE_BYTES:
            self.end()

    def end(self) -> None:
        if self._rest:
            self._took(self._rest.decode(errors="replace"))
            self._rest = b""


class _Simulator(ProcessProtocol):
    """One run of the simulator. What it writes goes to the log, line by line."""

    def __init__(self, ended: Callable[[Failure], None]) -> None:
        self._ended = ended
        self._lines = {fd: _Lines(self._log_line) for fd in (_STDOUT, _STDERR)}

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803 - Twisted's names
        self._lines[childFD].feed(data)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        for lines in self._lines.values():
            lines.end()
        self._ended(reason)

    def _log_line(self, line: str) -> None:
        _log.info("simulator: {line}", line=line)


class SimulatorProcess(Service):
    """Keeps one simulator running: starts it again, later and later, when it dies, and ends it at the stop.

    The simulator reads its standard input to the end, so it goes even when this process is killed.

    Args:
        endpoint: a Twisted client endpoint string of the gateway's AMP listener.
        arguments: more arguments for ``callcenter_ws.demo.simulator``.
    """

    name = "simulator"

    def __init__(self, reactor: Reactor, endpoint: str, tenant: str, *arguments: str) -> None:
        self._reactor = reactor
        self._command = [sys.executable, "-m", "callcenter_ws.demo.simulator", endpoint, "--tenant", tenant, *arguments]
        self._transport: ChildProcess | None = None
        self._restart: ReactorTimer | None = None
        self._stopped: Deferred[None] | None = None
        self._started_at = 0.0
        self._delay = _FIRST_DELAY

    def startService(self) -> None:
        """Start the simulator."""
        super().startService()
        self._spawn()

    def stopService(self) -> Deferred[None] | None:
        """End the simulator; the Deferred fires when it is gone, which takes no longer than 5 seconds."""
        super().stopService()
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None
        if self._transport is None:
            return None
        self._stopped = Deferred()
        self._signal("TERM")
        killing = ReactorTimer(self._reactor.callLater(_PATIENCE, self._signal, "KILL"))
        return self._stopped.addCallback(lambda _: killing.cancel())

    def _spawn(self) -> None:
        self._restart = None
        self._started_at = self._reactor.seconds()
        pipes = {_STDIN: "w", _STDOUT: "r", _STDERR: "r"}
        try:
            self._transport = self._reactor.spawnProcess(
                _Simulator(self._ended), self._command[0], self._command, None, childFDs=pipes
            )
        except OSError as error:
            _log.error("the simulator cannot be started: {error}", error=error)
            self._plan_restart()

    def _signal(self, signal: str) -> None:
        if self._transport is not None:
            try:
                self._transport.signalProcess(signal)
            except ProcessExitedAlready:
                return

    def _ended(self, reason: Failure) -> None:
        self._transport = None
        if self._stopped is not None:
            stopped, self._stopped = self._stopped, None
            stopped.callback(None)
        elif self.running:
            how = "without an error" if reason.check(ProcessDone) else reason.getErrorMessage()
            _log.warn("the simulator ended ({how})", how=how)
            self._plan_restart()

    def _plan_restart(self) -> None:
        if self._reactor.seconds() - self._started_at > _STEADY_SECONDS:
            self._delay = _FIRST_DELAY
        _log.info("the simulator starts again in {delay:g} s", delay=self._delay)
        self._restart = ReactorTimer(self._reactor.callLater(self._delay, self._spawn))
        self._delay = min(_MOST_DELAY, 2 * self._delay)
