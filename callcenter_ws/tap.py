"""What ``twistd callcenter-ws`` runs: its options, and the service that they describe."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.logger import Logger
from twisted.python import usage

from callcenter_ws import __version__
from callcenter_ws.config.load import ConfigError, load
from callcenter_ws.config.settings import Settings
from callcenter_ws.demo.settings import demo_settings, page_url
from callcenter_ws.demo.state import DemoState, DemoUnavailable
from callcenter_ws.demo.tokens import announcement, ready_made_tokens
from callcenter_ws.gateway.service import DRAIN_MARGIN, GatewayService
from callcenter_ws.workers import options as command
from callcenter_ws.workers.handoff import WorkerHandoff, endpoints
from callcenter_ws.workers.supervisor import Supervisor

_log = Logger()


class Options(usage.Options):
    """Command line of the plugin."""

    synopsis = "[--config FILE] [--set SECTION.KEY=VALUE]... [--workers N | --demo]"
    longdesc = "A real-time event gateway for call centers: events in over AMP, out over WebSocket."
    optParameters = [  # noqa: RUF012 - Twisted's name and form
        ["config", "c", None, "TOML file with the settings (see etc/callcenter-ws.toml)."],
        ["workers", "w", None, "Serve with so many processes, or auto: one for each processor. Needs a Redis store."],
    ]
    optFlags = [  # noqa: RUF012 - Twisted's name and form
        ["demo", None, "Run with a development secret, a simulated call center and a page to look at."],
    ]
    compData = usage.Completions(optActions={"config": usage.CompleteFiles("*.toml")})

    settings: Settings
    demo: DemoState | None
    worker_count: int | None
    handoff: WorkerHandoff | None

    def __init__(self) -> None:
        super().__init__()
        self.overrides: list[str] = []
        # twistd may change to another folder later, and relative paths begin in this one.
        self.folder = Path.cwd()

    def opt_set(self, assignment: str) -> None:
        """Override one setting, as web.demo=true. May be given several times."""
        self.overrides.append(assignment)

    opt_s = opt_set

    def opt_version(self) -> None:
        """Print the version of callcenter-ws and exit."""
        print(f"callcenter-ws {__version__}")
        sys.exit(0)

    def postOptions(self) -> None:
        """Load the settings; everything that is wrong with them is printed at once."""
        path = Path(self["config"]) if self["config"] is not None else None
        try:
            settings = load(path, overrides=self.overrides, environ=os.environ, demo=bool(self["demo"]))
            self._set_workers(settings)
            self.demo = DemoState.prepare(page_url(settings)) if self["demo"] else None
        except (ConfigError, DemoUnavailable, command.WorkersRefused) as error:
            print(f"callcenter-ws cannot start:\n{error}", file=sys.stderr)
            sys.exit(1)
        self.settings = settings if self.demo is None else demo_settings(settings, self.demo)

    def _set_workers(self, settings: Settings) -> None:
        self.worker_count = None
        self.handoff = WorkerHandoff.take(os.environ)
        if self.handoff is not None:
            missing = ", ".join(map(str, self.handoff.missing(settings)))
            if missing:
                raise command.WorkersRefused(
                    f"the supervisor does not listen on {missing}: restart it for new endpoints"
                )
        elif self["workers"] is not None:
            self.worker_count = command.count(self["workers"])
            command.check(settings, demo=bool(self["demo"]))


def makeService(options: Options) -> Service:
    """Return the gateway, or the supervisor of several, wired and ready to start."""
    from twisted.internet import reactor

    if options.worker_count is not None:
        return _supervisor(reactor, options, options.worker_count)
    service = GatewayService(reactor, options.settings, demo=options.demo, handoff=options.handoff)
    _tune_collector()
    text = "SIGHUP: this version reloads nothing; restart it to take new settings or certificates"
    if options.handoff is not None:
        text = "SIGHUP: this is a worker; send it to the supervisor, which replaces all workers"
    reactor.callWhenRunning(_on_hangup, reactor, lambda: _log.warn(text))
    if options.demo is not None:
        # Once it runs: a port that cannot be opened ends the start before, and nobody is sent to what is not there.
        reactor.callWhenRunning(_announce, options.demo)
    return service


def _tune_collector() -> None:
    """Have the collector of garbage look less often at what lives long: connections, and what Python is made of.

    A connection is some forty objects that stay. With Python's own thresholds their coming makes the collector go
    through the young ones again and again, which was a fifth of what a connect costs. It must not look at the old ones
    more seldom: Twisted leaves a cycle behind where a peer breaks off TLS, and OpenSSL's memory hangs on it.
    """
    gc.freeze()
    gc.set_threshold(10_000, 5, 2)


def _supervisor(reactor: Any, options: Options, count: int) -> Supervisor:
    supervisor = Supervisor(
        reactor,
        command.command(options["config"], options.overrides),
        endpoints(options.settings),
        count,
        patience=options.settings.limits.drain_timeout + DRAIN_MARGIN,
        unusable=lambda: _end_with_failure(reactor),
        environ=dict(os.environ),
        folder=str(options.folder),
    )
    reactor.callWhenRunning(_on_hangup, reactor, supervisor.roll)
    return supervisor


def _end_with_failure(reactor: Any) -> None:
    """Stop, and end with status 1. twistd knows no way to ask for one once the reactor runs, and would end with 0."""
    atexit.register(os._exit, 1)
    # It may be that it does not run yet.
    reactor.callWhenRunning(reactor.stop)


def _on_hangup(reactor: Any, act: Callable[[], None]) -> None:
    """SIGHUP is what a closed terminal and many scripts send; by default it would end the process without a word."""
    signal.signal(signal.SIGHUP, lambda number, frame: reactor.callFromThread(act))


def _announce(demo: DemoState) -> None:
    """Say where the demo is: to the commands of its user, and to the person at the terminal."""
    try:
        demo.record()
    except DemoUnavailable as error:
        _log.critical("callcenter-ws token, emit and tail will not find this demo: {reason}", reason=error)
    # By now twistd would log what is printed.
    print(announcement(demo, ready_made_tokens(demo, time.time())), file=sys.__stdout__, flush=True)
