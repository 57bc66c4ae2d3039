"""What ``twistd callcenter-ws`` runs: its options, and the service that they describe."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from twisted.logger import Logger
from twisted.python import usage

from callcenter_ws import __version__
from callcenter_ws.config.load import ConfigError, load
from callcenter_ws.config.settings import Settings
from callcenter_ws.demo.settings import demo_settings, page_url
from callcenter_ws.demo.state import DemoState, DemoUnavailable
from callcenter_ws.demo.tokens import announcement, ready_made_tokens
from callcenter_ws.service import GatewayService

_log = Logger()


class Options(usage.Options):
    """Command line of the plugin."""

    synopsis = "[--config FILE] [--set SECTION.KEY=VALUE]... [--demo]"
    longdesc = "A real-time event gateway for call centers: events in over AMP, out over WebSocket."
    optParameters = [  # noqa: RUF012 - Twisted's name and form
        ["config", "c", None, "TOML file with the settings (see etc/callcenter-ws.toml)."],
    ]
    optFlags = [  # noqa: RUF012 - Twisted's name and form
        ["demo", None, "Run with a development secret, a simulated call center and a page to look at."],
    ]
    compData = usage.Completions(optActions={"config": usage.CompleteFiles("*.toml")})

    settings: Settings
    demo: DemoState | None

    def __init__(self) -> None:
        super().__init__()
        self.overrides: list[str] = []

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
            self.demo = DemoState.prepare(page_url(settings)) if self["demo"] else None
        except (ConfigError, DemoUnavailable) as error:
            print(f"callcenter-ws cannot start:\n{error}", file=sys.stderr)
            sys.exit(1)
        self.settings = settings if self.demo is None else demo_settings(settings, self.demo)


def makeService(options: Options) -> GatewayService:
    """Return the gateway, wired and ready to start."""
    from twisted.internet import reactor

    service = GatewayService(reactor, options.settings, demo=options.demo)
    _tune_collector()
    reactor.callWhenRunning(_survive_hangup, reactor)
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


def _survive_hangup(reactor: Any) -> None:
    """SIGHUP is what a closed terminal and many scripts send; by default it would end the process without a word."""
    text = "SIGHUP: this version reloads nothing; restart it to take new settings or certificates"
    signal.signal(signal.SIGHUP, lambda number, frame: reactor.callFromThread(_log.warn, text))


def _announce(demo: DemoState) -> None:
    """Say where the demo is: to the commands of its user, and to the person at the terminal."""
    try:
        demo.record()
    except DemoUnavailable as error:
        _log.critical("callcenter-ws token, emit and tail will not find this demo: {reason}", reason=error)
    # By now twistd would log what is printed.
    print(announcement(demo, ready_made_tokens(demo, time.time())), file=sys.__stdout__, flush=True)
