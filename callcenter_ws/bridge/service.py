"""BridgeService: the exchanges of one bridge, for ``twistd callcenter-bridge`` and for other Twisted programs."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from callcenter_ws import __version__
from callcenter_ws.bridge.exchange import ExchangeService
from callcenter_ws.bridge.secrets import BridgeSecrets
from callcenter_ws.bridge.settings import BridgeSettings
from callcenter_ws.bridge.summary import summary_of
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.service_manager import ServiceStatus
from callcenter_ws.runtime.slicer import Slicer

_log = Logger()


class BridgeService(MultiService):
    """Connects to exchanges, and publishes what happens there.

    It is a Twisted service, for use in any program::

        from callcenter_ws.bridge.load import load
        from callcenter_ws.bridge.service import BridgeService

        bridge = BridgeService(load(Path("bridge.toml")), reactor)
        bridge.setServiceParent(application)

    It starts without the gateway and without the exchanges, and connects to each of them as soon as it can. A source
    that fails does not disturb the others. Once it is started, the service must be stopped before the program ends;
    what the gateway has not taken until then stays in the spools.

    Args:
        reactor: the reactor of the program.

    Attributes:
        settings: those in use; a reload replaces them.
        secrets: those in use; a reload replaces them.
        exchanges: the services of the sources, in the order of the settings.
        is_stopping: whether the stop has begun.

    Raises:
        ConfigError: a file with a secret cannot be read any more.
    """

    def __init__(self, settings: BridgeSettings, reactor: IReactorTime) -> None:
        super().__init__()
        self.settings = settings
        self.secrets = BridgeSecrets.read(settings)
        self.is_stopping = False
        self._reactor = reactor
        self._summary: IDelayedCall | None = None
        clock = ReactorClock(reactor)
        slicer = Slicer(clock)
        token = self._token if self.secrets.token is not None else None
        self.exchanges = [
            ExchangeService(
                reactor, clock, slicer, settings.gateway, source, token, self.secrets.of_sources[source.name]
            )
            for source in settings.sources
        ]
        for exchange in self.exchanges:
            exchange.setServiceParent(self)

    def _token(self) -> str:
        return self.secrets.token or ""

    def startService(self) -> None:
        """Open the spools, and connect."""
        for warning in self.settings.warnings:
            _log.warn("settings: {warning}", warning=warning)
        _log.info(
            "callcenter-bridge {version}: {sources}; events are sent to {gateway}",
            version=__version__,
            sources=", ".join(f"{source.name} at {source.endpoint}" for source in self.settings.sources),
            gateway=self.settings.gateway.endpoint,
        )
        super().startService()
        self._summary = self._reactor.callLater(self.settings.log.summary_interval, self._log_summary)

    def stopService(self) -> Deferred[None]:
        """Leave the exchanges, and send what is left, within ``gateway.stop_timeout``. The rest stays in the spools."""
        self.is_stopping = True
        if self._summary is not None and self._summary.active():
            self._summary.cancel()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        stopped = super().stopService()
        if stopped is not None:
            await stopped
        for exchange in self.exchanges:
            self._log_counters(exchange)

    def stop_now(self) -> None:
        """Do not wait for the gateway any more, in a stop that has begun or is about to begin."""
        for exchange in self.exchanges:
            exchange.stop_now()

    def use(self, settings: BridgeSettings, secrets: BridgeSecrets) -> None:
        """Use other settings of the same sources, and other secrets, from now on."""
        self.settings, self.secrets = settings, secrets
        for exchange, source in zip(self.exchanges, settings.sources, strict=True):
            exchange.use(source, secrets.of_sources[source.name])

    def audit(self) -> None:
        """Compare what is known with the lists of all exchanges now."""
        _log.info("all exchanges are asked for their lists")
        for exchange in self.exchanges:
            exchange.audit()

    def status(self) -> ServiceStatus:
        """Return the status for the service manager: it serves once all exchanges are known."""
        if self.is_stopping:
            return ServiceStatus(False, f"stops; {sum(self._waiting())} events wait")
        texts = [_state_of(exchange) for exchange in self.exchanges]
        serves = all(exchange.health.is_up for exchange in self.exchanges)
        link = self.exchanges[0].broadcaster
        gateway = f"gateway: {link.state}{f' ({link.state_reason})' if link.state_reason else ''}"
        return ServiceStatus(serves, "; ".join([*texts, gateway, f"{sum(self._waiting())} events wait"]))

    def _waiting(self) -> Iterator[int]:
        return (exchange.broadcaster.unacknowledged for exchange in self.exchanges)

    def _log_summary(self) -> None:
        self._summary = self._reactor.callLater(self.settings.log.summary_interval, self._log_summary)
        for exchange in self.exchanges:
            self._log_counters(exchange)

    def _log_counters(self, exchange: ExchangeService) -> None:
        _log.info("source {source}: {summary}", source=exchange.settings.name, summary=summary_of(exchange))


def _state_of(exchange: ExchangeService) -> str:
    name, health = exchange.settings.name, exchange.health
    if exchange.problem:
        return f"{name}: no spool"
    if health.is_up:
        return f"{name}: up"
    return f"{name}: {'connecting' if health.is_up is None else f'down ({health.reason})'}"
