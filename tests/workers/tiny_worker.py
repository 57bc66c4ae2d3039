"""A worker for tests: instead of running a gateway it answers each connection with its pid.

The file ``mode`` in its folder selects its behaviour: ``fail`` (it ends with status 1), ``wait`` (it does not become
ready until the file changes), ``stay`` (it ignores SIGTERM), ``hang`` (draining never completes); without the file it
works normally.
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

from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.listener import Listener
from callcenter_ws.workers.handoff import WorkerHandoff
from callcenter_ws.workers.log import worker_log
from callcenter_ws.workers.worker import Worker


class Pid(Protocol):
    def connectionMade(self) -> None:
        self.transport.write(f"{os.getpid()}\n".encode())
        self.transport.loseConnection()


def read_mode(folder: Path) -> str:
    """Return the content of the file ``mode``, or an empty text."""
    return (folder / "mode").read_text() if (folder / "mode").exists() else ""


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

    worker = Worker(reactor, handoff, reasons, accept, stop_timeout)
    worker.setServiceParent(node)
    node.privilegedStartService()
    node.startService()
    if mode == "stay":
        reactor.callWhenRunning(lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
    if mode == "hang":
        reactor.addSystemEventTrigger("before", "shutdown", Deferred)
    reactor.addSystemEventTrigger("before", "shutdown", node.stopService)
    Logger("tiny").warn("logs {how}", how="{on two\nlines}")
    reactor.run()


main(Path(sys.argv[1]))
