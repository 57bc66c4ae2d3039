"""A supervisor of tiny workers: ``tiny_supervisor.py FOLDER COUNT STOP_TIMEOUT ENDPOINT...``.

SIGUSR1 loads the settings again, SIGUSR2 ends a stop at once.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import globalLogBeginner, textFileLogObserver

from callcenter_ws.config.source import SettingsSource
from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.workers.handoff import ListenEndpoint
from callcenter_ws.workers.node_settings import NodeSettings
from callcenter_ws.workers.supervisor import Supervisor

SETTINGS = "tiny.toml"

TINY_WORKER = Path(__file__).with_name("tiny_worker.py")


def unusable() -> None:
    sys.stdout.write("unusable\n")
    reactor.stop()


folder, count, stop_timeout, *descriptions = sys.argv[1:]
source = SettingsSource(Path(SETTINGS), [], {}, demo=False, folder=Path(folder))
content = source.read()
globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)], redirectStandardIO=False)
supervisor = Supervisor(
    reactor,
    [sys.executable, str(TINY_WORKER), folder],
    NodeSettings(source, content, source.load(content)),
    [ListenEndpoint("web.listen", EndpointDescription.parse(description)) for description in descriptions],
    int(count),
    stop_timeout=float(stop_timeout),
    unusable=unusable,
    environ=dict(os.environ),
)
supervisor.privilegedStartService()
supervisor.startService()
reactor.addSystemEventTrigger("before", "shutdown", supervisor.stopService)


def reload() -> None:
    """Load the settings again; the log has the outcome."""
    Deferred.fromCoroutine(supervisor.reload())


def install_signal_handlers() -> None:
    acts = {signal.SIGHUP: supervisor.replace_workers, signal.SIGUSR1: reload, signal.SIGUSR2: supervisor.stop_now}
    for number, act in acts.items():
        signal.signal(number, lambda *_, act=act: reactor.callFromThread(act))


reactor.callWhenRunning(install_signal_handlers)
reactor.run()
