"""The supervisor: opens the sockets, keeps the workers running, and replaces them one by one on request."""

from __future__ import annotations

import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.service_manager import ServiceStatus
from callcenter_ws.runtime.single_flight import SingleFlight
from callcenter_ws.runtime.start_failed import StartFailed
from callcenter_ws.workers.handoff import (
    FIRST_SOCKET_DESCRIPTOR,
    SESSION_KEY_FILE,
    STATUS_DESCRIPTOR,
    SUPERVISOR_DESCRIPTOR,
    ListenEndpoint,
    WorkerHandoff,
)
from callcenter_ws.workers.no_worker_monitor import NoWorkerMonitor
from callcenter_ws.workers.process import STDERR, STDOUT, WorkerProcess
from callcenter_ws.workers.slot import Ended, WorkerSlot
from callcenter_ws.workers.sockets import ListeningSockets

_log = Logger()


class Supervisor(Service):
    """Runs ``count`` workers. It serves no connection itself.

    Args:
        command: the command that starts a worker.
        endpoints: the endpoints on which the workers listen.
        stop_timeout: seconds that a worker may take to drain before it is killed.
        unusable: called once if the first process of a slot cannot be started, or ends with status 1 before it served,
            as with settings that it cannot use.
        environ: the environment of the workers, to which their handoff is added.
        folder: the current folder of the workers.

    Attributes:
        slots: one slot for each worker, in the order of their numbers.
    """

    def __init__(
        self,
        reactor: Reactor,
        command: Sequence[str],
        endpoints: Iterable[ListenEndpoint],
        count: int,
        *,
        stop_timeout: float,
        unusable: Callable[[], None],
        environ: Mapping[str, str],
        folder: str | None = None,
    ) -> None:
        self._reactor = reactor
        self._command = list(command)
        self._environ = environ
        self._folder = folder
        self._sockets = ListeningSockets(endpoints)
        self._unusable = unusable
        self._private_folder = ""
        self._generation = 0
        self.slots = [
            WorkerSlot(reactor, number, self._spawn_worker, self._give_up, stop_timeout)
            for number in range(1, count + 1)
        ]
        self._monitor = NoWorkerMonitor(reactor, self.slots)
        self._replacing = SingleFlight(self._replace_all, ReactorClock(reactor), spawn)
        self._given_up = False

    # Life

    def privilegedStartService(self) -> None:
        """Open the sockets, before twistd drops its privileges."""
        super().privilegedStartService()
        self._sockets.open()

    def startService(self) -> None:
        """Start the workers.

        Raises:
            StartFailed: a socket or the private folder cannot be made; the reason has been logged.
        """
        super().startService()
        self._sockets.open()
        try:
            self._private_folder = _make_private_folder(self._environ)
        except OSError as error:
            self._sockets.close()
            reason = f"cannot make the private folder of the workers: {error}"
            _log.critical("{reason}", reason=reason)
            raise StartFailed(reason) from None
        _log.info("the supervisor (pid {pid}) starts {count} workers", pid=os.getpid(), count=len(self.slots))
        for slot in self.slots:
            slot.start()

    def stopService(self) -> Deferred[None]:
        """Make all workers drain at the same time, and wait until they have ended."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._replacing.stop()
        self._monitor.stop()
        self._sockets.close()
        await gatherResults([Deferred.fromCoroutine(slot.close()) for slot in self.slots])
        if self._private_folder:
            shutil.rmtree(self._private_folder, ignore_errors=True)
        _log.info("all workers have ended")

    def _give_up(self) -> None:
        if self.running and not self._given_up:
            self._given_up = True
            self._unusable()

    def status(self) -> ServiceStatus:
        """Return the status for the service manager: alive while a worker runs or will be started."""
        serving = sum(slot.serves for slot in self.slots)
        reasons = {slot.current.not_ready_reason for slot in self.slots if slot.current is not None and not slot.serves}
        text = f"{serving} of {len(self.slots)} workers serve{''.join(f'; {reason}' for reason in sorted(reasons))}"
        if not self.running:
            ending = sum(slot.running for slot in self.slots)
            return ServiceStatus(False, f"stops: {ending} workers drain")
        is_alive = any(slot.current is not None or slot.restart_at < math.inf for slot in self.slots)
        return ServiceStatus(serving > 0, text, is_alive)

    # Starting a worker

    def _spawn_worker(self, number: int, ended: Ended, *, replaces: bool) -> WorkerProcess:
        self._generation += 1
        sockets = self._sockets.descriptors
        inherited = {endpoint: FIRST_SOCKET_DESCRIPTOR + index for index, endpoint in enumerate(sockets)}
        handoff = WorkerHandoff(number, len(self.slots), self._generation, replaces, self._private_folder, inherited)
        descriptors: dict[int, int | str] = {SUPERVISOR_DESCRIPTOR: "w", STDOUT: "r", STDERR: "r"}
        descriptors[STATUS_DESCRIPTOR] = "r"
        descriptors |= {inherited[endpoint]: descriptor for endpoint, descriptor in sockets.items()}

        def process_ended(process: WorkerProcess) -> None:
            # A worker that was killed has not removed its socket.
            with suppress(OSError):
                handoff.private_socket.unlink()
            ended(process)
            if self.running and not self._given_up:
                self._monitor.worker_ended()

        process = WorkerProcess(self._reactor, number, process_ended)
        self._reactor.spawnProcess(
            process,
            self._command[0],
            self._command,
            {**self._environ, **handoff.environment()},
            self._folder,
            childFDs=descriptors,
        )
        _log.info("{worker} is started", worker=str(process))
        return process

    # Replacing the workers

    def replace_workers(self) -> None:
        """Replace all workers, one by one. Requests during that cause one more replacement of all."""
        if not self.running:
            return
        if self._replacing.is_running:
            _log.info("SIGHUP: the workers are being replaced; that will be done once more afterwards")
        self._replacing.request()

    async def _replace_all(self) -> None:
        _log.info("SIGHUP: the workers are replaced, one by one")
        for slot in self.slots:
            if not await slot.replace():
                if self.running:
                    _log.error(
                        "worker {number} was not replaced, and the workers after it will not be", number=slot.number
                    )
                return
        _log.info("all workers have been replaced")


def _make_private_folder(environ: Mapping[str, str]) -> str:
    """Make a folder of mode 700 for the files that the workers share, and the key file in it; return its path."""
    # systemd sets RUNTIME_DIRECTORY (RuntimeDirectory= of the unit). Without it, the folder of temporary files is used.
    parent = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or None
    folder = tempfile.mkdtemp(prefix="callcenter-ws-", dir=parent)
    key = Path(folder, SESSION_KEY_FILE)
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(32))
    return folder
