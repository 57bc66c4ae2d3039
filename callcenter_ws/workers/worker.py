"""The worker's side of supervision: when to accept connections, status reports, and the end of the supervisor."""

from __future__ import annotations

import math
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.workers.handoff import STATUS_DESCRIPTOR, SUPERVISOR_DESCRIPTOR, WorkerHandoff
from callcenter_ws.workers.process import READY

_log = Logger()

READINESS_CHECK_INTERVAL_SECONDS = 0.1
"""Seconds between two checks whether the gateway can serve, until it can."""

ACCEPT_TIMEOUT_SECONDS = 10.0
"""Seconds after which connections are accepted even if the gateway cannot serve: a refusal is better than silence."""


class Worker(Service):
    """Accepts connections once the gateway can serve, reports that, and stops the worker if the supervisor has ended.

    Args:
        reasons: returns why the gateway cannot serve now; empty if it can.
        accept: starts to accept connections.
        supervisor_descriptor, status_descriptor: pipes from and to the supervisor.

    Attributes:
        stop_timeout: seconds after which the process ends itself if the supervisor, which would kill it, has ended;
            may be changed.
    """

    def __init__(
        self,
        reactor: Reactor,
        handoff: WorkerHandoff,
        reasons: Callable[[], Sequence[str]],
        accept: Callable[[], None],
        stop_timeout: float,
        *,
        supervisor_descriptor: int = SUPERVISOR_DESCRIPTOR,
        status_descriptor: int = STATUS_DESCRIPTOR,
    ) -> None:
        self._reactor = reactor
        # A replacement never accepts before it is ready: the worker that it replaces still serves.
        self._accept_timeout = math.inf if handoff.replaces else ACCEPT_TIMEOUT_SECONDS
        self._private_folder = handoff.folder
        self._reasons = reasons
        self._accept = accept
        self.stop_timeout = stop_timeout
        self._accepts = False
        self._started_at = 0.0
        self._last_status = ""
        self._next_check: IDelayedCall | None = None
        self._is_stopping = False
        self._supervisor_watch = PipeEndWatch(supervisor_descriptor, self._supervisor_ended)
        self._status_descriptor = status_descriptor

    def startService(self) -> None:
        """Watch the supervisor, and the gateway until it is ready."""
        super().startService()
        self._started_at = self._reactor.seconds()
        self._reactor.addReader(self._supervisor_watch)
        self._reactor.callWhenRunning(self._check)
        self._reactor.callWhenRunning(self._install_signal_handlers)

    def stopService(self) -> None:
        """Stop watching."""
        super().stopService()
        self._reactor.removeReader(self._supervisor_watch)
        if self._next_check is not None:
            self._next_check.cancel()
            self._next_check = None

    # Readiness

    def _check(self) -> None:
        self._next_check = None
        if self._is_stopping or not self.running:
            return
        reasons = "; ".join(self._reasons())
        waited = self._reactor.seconds() - self._started_at
        if not self._accepts and (not reasons or waited >= self._accept_timeout):
            self._accepts = True
            self._accept()
        self._report(reasons or READY)
        if reasons:
            self._next_check = self._reactor.callLater(READINESS_CHECK_INTERVAL_SECONDS, self._check)

    def _report(self, status: str) -> None:
        if status != self._last_status:
            self._last_status = status
            with suppress(OSError):
                os.write(self._status_descriptor, status.replace("\n", " ").encode() + b"\n")

    # Stopping

    def _install_signal_handlers(self) -> None:
        """Stop on the first SIGTERM or SIGINT and ignore further ones.

        A worker may get several: systemd signals all processes of the unit, and the supervisor each worker.
        """
        for number, stop in {signal.SIGTERM: self._reactor.sigTerm, signal.SIGINT: self._reactor.sigInt}.items():
            signal.signal(number, lambda *args, stop=stop: stop(*args) if self._begins_to_stop() else None)

    def _begins_to_stop(self) -> bool:
        """Record that the worker stops; return whether it was not stopping before."""
        was_stopping, self._is_stopping = self._is_stopping, True
        return not was_stopping

    def _supervisor_ended(self) -> None:
        if not self._begins_to_stop():
            return
        _log.error("the supervisor has ended: this worker drains and ends")
        # The process must end even if it hangs: no supervisor is left that would kill it.
        signal.alarm(math.ceil(self.stop_timeout))
        # The supervisor would have removed the folder. The other workers do not need it any more either.
        shutil.rmtree(self._private_folder, ignore_errors=True)
        self._reactor.stop()


@implementer(IReadDescriptor)
class PipeEndWatch:
    """Watches the read end of a pipe that is never written to, and calls ``closed`` when its write end is closed.

    The operating system closes the write end when the process that holds it ends.
    """

    def __init__(self, descriptor: int, closed: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._closed = closed

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def logPrefix(self) -> str:
        """Return the name for log lines."""
        return "pipe end watch"

    def doRead(self) -> Any:  # noqa: N802 - Twisted's name; it declares a Failure, but reactors expect an exception
        """Read what there is; an error tells the reactor that the pipe is closed."""
        if os.read(self._descriptor, 4096):
            return None
        return EOFError()

    def connectionLost(self, reason: Failure) -> None:
        """Call ``closed``."""
        self._closed()
