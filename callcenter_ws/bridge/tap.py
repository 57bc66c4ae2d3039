"""The plugin of ``twistd callcenter-bridge``: its command line and the service that it runs."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import cast

from twisted.application.service import Service
from twisted.python import usage

from callcenter_ws import __version__
from callcenter_ws.bridge.load import load
from callcenter_ws.bridge.metrics import metrics_site
from callcenter_ws.bridge.reload import BridgeReload
from callcenter_ws.bridge.service import BridgeService
from callcenter_ws.bridge.settings import BridgeSettings
from callcenter_ws.runtime.garbage_collector import tune_garbage_collector
from callcenter_ws.runtime.listener import Listener, with_private_mode
from callcenter_ws.runtime.log_output import LogLevelFilter, log_observer
from callcenter_ws.runtime.logged_service import LoggedService
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.service_manager import NotifySocket, ServiceReports
from callcenter_ws.runtime.setting_problems import ConfigError
from callcenter_ws.runtime.signal_calls import call_on_signal
from callcenter_ws.runtime.stop_signals import StopSignals

STOP_MARGIN_SECONDS = 20.0
"""Seconds that a stop may take longer than ``gateway.stop_timeout`` before the process counts as stuck."""


class Options(usage.Options):
    """The command line of the plugin."""

    synopsis = "--config FILE [--set SECTION.KEY=VALUE]..."
    longdesc = "Connects to telephone exchanges, and publishes their calls, queues and agents as events of a gateway."
    optParameters = [  # noqa: RUF012 - Twisted's name and form
        ["config", "c", None, "TOML file with the settings (see etc/bridge.toml)."],
    ]
    compData = usage.Completions(optActions={"config": usage.CompleteFiles("*.toml")})

    settings: BridgeSettings

    def __init__(self) -> None:
        super().__init__()
        self.overrides: list[str] = []
        # twistd may change the current folder later; relative paths in --config and --set start in this one.
        self.folder = Path.cwd()
        self.environ = dict(os.environ)

    def opt_set(self, assignment: str) -> None:
        """Override one setting, such as sources.pbx1.endpoint=tcp:pbx:5038. May be given several times."""
        self.overrides.append(assignment)

    opt_s = opt_set

    def opt_version(self) -> None:
        """Print the version of callcenter-ws and exit."""
        print(f"callcenter-ws {__version__}")
        sys.exit(0)

    def postOptions(self) -> None:
        """Load the settings; print every problem with them and exit with status 1 if there is one."""
        if self["config"] is None:
            raise usage.UsageError("--config FILE is required; etc/bridge.toml is an example")
        try:
            self.settings = self.load_settings()
        except ConfigError as error:
            print(f"callcenter-bridge cannot start:\n{error}", file=sys.stderr)
            sys.exit(1)

    def load_settings(self) -> BridgeSettings:
        """Return the settings, read again.

        Raises:
            ConfigError: with all problems.
        """
        path = Path(self["config"])
        return load(path, overrides=self.overrides, environ=self.environ, folder=self.folder)


def makeService(options: Options) -> Service:
    """Return the bridge service with what operators ask of it by signals, ready to start."""
    from twisted.internet import reactor as installed_reactor

    # Twisted declares fewer interfaces for it than the reactors of Unix implement.
    reactor = cast(Reactor, installed_reactor)
    settings = options.settings
    twistd = getattr(options, "parent", None)
    lowest = LogLevelFilter(settings.log.level)
    # Before the observer is made: else it would rotate its file at this signal.
    service = BridgeService(settings, reactor)
    call_on_signal(reactor, signal.SIGUSR1, service.audit)
    observer = None if twistd is None else log_observer(settings.log, twistd, reactor, lowest)
    reports = ServiceReports(
        reactor,
        NotifySocket.pop(os.environ, os.getpid()),
        service.status,
        lambda: settings.gateway.stop_timeout + STOP_MARGIN_SECONDS,
    )
    reload = BridgeReload(service, options.load_settings, lowest.set, time.time)
    call_on_signal(reactor, signal.SIGHUP, lambda: _reload(reload, reports))
    reactor.callWhenRunning(StopSignals(reactor, lambda: service.is_stopping, service.stop_now).install)
    if settings.metrics.listen is not None:
        endpoint = with_private_mode(settings.metrics.listen)
        site = metrics_site(service, reload)
        Listener(reactor, endpoint, site, setting="metrics.listen").setServiceParent(service)
    logged = LoggedService(service, observer)
    reports.setServiceParent(logged)
    # The process is the bridge's own.
    tune_garbage_collector()
    return logged


def _reload(reload: BridgeReload, reports: ServiceReports) -> None:
    with reports.reload():
        reload.run()
