"""Supervisor: opens the sockets, keeps the workers running, and replaces them one by one."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.workers.handoff import FIRST_SOCKET, LIFELINE, SESSION_KEY, STATUS, Endpoint, WorkerHandoff
from callcenter_ws.workers.no_worker_monitor import NoWorkerMonitor
from callcenter_ws.workers.process import STDERR, STDOUT, WorkerProcess
from callcenter_ws.workers.slot import Ended, WorkerSlot
from callcenter_ws.workers.sockets import Sockets

_log = Logger()


class Supervisor(Service):
    """Runs ``count`` workers. It serves nobody itself.

    Args:
        command: what a worker is started with.
        endpoints: what the workers listen on.
        patience: seconds that a worker has to drain before it is killed.
        unusable: called when a worker cannot be started or gives up before it ever served, as with settings that it
            cannot use.
        environ: the workers' environment, to which their inheritance is added.
        folder: where the workers are started.
    """

    def __init__(
        self,
        reactor: Any,
        command: Sequence[str],
        endpoints: Iterable[Endpoint],
        count: int,
        *,
        patience: float,
        unusable: Callable[[], None],
        environ: Mapping[str, str],
        folder: str | None = None,
    ) -> None:
        self._reactor = reactor
        self._command = list(command)
        self._environ = environ
        self._folder = folder
        self._sockets = Sockets(endpoints)
        self._unusable = unusable
        self._private_folder = ""
        self._generation = 0
        self.posts = [
            WorkerSlot(reactor, number, self._spawn, self._give_up, patience) for number in range(1, count + 1)
        ]
        self._outage = NoWorkerMonitor(reactor, self.posts)
        self._rolling = False
        self._once_more = False
        self._given_up = False

    # Life

    def privilegedStartService(self) -> None:
        """Open the sockets while there may be the privileges for it."""
        super().privilegedStartService()
        self._sockets.open()

    def startService(self) -> None:
        """Start the workers."""
        super().startService()
        self._sockets.open()
        try:
            self._private_folder = _private_folder(self._environ)
        except OSError as error:
            self._sockets.close()
            _log.critical("cannot make a folder for what the workers share: {reason}", reason=error)
            raise SystemExit(1) from None
        _log.info("the supervisor (pid {pid}) starts {count} workers", pid=os.getpid(), count=len(self.posts))
        for post in self.posts:
            post.fill()

    def stopService(self) -> Deferred[None]:
        """Have all workers drain at once, and wait until they have gone."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._outage.stop()
        self._sockets.close()
        await gatherResults([Deferred.fromCoroutine(post.close()) for post in self.posts])
        if self._private_folder:
            shutil.rmtree(self._private_folder, ignore_errors=True)
        _log.info("all workers have gone")

    def _give_up(self) -> None:
        if self.running and not self._given_up:
            self._given_up = True
            self._unusable()

    # Starting a worker

    def _spawn(self, number: int, ended: Ended, *, replaces: bool) -> WorkerProcess:
        self._generation += 1
        sockets = self._sockets.descriptors
        inherited = {endpoint: FIRST_SOCKET + place for place, endpoint in enumerate(sockets)}
        handoff = WorkerHandoff(number, len(self.posts), self._generation, replaces, self._private_folder, inherited)
        pipes: dict[int, int | str] = {LIFELINE: "w", STDOUT: "r", STDERR: "r", STATUS: "r"}
        pipes |= {inherited[endpoint]: descriptor for endpoint, descriptor in sockets.items()}

        def gone(process: WorkerProcess) -> None:
            # A worker that was killed has not removed it.
            with suppress(OSError):
                handoff.private_socket.unlink()
            ended(process)
            if self.running and not self._given_up:
                self._outage.worker_gone()

        process = WorkerProcess(self._reactor, number, gone)
        self._reactor.spawnProcess(
            process,
            self._command[0],
            self._command,
            {**self._environ, **handoff.written()},
            self._folder,
            childFDs=pipes,
        )
        _log.info("{worker} is started", worker=str(process))
        return process

    # Replacing them

    def roll(self) -> None:
        """Replace all workers, one by one. While that goes on, one more such wish is remembered."""
        if not self.running:
            return
        if self._rolling:
            self._once_more = True
            _log.info("SIGHUP: the workers are being replaced; that will be done once more afterwards")
            return
        self._rolling = True
        _log.info("SIGHUP: the workers are replaced, one by one")
        Deferred.fromCoroutine(self._roll()).addErrback(_bug)

    async def _roll(self) -> None:
        try:
            await self._replace_all()
        finally:
            self._rolling = False
        if self._once_more and self.running:
            self._once_more = False
            self.roll()

    async def _replace_all(self) -> None:
        for post in self.posts:
            if not await post.replace():
                if self.running:
                    _log.error("the replacing ends at worker {number}: those after it stay", number=post.number)
                return
        _log.info("all workers have been replaced")


def _bug(failure: Failure) -> None:
    _log.failure("replacing the workers met a bug", failure)


def _private_folder(environ: Mapping[str, str]) -> str:
    """Make a folder of mode 700 with what the workers share."""
    # Where systemd lets a service put its sockets (RuntimeDirectory=), or else where temporary files are.
    where = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or None
    folder = tempfile.mkdtemp(prefix="callcenter-ws-", dir=where)
    key = Path(folder, SESSION_KEY)
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(32))
    return folder
