"""The supervisor: opens the sockets, keeps the workers running, and replaces them one by one on request."""

from __future__ import annotations

import math
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock, gatherResults
from twisted.logger import Logger

from callcenter_ws import __version__
from callcenter_ws.config.settings import Settings
from callcenter_ws.control.messages import NodeStatus, Outcome, Refused
from callcenter_ws.control.reloads import Around, Reloads
from callcenter_ws.control.report import log_problems
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.service_manager import ServiceStatus
from callcenter_ws.runtime.setting_problems import ConfigError
from callcenter_ws.runtime.single_flight import SingleFlight
from callcenter_ws.runtime.start_failed import StartFailed
from callcenter_ws.workers.channel import Act
from callcenter_ws.workers.handoff import (
    FIRST_SOCKET_DESCRIPTOR,
    SESSION_KEY_FILE,
    STATUS_DESCRIPTOR,
    SUPERVISOR_DESCRIPTOR,
    ListenEndpoint,
    WorkerHandoff,
)
from callcenter_ws.workers.heartbeat import Heartbeat
from callcenter_ws.workers.no_worker_monitor import NoWorkerMonitor
from callcenter_ws.workers.node_reload import NodeReload
from callcenter_ws.workers.node_settings import NodeSettings, NodeVersion
from callcenter_ws.workers.process import STDERR, STDOUT, Missing, WorkerProcess
from callcenter_ws.workers.slot import Ended, WorkerSlot
from callcenter_ws.workers.sockets import ListeningSockets

_log = Logger()

STOP_NOW_TIMEOUT_SECONDS = 10.0
"""Seconds within which a worker must confirm that it stops at once; otherwise it hangs, and is killed."""


class Supervisor(Service):
    """Runs ``count`` workers. It serves no connection itself. Implements ``control.messages.Operations``.

    Args:
        command: the command that starts a worker.
        settings: what the workers use.
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
        settings: NodeSettings,
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
        self._settings = settings
        self._private_folder = ""
        self._generation = 0
        self.slots = [
            WorkerSlot(reactor, number, self._spawn_worker, self._give_up, stop_timeout)
            for number in range(1, count + 1)
        ]
        self._monitor = NoWorkerMonitor(reactor, self.slots)
        clock = ReactorClock(reactor)
        self._heartbeat = Heartbeat(reactor, self._processes)
        self._node_reload = NodeReload(settings, self._processes, self._restart)
        # The workers are not replaced while they reload, and the other way round.
        self._changing = DeferredLock()
        self._replacing = SingleFlight(self._replace_all, clock, spawn)
        self._catching_up = SingleFlight(self._catch_up, clock, spawn)
        self._reloads = Reloads(self._reload_once, clock, spawn)
        self._given_up = False

    @property
    def around_reload(self) -> Around:
        """What is entered during a reload or a replacement of the workers."""
        return self._reloads.around

    @around_reload.setter
    def around_reload(self, around: Around) -> None:
        self._reloads.around = around

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
            self._settings.open(Path(self._private_folder))
        except OSError as error:
            self._sockets.close()
            reason = f"cannot make the private folder of the workers: {error}"
            _log.critical("cannot start: {reason}", reason=reason)
            raise StartFailed(reason) from None
        _log.info("the supervisor (pid {pid}) starts {count} workers", pid=os.getpid(), count=len(self.slots))
        for slot in self.slots:
            slot.start()
        self._heartbeat.start()

    def stopService(self) -> Deferred[None]:
        """Make all workers drain at the same time, and wait until they have ended."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._replacing.stop()
        self._catching_up.stop()
        self._heartbeat.stop()
        self._monitor.stop()
        self._sockets.close()
        await gatherResults([Deferred.fromCoroutine(slot.close()) for slot in self.slots])
        if self._private_folder:
            shutil.rmtree(self._private_folder, ignore_errors=True)
        _log.info("all workers have ended")

    def stop_now(self) -> None:
        """End the drain of all workers at once."""
        for process in self._processes():
            spawn(_stop_now(process))

    def _give_up(self) -> None:
        if self.running and not self._given_up:
            self._given_up = True
            self._heartbeat.stop()
            self._unusable()

    def status(self) -> ServiceStatus:
        """Return the status for the service manager: alive while a worker runs or will be started."""
        current = [slot.current for slot in self.slots if slot.current is not None]
        reasons = {process.not_ready_reason for process in current if process.not_ready_reason}
        serving = sum(not process.not_ready_reason for process in current)
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
        settings = self._settings.current
        handoff = WorkerHandoff(
            number,
            len(self.slots),
            self._generation,
            replaces,
            self._private_folder,
            inherited,
            self._settings.path(settings),
            settings.pinned,
        )
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

        process = WorkerProcess(self._reactor, number, settings.number, self._connected, process_ended)
        self._reactor.spawnProcess(
            process,
            self._command[0],
            self._command,
            {**self._environ, **handoff.environment()},
            self._folder,
            childFDs=descriptors,
        )
        _log.info("{process} is started", process=str(process))
        return process

    def _processes(self) -> list[WorkerProcess]:
        return [process for slot in self.slots for process in slot.processes]

    def _restart(self, process: WorkerProcess) -> None:
        """End a process gently; its slot starts another."""
        spawn(process.stop(self.slots[process.number - 1].stop_timeout))

    def set_stop_timeout(self, seconds: float) -> None:
        """Set the seconds that a worker may take to drain before it is killed."""
        for slot in self.slots:
            slot.stop_timeout = seconds

    @property
    def settings(self) -> Settings:
        """The settings that the workers use."""
        return self._settings.current.settings

    # Replacing the workers

    def replace_workers(self) -> None:
        """Replace all workers, one by one. Requests during that cause one more replacement of all."""
        if not self.running:
            return
        if self._replacing.is_running:
            _log.info("SIGHUP: the workers are being replaced; that will be done once more afterwards")
        self._replacing.request()

    async def _replace_all(self) -> None:
        async with _held(self._changing):
            if self.running:
                with self.around_reload():
                    self._reloads.record(await self._replace_with_new_settings())

    async def _replace_with_new_settings(self) -> str:
        before = self._settings.current
        try:
            new = self._settings.read_again(replaces_workers=True)
            self._settings.write(new)
        except (ConfigError, OSError) as error:
            problems = error.problems if isinstance(error, ConfigError) else [error]
            _log.error("SIGHUP: no worker is replaced, because the settings cannot be used:")
            return log_problems((await self._node_reload.refuse(problems)).problems)
        _log.info("SIGHUP: the workers are replaced, one by one")
        for key in new.waits_for_restart:
            _log.warn("settings: {key} has changed, and stays as it is: restart the gateway", key=key)
        self._settings.use(new)
        for slot in self.slots:
            if not await slot.replace():
                return await self._replacement_failed(slot, before)
        await self._node_reload.catch_up()
        _log.info("all workers have been replaced")
        return "all workers have been replaced"

    async def _replacement_failed(self, slot: WorkerSlot, before: NodeVersion) -> str:
        if self.running:
            _log.error("worker {worker} was not replaced, and the workers after it will not be", worker=slot.number)
            if slot is self.slots[0]:
                # A worker that is restarted must have the settings of the others.
                given_up = self._settings.current.number
                self._settings.use(before)
                for process in self._processes():
                    if process.settings_version == given_up:
                        self._restart(process)
            await self._node_reload.catch_up()
        return f"worker {slot.number} was not replaced, and the workers after it were not"

    # Loading the settings again

    async def reload(self) -> Outcome:
        """Load the settings again in all workers, or in none."""
        return await self._reloads.request()

    async def _reload_once(self) -> Outcome:
        async with _held(self._changing):
            return await self._node_reload.run() if self.running else Refused(("the gateway stops",))

    def _connected(self) -> None:
        """Have a worker that was started with older settings take over the current ones."""
        if self.running and any(
            process.settings_version != self._settings.current.number for process in self._processes()
        ):
            self._catching_up.request()

    async def _catch_up(self) -> None:
        async with _held(self._changing):
            if self.running:
                await self._node_reload.catch_up()

    def node_status(self) -> NodeStatus:
        """Describe the supervisor and the workers."""
        return NodeStatus(
            pid=os.getpid(),
            version=__version__,
            reasons=(),
            workers=tuple(slot.status() for slot in self.slots),
            draining=not self.running,
            last_reload=self._reloads.last,
        )


async def _stop_now(process: WorkerProcess) -> None:
    if await process.ask(Act.STOP_NOW, STOP_NOW_TIMEOUT_SECONDS) is Missing.LATE:
        _log.error(
            "{process} does not react to a second signal within {seconds:g} s: killed",
            process=str(process),
            seconds=STOP_NOW_TIMEOUT_SECONDS,
        )
        process.signal("KILL")


@asynccontextmanager
async def _held(lock: DeferredLock) -> AsyncIterator[None]:
    """Hold a lock."""
    await lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _make_private_folder(environ: Mapping[str, str]) -> str:
    """Make a folder of mode 700 for the files that the workers share, and the key file in it; return its path."""
    # systemd sets RUNTIME_DIRECTORY (RuntimeDirectory= of the unit). Without it, the folder of temporary files is used.
    parent = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or None
    folder = tempfile.mkdtemp(prefix="callcenter-ws-", dir=parent)
    key = Path(folder, SESSION_KEY_FILE)
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(32))
    return folder
