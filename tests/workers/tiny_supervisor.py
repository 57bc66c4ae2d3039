"""A supervisor of tiny workers: ``tiny_supervisor.py FOLDER COUNT STOP_TIMEOUT ENDPOINT...``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.logger import globalLogBeginner, textFileLogObserver

from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.workers.handoff import ListenEndpoint
from callcenter_ws.workers.supervisor import Supervisor

TINY_WORKER = Path(__file__).with_name("tiny_worker.py")


def unusable() -> None:
    sys.stdout.write("unusable\n")
    reactor.stop()


folder, count, stop_timeout, *descriptions = sys.argv[1:]
globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
supervisor = Supervisor(
    reactor,
    [sys.executable, str(TINY_WORKER), folder],
    [ListenEndpoint("web.listen", EndpointDescription.parse(description)) for description in descriptions],
    int(count),
    stop_timeout=float(stop_timeout),
    unusable=unusable,
    environ=dict(os.environ),
)
supervisor.privilegedStartService()
supervisor.startService()
reactor.addSystemEventTrigger("before", "shutdown", supervisor.stopService)
reactor.callWhenRunning(
    lambda: signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(supervisor.replace_workers)),
)
reactor.run()
