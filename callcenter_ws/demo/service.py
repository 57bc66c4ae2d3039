"""Runs the sender of the demo as a child process of the gateway: a separate sender, as a real daemon would be."""

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

from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.clock import ReactorTime, ReactorTimer
from callcenter_ws.runtime.lines import LineSplitter

_log = Logger()

_FIRST_RESTART_DELAY_SECONDS = 10.0
"""So long that people who kill it see what the pages say meanwhile."""

_MAX_RESTART_DELAY_SECONDS = 30.0
_STABLE_SECONDS = 60.0
_KILL_AFTER_SECONDS = 5.0
_MAX_LINE_BYTES = 8192
_STDIN, _STDOUT, _STDERR = 0, 1, 2


class ChildProcess(Protocol):
    """The part of Twisted's ``IProcessTransport`` that is used here."""

    def signalProcess(self, signalID: str) -> None:  # noqa: N802, N803 - Twisted's names
        """Send a signal; raise ``ProcessExitedAlready`` if the process has ended."""


class SimulatorReactor(ReactorTime, Protocol):
    """The part of a reactor that is used here."""

    def seconds(self) -> float:
        """Return the reactor's time in seconds."""

    def spawnProcess(  # noqa: N802 - Twisted's name
        self,
        processProtocol: ProcessProtocol,  # noqa: N803 - Twisted's name
        executable: str,
        args: list[str],
        env: None = None,
        *,
        childFDs: dict[int, str],  # noqa: N803 - Twisted's name
    ) -> ChildProcess:
        """Start a process; with ``env`` None it inherits the environment."""


class _Simulator(ProcessProtocol):
    """One run of the simulator. Its output is logged line by line."""

    def __init__(self, ended: Callable[[Failure], None]) -> None:
        self._ended = ended
        self._lines = {fd: LineSplitter(self._log_line, _MAX_LINE_BYTES) for fd in (_STDOUT, _STDERR)}

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N802, N803 - Twisted's names
        self._lines[childFD].feed(data)

    def processEnded(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        for lines in self._lines.values():
            lines.end()
        self._ended(reason)

    def _log_line(self, line: bytes) -> None:
        _log.info("simulator: {line}", line=line.decode(errors="replace"))


class SimulatorProcess(Service):
    """Keeps one simulator running: restarts it with increasing delays when it ends, and stops it with the service.

    The simulator ends when its standard input is closed, so it ends even if this process is killed.

    Args:
        endpoint: the Twisted client endpoint description of the gateway's AMP listener.
        arguments: further arguments for the module.
        module: the sender.
    """

    name = "simulator"

    def __init__(
        self,
        reactor: SimulatorReactor,
        endpoint: str,
        tenant: str,
        *arguments: str,
        module: str = "callcenter_ws.demo.simulator",
    ) -> None:
        self._reactor = reactor
        self._command = [sys.executable, "-m", module, endpoint, "--tenant", tenant, *arguments]
        self._transport: ChildProcess | None = None
        self._restart: ReactorTimer | None = None
        self._stopped: Deferred[None] | None = None
        self._started_at = 0.0
        self._backoff = Backoff(
            _FIRST_RESTART_DELAY_SECONDS,
            _MAX_RESTART_DELAY_SECONDS,
            uniform=max,  # without jitter
        )

    def startService(self) -> None:
        """Start the simulator."""
        super().startService()
        self._spawn()

    def stopService(self) -> Deferred[None] | None:
        """Stop the simulator. The Deferred fires when it has ended; after 5 seconds it is killed."""
        super().stopService()
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None
        if self._transport is None:
            return None
        self._stopped = Deferred()
        self._signal("TERM")
        killing = ReactorTimer(self._reactor.callLater(_KILL_AFTER_SECONDS, self._signal, "KILL"))
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
            self._schedule_restart()

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
            self._schedule_restart()

    def _schedule_restart(self) -> None:
        if self._reactor.seconds() - self._started_at > _STABLE_SECONDS:
            self._backoff.reset()
        delay = self._backoff.delay()
        _log.info("the simulator starts again in {delay:g} s", delay=delay)
        self._restart = ReactorTimer(self._reactor.callLater(delay, self._spawn))
