"""A worker for tests: instead of running a gateway it answers each connection with its pid.

The file ``mode`` in its folder selects its behaviour: ``fail`` (it ends with status 1), ``wait`` (it does not become
ready until the file changes), ``stay`` (it ignores SIGTERM), ``hang`` (draining never completes). On a reload, worker 1
cannot use the settings in the mode ``refuse``, ends in the modes ``die-in-prepare`` and ``die-in-commit``, and never
returns in the mode ``loop``. Without the file it works normally. Of the settings it uses ``limits.connections`` and
``cluster.node_id``, which it logs.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from twisted.application.service import MultiService
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import Logger, globalLogBeginner

from callcenter_ws.config.changes import ReloadReport, changed_keys
from callcenter_ws.config.source import SettingsSource
from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.listener import Listener
from callcenter_ws.runtime.setting_problems import ConfigError, Problem
from callcenter_ws.workers.handoff import WorkerHandoff
from callcenter_ws.workers.log import worker_log
from callcenter_ws.workers.worker import Worker
from callcenter_ws.workers.worker_reload import WorkerReload


class Pid(Protocol):
    def connectionMade(self) -> None:
        self.transport.write(f"{os.getpid()}\n".encode())
        self.transport.loseConnection()


def read_mode(folder: Path) -> str:
    """Return the content of the file ``mode``, or an empty text."""
    return (folder / "mode").read_text() if (folder / "mode").exists() else ""


class Uses:
    """The settings in use. Implements Reloadable and PreparedReload."""

    def __init__(self, folder: Path, number: int, source: SettingsSource) -> None:
        self._folder = folder
        self._number = number
        self._source = source
        self.used = self._prepared = source.load()
        Logger("tiny").info("is node {name}", name=self.used.cluster.node_id)
        self._log()

    def _log(self) -> None:
        Logger("tiny").info("uses {number}", number=self.used.limits.connections)

    @property
    def _mode(self) -> str:
        return read_mode(self._folder) if self._number == 1 else ""

    def prepare(self) -> Uses:
        if self._mode == "refuse":
            raise ConfigError([Problem("tiny", "limits.connections", "is refused")])
        if self._mode == "die-in-prepare":
            os.kill(os.getpid(), signal.SIGKILL)
        while self._mode == "loop":
            pass
        self._prepared = self._source.load()
        return self

    @property
    def report(self) -> ReloadReport:
        return ReloadReport(applied=tuple(changed_keys(self.used, self._prepared)))

    def commit(self) -> None:
        if self._mode == "die-in-commit":
            os.kill(os.getpid(), signal.SIGKILL)
        self.used = self._prepared
        self._log()


def main(folder: Path) -> None:
    mode = read_mode(folder)
    handoff = WorkerHandoff.pop(os.environ)
    assert handoff is not None
    if mode == "fail":
        sys.exit("the settings are bad")
    globalLogBeginner.beginLoggingTo([worker_log()])
    factory = Factory.forProtocol(Pid)
    node = MultiService()
    listeners = []
    for endpoint, descriptor in handoff.sockets.items():
        description = EndpointDescription.parse(endpoint.partition(" ")[2])
        listener = Listener(reactor, description, factory, descriptor)
        listener.setServiceParent(node)
        listeners.append(listener)
    stop_timeout = 1 if mode == "hang" else 20

    def reasons() -> list[str]:
        return ["the store is unavailable"] if read_mode(folder) == "wait" else []

    def accept() -> None:
        for listener in listeners:
            listener.accept_from_inherited()

    source = SettingsSource(Path("tiny.toml"), [], {}, demo=False, folder=folder)
    source.copy = Path(handoff.settings)
    source.pinned = handoff.pinned
    worker = Worker(reactor, handoff, reasons, accept, stop_timeout)
    worker.reload = WorkerReload(source, Uses(folder, handoff.number, source))
    worker.node_stops = lambda: Logger("tiny").info("the node stops")
    worker.stop_now = lambda: reactor.callLater(0, os._exit, 0)
    worker.setServiceParent(node)
    node.privilegedStartService()
    node.startService()
    if mode == "stay":
        reactor.callWhenRunning(lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
    reactor.addSystemEventTrigger("before", "shutdown", Deferred if mode == "hang" else node.stopService)
    Logger("tiny").warn("logs {how}", how="{on two\nlines}")
    reactor.run()


main(Path(sys.argv[1]))
