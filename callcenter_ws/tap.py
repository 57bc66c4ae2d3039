"""The plugin of ``twistd callcenter-ws``: its command line and the service that it runs.

It joins the gateway, the supervisor of workers and the demo. The gateway imports nothing of the demo.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from pathlib import Path
from typing import cast

from twisted.application.service import Service
from twisted.logger import Logger
from twisted.python import usage

from callcenter_ws import __version__
from callcenter_ws.config.settings import Settings
from callcenter_ws.config.source import SettingsSource
from callcenter_ws.control.messages import Operations
from callcenter_ws.control.reloads import ProcessOperations
from callcenter_ws.control.server import ControlledService
from callcenter_ws.demo.service import SimulatorProcess
from callcenter_ws.demo.settings import demo_settings, page_hosts, page_url
from callcenter_ws.demo.state import EXCHANGE, SIMULATOR, DemoState, DemoUnavailable
from callcenter_ws.demo.tokens import announcement, demo_subjects, ready_made_tokens
from callcenter_ws.gateway.descriptors import raise_descriptor_limit
from callcenter_ws.gateway.reload import GatewayReload
from callcenter_ws.gateway.service import STOP_MARGIN_SECONDS, GatewayService
from callcenter_ws.http.session import DemoSignIn
from callcenter_ws.ops.reload_outcome import RecordedReload
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.garbage_collector import tune_garbage_collector
from callcenter_ws.runtime.log_output import LogLevelFilter, log_observer
from callcenter_ws.runtime.logged_service import LoggedService
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.service_manager import NotifySocket, ServiceReports
from callcenter_ws.runtime.setting_problems import ConfigError, Problem
from callcenter_ws.runtime.signal_calls import call_on_signal
from callcenter_ws.runtime.stop_signals import StopSignals
from callcenter_ws.workers import worker_options
from callcenter_ws.workers.handoff import WorkerHandoff, listen_endpoints
from callcenter_ws.workers.node_settings import NodeSettings
from callcenter_ws.workers.supervisor import Supervisor
from callcenter_ws.workers.worker_reload import WorkerReload

_log = Logger()


class Options(usage.Options):
    """The command line of the plugin."""

    synopsis = "[--config FILE] [--set SECTION.KEY=VALUE]... [--workers N | --demo [--exchange]]"
    longdesc = "A real-time event gateway for call centers: events in over AMP, out over WebSocket."
    optParameters = [  # noqa: RUF012 - Twisted's name and form
        ["config", "c", None, "TOML file with the settings (see etc/callcenter-ws.toml)."],
        ["workers", "w", None, "Number of worker processes; auto: one for each processor. Needs a Redis store."],
    ]
    optFlags = [  # noqa: RUF012 - Twisted's name and form
        ["demo", None, "Run with a development secret, a simulated call center, and pages that show it."],
        ["exchange", None, "With --demo: a bridge to a played Asterisk in place of the simulated call center."],
    ]
    compData = usage.Completions(optActions={"config": usage.CompleteFiles("*.toml")})

    settings: Settings
    source: SettingsSource
    content: bytes | None
    demo: DemoState | None
    worker_count: int | None
    handoff: WorkerHandoff | None

    def __init__(self) -> None:
        super().__init__()
        self.overrides: list[str] = []
        # twistd may change the current folder later; relative paths in --config and --set start in this one.
        self.folder = Path.cwd()

    def opt_set(self, assignment: str) -> None:
        """Override one setting, such as web.demo=true. May be given several times."""
        self.overrides.append(assignment)

    opt_s = opt_set

    def opt_version(self) -> None:
        """Print the version of callcenter-ws and exit."""
        print(f"callcenter-ws {__version__}")
        sys.exit(0)

    def postOptions(self) -> None:
        """Load the settings; print every problem with them and exit with status 1 if there is one."""
        if self["exchange"] and not self["demo"]:
            raise usage.UsageError("--exchange needs --demo")
        path = None if self["config"] is None else Path(self["config"])
        self.handoff = WorkerHandoff.pop(os.environ)
        self.source = SettingsSource(
            path, self.overrides, dict(os.environ), demo=bool(self["demo"]), folder=self.folder
        )
        self.demo = None
        try:
            self._use_handoff()
            self.content = self.source.read()
            settings = self.source.load(self.content)
            self._set_workers(settings)
            if self["demo"]:
                self.demo = DemoState.prepare(page_url(settings), sender=EXCHANGE if self["exchange"] else SIMULATOR)
        except (ConfigError, DemoUnavailable, worker_options.WorkersRefused) as error:
            print(f"callcenter-ws cannot start:\n{error}", file=sys.stderr)
            sys.exit(1)
        self.settings = self._complete(settings)

    def load_settings(self) -> Settings:
        """Return the settings, read again.

        Raises:
            ConfigError: with all problems.
        """
        return self._complete(self.source.load())

    def _complete(self, settings: Settings) -> Settings:
        return settings if self.demo is None else demo_settings(settings, self.demo)

    def _use_handoff(self) -> None:
        """Have a worker read the settings that its siblings use."""
        if self.handoff is not None and self.handoff.settings:
            self.source.copy = Path(self.handoff.settings)
        if self.handoff is not None:
            self.source.pinned = self.handoff.pinned

    def _set_workers(self, settings: Settings) -> None:
        self.worker_count = None
        if self.handoff is not None:
            missing = ", ".join(map(str, self.handoff.missing(settings)))
            if missing:
                raise worker_options.WorkersRefused(
                    f"the supervisor does not listen on {missing}: restart it for new endpoints"
                )
        elif self["workers"] is not None:
            self.worker_count = worker_options.worker_count(self["workers"])
            worker_options.check_settings(settings, demo=bool(self["demo"]))


def makeService(options: Options) -> Service:
    """Return the gateway service, or with ``--workers`` the supervisor, ready to start."""
    from twisted.internet import reactor as installed_reactor

    # Twisted declares fewer interfaces for it than the reactors of Unix implement.
    reactor = cast(Reactor, installed_reactor)
    twistd = getattr(options, "parent", None)
    lowest = LogLevelFilter(options.settings.log.level)
    observer = None if twistd is None else log_observer(options.settings.log, twistd, reactor, lowest)
    # Before the environment is copied for workers.
    notify = NotifySocket.pop(os.environ, os.getpid())
    service = _service(reactor, options, lowest)
    reports = ServiceReports(
        reactor, notify, service.status, lambda: _stop_timeout(getattr(service, "settings", options.settings))
    )
    logged = LoggedService(_controlled(reactor, options, service, lowest, reports), observer)
    reports.setServiceParent(logged)
    return logged


def _stop_timeout(settings: Settings) -> float:
    return settings.limits.drain_timeout + STOP_MARGIN_SECONDS


def _service(reactor: Reactor, options: Options, lowest: LogLevelFilter) -> GatewayService | Supervisor:
    if options.worker_count is not None:
        return _supervisor(reactor, options, options.worker_count, lowest)
    raise_descriptor_limit()
    service = _gateway(reactor, options)
    tune_garbage_collector()
    if options.handoff is None:
        reactor.callWhenRunning(StopSignals(reactor, lambda: service.is_stopping, service.stop_now).install)
    return service


def _controlled(
    reactor: Reactor,
    options: Options,
    service: GatewayService | Supervisor,
    lowest: LogLevelFilter,
    reports: ServiceReports,
) -> Service:
    """Return the service with what operators ask of it: reloads, by the control socket and by SIGHUP."""
    operations: Operations
    if isinstance(service, Supervisor):
        service.around_reload = reports.reload
        on_hangup, operations = service.replace_workers, service
    else:
        reload = _reload(service, options, lowest)
        if service.worker is not None:
            service.worker.reload = WorkerReload(options.source, reload, reload.refused)
            text = "SIGHUP: this is a worker; send it to the supervisor, which replaces all workers"
            call_on_signal(reactor, signal.SIGHUP, lambda: _log.warn(text))
            return service
        operations = ProcessOperations(reload, service.parts.health, ReactorClock(reactor), spawn, reports.reload)
        on_hangup = operations.request_reload
    call_on_signal(reactor, signal.SIGHUP, on_hangup)
    return ControlledService(reactor, service, operations, options.settings.control_socket)


def _gateway(reactor: Reactor, options: Options) -> GatewayService:
    settings, demo = options.settings, options.demo
    sign_in = None if demo is None else DemoSignIn(demo_subjects(demo), page_hosts(demo.url), demo.sender)
    service = GatewayService(reactor, settings, handoff=options.handoff, demo=sign_in)
    if demo is not None:
        _sender(reactor, demo).setServiceParent(service)
        # After the start: a port that cannot be opened ends the start, and then no address must be announced.
        reactor.callWhenRunning(_announce, demo)
    return service


def _sender(reactor: Reactor, demo: DemoState) -> SimulatorProcess:
    """Return what publishes the events of the demo."""
    if demo.sender == SIMULATOR:
        return SimulatorProcess(reactor, demo.amp_endpoint, demo.tenant)
    folder = str(demo.exchange_folder)
    return SimulatorProcess(
        reactor, demo.amp_endpoint, demo.tenant, "--folder", folder, module="callcenter_ws.demo.exchange"
    )


def _reload(service: GatewayService, options: Options, lowest: LogLevelFilter) -> RecordedReload:
    """Return what loads the settings of a gateway again, and counts the outcome for the metrics."""
    return RecordedReload(GatewayReload(service, options.load_settings, lowest.set), service.reload_outcome, time.time)


def _supervisor(reactor: Reactor, options: Options, count: int, lowest: LogLevelFilter) -> Supervisor:
    settings = options.settings

    def use(used: Settings) -> None:
        supervisor.set_stop_timeout(_stop_timeout(used))
        lowest.set(used.log.level)

    supervisor = Supervisor(
        reactor,
        worker_options.worker_command(options["config"], options.overrides),
        NodeSettings(options.source, options.content, settings, check=_check_for_workers, use=use),
        listen_endpoints(settings),
        count,
        stop_timeout=_stop_timeout(settings),
        unusable=lambda: _end_with_failure(reactor),
        environ=dict(os.environ),
        folder=str(options.folder),
    )
    reactor.callWhenRunning(StopSignals(reactor, lambda: not supervisor.running, supervisor.stop_now).install)
    return supervisor


def _check_for_workers(settings: Settings) -> None:
    try:
        worker_options.check_settings(settings, demo=False)
    except worker_options.WorkersRefused as error:
        raise ConfigError([Problem("", "", str(error))]) from None


def _end_with_failure(reactor: Reactor) -> None:
    """Stop the reactor and exit with status 1; twistd itself always exits with 0 once the reactor has run."""
    atexit.register(os._exit, 1)
    # The reactor may not run yet, and then cannot be stopped.
    reactor.callWhenRunning(reactor.stop)


def _announce(demo: DemoState) -> None:
    """Record the demo's addresses for the commands of this user, and print them to the terminal."""
    try:
        demo.record()
    except DemoUnavailable as error:
        _log.critical("callcenter-ws token, emit and tail will not find this demo: {reason}", reason=error)
    # twistd has replaced sys.stdout: what is printed to it goes to the log.
    print(announcement(demo, ready_made_tokens(demo, time.time())), file=sys.__stdout__, flush=True)
