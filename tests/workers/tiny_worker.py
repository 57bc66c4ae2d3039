"""A worker of the tests: in place of a gateway it answers each connection with its pid.

What it does is in the file ``mood`` of the folder that it is given: ``fail`` (it ends with status 1), ``wait`` (it does
not get ready), ``stay`` (it does not end when told to), ``hang`` (it never gets done with draining), or nothing.
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

from callcenter_ws.runtime.listener import Listener
from callcenter_ws.workers.handoff import WorkerHandoff
from callcenter_ws.workers.log import worker_log
from callcenter_ws.workers.worker import Worker


class Pid(Protocol):
    def connectionMade(self) -> None:
        self.transport.write(f"{os.getpid()}\n".encode())
        self.transport.loseConnection()


def main(folder: Path) -> None:
    mood = (folder / "mood").read_text() if (folder / "mood").exists() else ""
    handoff = WorkerHandoff.take(os.environ)
    assert handoff is not None
    if mood == "fail":
        sys.exit("the settings are bad")
    globalLogBeginner.beginLoggingTo([worker_log()])
    factory = Factory.forProtocol(Pid)
    node = MultiService()
    listeners = []
    for endpoint, descriptor in handoff.sockets.items():
        listener = Listener(reactor, endpoint.partition(" ")[2], factory, descriptor)
        listener.setServiceParent(node)
        listeners.append(listener)
    reasons = ["the store is far away"] if mood == "wait" else []
    patience = 1 if mood == "hang" else 20
    worker = Worker(reactor, handoff, lambda: reasons, lambda: [one.take_up() for one in listeners], patience)
    worker.setServiceParent(node)
    node.privilegedStartService()
    node.startService()
    if mood == "stay":
        reactor.callWhenRunning(lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN))
    if mood == "hang":
        reactor.addSystemEventTrigger("before", "shutdown", Deferred)
    reactor.addSystemEventTrigger("before", "shutdown", node.stopService)
    Logger("tiny").warn("says hello {how}", how="{on two\nlines}")
    reactor.run()


main(Path(sys.argv[1]))
