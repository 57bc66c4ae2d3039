"""The worker's side of supervision: when to accept connections, its reports and answers, and the supervisor's end."""

from __future__ import annotations

import faulthandler
import math
import shutil
import signal
from collections.abc import Callable, Sequence

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from callcenter_ws.config.changes import ReloadReport
from callcenter_ws.control.messages import bounded
from callcenter_ws.runtime.lines import LineSplitter
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.setting_problems import ConfigError
from callcenter_ws.workers.channel import (
    MAX_LINE_BYTES,
    Act,
    WorkerAnswer,
    WorkerRequest,
    decode_request,
    encode_answer,
)
from callcenter_ws.workers.handoff import STATUS_DESCRIPTOR, SUPERVISOR_DESCRIPTOR, WorkerHandoff
from callcenter_ws.workers.pipes import PipeReader, PipeWriter
from callcenter_ws.workers.process import READY, STDERR
from callcenter_ws.workers.worker_reload import WorkerReload

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
        reload: loads the settings again when the supervisor asks for it; to be set before the start.
        node_stops: called when the whole node stops, so that no other worker takes over the clients.
        stop_now: called to end a drain at once, or one that is about to begin.
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
        self.reload: WorkerReload | None = None
        self.node_stops: Callable[[], None] = lambda: None
        self.stop_now: Callable[[], None] = lambda: None
        requests = LineSplitter(self._asked, MAX_LINE_BYTES)
        self._supervisor_pipe = PipeReader(supervisor_descriptor, requests.feed, self._supervisor_ended)
        self._status_pipe = PipeWriter(reactor, status_descriptor)

    def startService(self) -> None:
        """Watch the supervisor, and the gateway until it is ready."""
        super().startService()
        self._started_at = self._reactor.seconds()
        self._reactor.addReader(self._supervisor_pipe)
        self._reactor.callWhenRunning(self._check)
        self._reactor.callWhenRunning(self._install_signal_handlers)

    def stopService(self) -> None:
        """Stop watching."""
        super().stopService()
        self._reactor.removeReader(self._supervisor_pipe)
        self._status_pipe.stop()
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
            self._status_pipe.write(status.replace("\n", " ").encode() + b"\n")

    # Requests of the supervisor

    def _asked(self, line: bytes) -> None:
        try:
            request = decode_request(line)
        except ValueError:
            _log.error("the supervisor has sent a request that this version of callcenter-ws does not know")
            return
        self._status_pipe.write(encode_answer(self._answer(request)))

    def _answer(self, request: WorkerRequest) -> WorkerAnswer:
        if request.act is Act.PREPARE:
            report, problems = self._prepare(request.settings)
            return WorkerAnswer(request.id, report, problems)
        if request.act is Act.PING:
            return WorkerAnswer(request.id, not_ready_reason="; ".join(self._reasons()))
        if self.reload is not None and request.act is Act.COMMIT:
            self.reload.commit()
        elif self.reload is not None and request.act is Act.ABORT:
            self.reload.abort()
        elif request.act is Act.NODE_STOPS:
            self.node_stops()
        elif request.act is Act.STOP_NOW:
            self._stop_at_once()
        return WorkerAnswer(request.id)

    def _prepare(self, settings: str) -> tuple[ReloadReport | None, tuple[str, ...]]:
        if self.reload is None:
            return None, ("this worker cannot load settings again",)
        try:
            return self.reload.prepare(settings), ()
        except ConfigError as error:
            return None, bounded(error.problems)
        except Exception:
            _log.failure("unhandled error while settings are read")
            return None, ("the worker met an error, which its log has",)

    # Stopping

    def _install_signal_handlers(self) -> None:
        """Stop on the first SIGTERM or SIGINT and ignore further ones; on SIGUSR2, write where each thread is.

        A worker may get several: systemd signals all processes of the unit, and the supervisor each worker.
        """
        # Even if the process hangs: the handler is not written in Python.
        faulthandler.register(signal.SIGUSR2, STDERR, all_threads=True)
        for number, stop in {signal.SIGTERM: self._reactor.sigTerm, signal.SIGINT: self._reactor.sigInt}.items():
            signal.signal(number, lambda *args, stop=stop: stop(*args) if self._begins_to_stop() else None)

    def _begins_to_stop(self) -> bool:
        """Record that the worker stops; return whether it was not stopping before."""
        was_stopping, self._is_stopping = self._is_stopping, True
        return not was_stopping

    def _stop_at_once(self) -> None:
        if self._begins_to_stop():
            # The second signal has come before SIGTERM, which tells the worker of the first.
            self._reactor.stop()
        self.stop_now()

    def _supervisor_ended(self) -> None:
        if not self._begins_to_stop():
            return
        _log.error("the supervisor has ended: this worker drains and ends")
        # The other workers end, too: none takes over the clients.
        self.node_stops()
        # The process must end even if it hangs: no supervisor is left that would kill it.
        signal.alarm(math.ceil(self.stop_timeout))
        # The supervisor would have removed the folder. The other workers do not need it any more either.
        shutil.rmtree(self._private_folder, ignore_errors=True)
        self._reactor.stop()
