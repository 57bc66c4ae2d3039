"""One worker process, as the supervisor sees it: its reports, its answers, its output and its end."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IProcessTransport, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.runtime.lines import LineSplitter
from callcenter_ws.workers.channel import (
    MAX_LINE_BYTES,
    Act,
    WorkerAnswer,
    WorkerRequest,
    decode_answer,
    encode_request,
)
from callcenter_ws.workers.handoff import STATUS_DESCRIPTOR, SUPERVISOR_DESCRIPTOR
from callcenter_ws.workers.log import log_line, output_lines
from callcenter_ws.workers.one_shot import OneShotEvent

_log = Logger()

ExitOutcome = Any  # ProcessDone or ProcessTerminated, whose attributes have no declared types

READY = "ready"
"""The status line of a worker that serves. Before that, its status lines say why it does not."""

STDOUT, STDERR = 1, 2

NODE_STOPS_TIMEOUT_SECONDS = 2.0
"""Seconds for which a worker may take to confirm that the node stops, before it gets SIGTERM all the same."""


class Missing(Enum):
    """Why there is no answer; the value is the text."""

    ENDED = "has ended"
    LATE = "does not answer"


class WorkerProcess(ProcessProtocol):
    """A worker process.

    Args:
        settings_version: the number of the version of the settings that it is started with.
        connected: called when it has reported for the first time: from then on it answers.
        ended: called when the process has ended and all its output has been read.

    Attributes:
        settings_version: the number of the version of the settings that it uses.
        started_at: the reactor's time at the start.
        ready: whether it has reported that it serves; it stays true when it does not serve any more.
        not_ready_reason: why it does not serve now, as far as it has told; empty if it serves.
        exit_status: None while it runs, and if a signal ended it.
        exit_text: how it ended, for log lines; empty while it runs.
        is_connected: whether it has reported, and still runs.
        is_stopping: whether it was asked to stop.
    """

    transport: IProcessTransport

    def __init__(
        self,
        reactor: IReactorTime,
        number: int,
        settings_version: int,
        connected: Callable[[], None],
        ended: Callable[[WorkerProcess], None],
    ) -> None:
        self._reactor = reactor
        self.number = number
        self.settings_version = settings_version
        self._on_connected = connected
        self._on_ended = ended
        self.started_at: float = reactor.seconds()
        self.pid = 0
        self.ready = False
        self.not_ready_reason = "it has not reported anything yet"
        self.exit_status: int | None = None
        self.exit_text = ""
        self.is_connected = False
        self.is_stopping = False
        self._last_request = 0
        self._unanswered: dict[int, Deferred[WorkerAnswer | Missing]] = {}
        self._ready_or_ended = OneShotEvent()
        self._ended = OneShotEvent()
        log = partial(log_line, number)
        self._lines = {
            STDOUT: output_lines(log),
            STDERR: output_lines(log),
            STATUS_DESCRIPTOR: LineSplitter(self._line_received, MAX_LINE_BYTES),
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
        self.is_connected = False
        self._on_ended(self)
        self._give_up_requests()
        self._ready_or_ended.set()
        self._ended.set()

    # Called by the supervisor

    async def wait_until_ready(self, timeout_seconds: float) -> None:
        """Wait until it is ready or has ended, at most ``timeout_seconds``."""
        await self._ready_or_ended.wait_at_most(timeout_seconds, self._reactor)

    async def stop(self, timeout_seconds: float, *, node_stops: bool = False) -> None:
        """Make it drain and end with SIGTERM; kill it if it has not ended after ``timeout_seconds``.

        Args:
            node_stops: the other workers stop, too, so that they do not take over its clients.
        """
        requested, self.is_stopping = self.is_stopping, True
        if node_stops:
            await self.ask(Act.NODE_STOPS, NODE_STOPS_TIMEOUT_SECONDS)
        if not requested:
            self.signal("TERM")
        if not await self._ended.wait_at_most(timeout_seconds, self._reactor):
            _log.error(
                "{process} has not ended within {seconds:g} s: killed", process=str(self), seconds=timeout_seconds
            )
            self.signal("KILL")
            await self._ended.wait()

    async def ask(self, act: Act, timeout_seconds: float, settings: str = "") -> WorkerAnswer | Missing:
        """Send it a request, and return the answer."""
        if not self.is_connected:
            return Missing.ENDED
        answer: Deferred[WorkerAnswer | Missing] = Deferred()
        self._last_request = number = self._last_request + 1
        self._unanswered[number] = answer
        self._write(encode_request(WorkerRequest(number, act, settings)))
        try:
            return await answer.addTimeout(timeout_seconds, self._reactor)
        except TimeoutError:
            return Missing.LATE
        finally:
            self._unanswered.pop(number, None)

    def _write(self, line: bytes) -> None:
        # The pipe is gone if the worker ends just now.
        with suppress(KeyError):
            self.transport.writeToChild(SUPERVISOR_DESCRIPTOR, line)

    def _give_up_requests(self) -> None:
        for answer in tuple(self._unanswered.values()):
            if not answer.called:
                answer.callback(Missing.ENDED)

    def signal(self, number_or_name: int | str) -> None:
        """Send it a signal, such as ``TERM`` or one by its number, unless it has ended."""
        try:
            self.transport.signalProcess(number_or_name)
        except ProcessExitedAlready:
            return

    def _line_received(self, line: bytes) -> None:
        try:
            answer = decode_answer(line)
        except ValueError:
            _log.error("{process} answered with what cannot be read", process=str(self))
            return
        if answer is None:
            self._status_received(line.decode(errors="replace"))
            return
        waiting = self._unanswered.get(answer.id)
        if waiting is not None and not waiting.called:
            waiting.callback(answer)

    def _status_received(self, status: str) -> None:
        if status == READY:
            self.ready = True
            self.not_ready_reason = ""
            _log.info("{process} serves", process=str(self))
            self._ready_or_ended.set()
        else:
            self.not_ready_reason = status
            _log.info("{process} does not serve yet: {reason}", process=str(self), reason=status)
        if not self.is_connected and not self.exit_text:
            self.is_connected = True
            self._on_connected()


def _exit_text(outcome: ExitOutcome) -> str:
    if outcome.signal is None:
        return f"ended with status {outcome.exitCode}"
    try:
        return f"was ended by {signal.Signals(outcome.signal).name}"
    except ValueError:
        return f"was ended by signal {outcome.signal}"
