"""A worker slot: keeps one worker process running, restarts it when it ends, and replaces it on request."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from callcenter_ws.control.messages import WorkerStatus
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.workers.process import WorkerProcess

_log = Logger()

READY_TIMEOUT_SECONDS = 60.0
"""Seconds after its start within which a replacement must serve."""

STABLE_SECONDS = 60.0
"""A worker that ends sooner than this after its start is restarted with increasing delays."""

FIRST_RESTART_DELAY_SECONDS, MAX_RESTART_DELAY_SECONDS = 1.0, 30.0
"""The delays before a worker that keeps ending is restarted: none the first time, then 1, 2, 4 seconds and so on.

While no worker serves, it may be restarted sooner, see ``no_worker_monitor.py``.
"""

Ended = Callable[[WorkerProcess], None]


class SpawnWorker(Protocol):
    """Starts a worker process."""

    def __call__(self, number: int, ended: Ended, *, replaces: bool) -> WorkerProcess:
        """Start the worker with this number; call ``ended`` with its process when that has ended.

        Args:
            replaces: another process with this number still serves.

        Raises:
            OSError: the operating system cannot start it.
        """


class WorkerSlot:
    """Keeps one worker running.

    Args:
        unusable: called when the first process of this slot cannot be started, or ends with status 1 before it served:
            further attempts would fail in the same way.
        stop_timeout: seconds after SIGTERM until a process that still runs is killed.

    Attributes:
        current: the process that serves, or will; None while a restart is pending.
        closed: no process is started any more.
        stop_timeout: as given; it may be changed.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        number: int,
        spawn_worker: SpawnWorker,
        unusable: Callable[[], None],
        stop_timeout: float,
    ) -> None:
        self._reactor = reactor
        self.number = number
        self._spawn_worker = spawn_worker
        self._unusable = unusable
        self.stop_timeout = stop_timeout
        self.current: WorkerProcess | None = None
        self._replacement: WorkerProcess | None = None
        self._running: set[WorkerProcess] = set()
        self._restart: IDelayedCall | None = None
        self._backoff = Backoff(FIRST_RESTART_DELAY_SECONDS, MAX_RESTART_DELAY_SECONDS, uniform=max)  # without jitter
        self._restart_at_once = True
        self._is_first = True
        self.closed = False

    @property
    def serves(self) -> bool:
        """Whether the worker has reported that it serves, and accepts connections; its store may be unavailable."""
        return self.current is not None and self.current.ready

    @property
    def running(self) -> int:
        """The number of its processes that have not ended."""
        return len(self._running)

    @property
    def processes(self) -> tuple[WorkerProcess, ...]:
        """The processes that run: the current one, its replacement, and one that drains."""
        return tuple(self._running)

    @property
    def restart_at(self) -> float:
        """The reactor's time of the pending restart; infinite if none is pending."""
        return math.inf if self._restart is None else float(self._restart.getTime())

    def status(self) -> WorkerStatus:
        """Describe the current process."""
        process = self.current
        if process is None:
            return WorkerStatus(self.number, None, serves=False, reason="it has ended, and will be restarted", age=0.0)
        return WorkerStatus(
            self.number,
            process.pid,
            serves=not process.not_ready_reason,
            reason=process.not_ready_reason,
            age=max(0.0, self._reactor.seconds() - process.started_at),
        )

    def start(self) -> None:
        """Start a worker."""
        self._restart = None
        self.current = self._spawn()
        if self.current is not None:
            return
        if self._is_first:
            self._unusable()
        else:
            self._schedule_restart(0.0)

    def restart_now(self) -> None:
        """Start the worker whose restart is pending without further delay; do nothing if none is pending."""
        if self._restart is not None:
            self._cancel_restart()
            _log.info("worker {worker} is restarted early", worker=self.number)
            self.start()

    async def close(self) -> None:
        """Stop all processes of this slot, as those of all others are, and wait until they have ended."""
        self.closed = True
        self._cancel_restart()
        stopping = [
            Deferred.fromCoroutine(process.stop(self.stop_timeout, node_stops=True)) for process in self.processes
        ]
        await gatherResults(stopping)

    async def replace(self) -> bool:
        """Start a worker and, once it serves, stop the previous one. Return whether that succeeded."""
        replacement = self._spawn()
        if replacement is None:
            return False
        if self.current is None:
            self._cancel_restart()
            self.current = replacement
        else:
            self._replacement = replacement
        await replacement.wait_until_ready(READY_TIMEOUT_SECONDS)
        if self.closed:
            return False
        if not replacement.ready:
            await self._discard(replacement)
            return False
        self._reset_backoff()
        if replacement is self._replacement:
            await self._switch_to(replacement)
        return not self.closed

    async def _switch_to(self, replacement: WorkerProcess) -> None:
        old, self.current, self._replacement = self.current, replacement, None
        if old is not None:
            _log.info("{new} serves; {old} drains", new=str(replacement), old=str(old))
            await old.stop(self.stop_timeout)

    async def _discard(self, replacement: WorkerProcess) -> None:
        reason = replacement.exit_text or (
            f"does not serve after {READY_TIMEOUT_SECONDS:g} s: {replacement.not_ready_reason}"
        )
        _log.error("{new}, a replacement, {reason}", new=str(replacement), reason=reason)
        if replacement is self.current:
            return
        self._replacement = None
        if self.current is not None:
            _log.error("{old} continues to serve", old=str(self.current))
        await replacement.stop(self.stop_timeout)

    def _spawn(self) -> WorkerProcess | None:
        try:
            process = self._spawn_worker(self.number, self._process_ended, replaces=self.current is not None)
        except OSError as error:
            _log.error("worker {worker} cannot be started: {error}", worker=self.number, error=error)
            return None
        self._running.add(process)
        return process

    def _process_ended(self, process: WorkerProcess) -> None:
        self._running.discard(process)
        is_first, self._is_first = self._is_first, False
        if process is self._replacement:
            self._replacement = None
        elif self.closed or process is not self.current:
            _log.info("{process} {how}", **_log_fields(process))
        elif is_first and process.exit_status == 1 and not process.ready:
            self.current = None
            _log.critical("{process} {how} before it ever served; see its lines above", **_log_fields(process))
            self._unusable()
        else:
            self._current_ended(process)

    def _current_ended(self, process: WorkerProcess) -> None:
        self.current, self._replacement = self._replacement, None
        if self.current is not None:
            _log.error("{process} {how}; {next} takes its place", next=str(self.current), **_log_fields(process))
        else:
            ran_seconds = self._reactor.seconds() - process.started_at
            _log.error("{process} {how}, {ran:.0f} s after its start", ran=ran_seconds, **_log_fields(process))
            self._schedule_restart(ran_seconds)

    def _schedule_restart(self, ran_seconds: float) -> None:
        if ran_seconds >= STABLE_SECONDS:
            self._reset_backoff()
        delay = 0.0 if self._restart_at_once else self._backoff.delay()
        self._restart_at_once = False
        when = f"in {delay:g} s" if delay else "now"
        _log.info("worker {worker} is started again {when}", worker=self.number, when=when)
        self._restart = self._reactor.callLater(delay, self.start)

    def _reset_backoff(self) -> None:
        self._restart_at_once = True
        self._backoff.reset()

    def _cancel_restart(self) -> None:
        restart, self._restart = self._restart, None
        if restart is not None:
            restart.cancel()


def _log_fields(process: WorkerProcess) -> dict[str, str]:
    return {"process": str(process), "how": process.exit_text}
