"""The service of one source, for every kind of exchange: its connection, and its link to the gateway with the spool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from callcenter_ws.bridge.counters import SourceCounters
from callcenter_ws.bridge.dropped_log import DroppedLog
from callcenter_ws.bridge.exchange_connection import ExchangeConnection
from callcenter_ws.bridge.gateway_link import GatewayLink, tenants_of
from callcenter_ws.bridge.health import SourceHealth
from callcenter_ws.bridge.kinds import KINDS
from callcenter_ws.bridge.loss import Loss, LostReason
from callcenter_ws.bridge.outgoing import Unit
from callcenter_ws.bridge.settings import GatewaySettings, SourceSettings
from callcenter_ws.bridge.traffic import Traffic
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import OutcomeCode
from callcenter_ws.remote import Command, CommandFailed, EventBroadcaster, SpoolUnusable
from callcenter_ws.remote.retry_log import RetryLog
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.runtime.log_fields import reason_of
from callcenter_ws.runtime.slicer import Slicer

SPOOL_RETRY_SECONDS = 15.0
"""The delay until a spool that cannot be opened is tried again: its disk may be full, or an earlier process may use it
for a moment."""

_log = Logger()


class ExchangeService(Service):
    """Publishes what happens at one exchange.

    Args:
        reactor: as for ``EventBroadcaster``.
        slicer: divides the work of all exchanges over turns of the reactor.
        token: returns what to authenticate with at the gateway; None on a unix socket that needs nothing.
        secret: that of the user of the exchange.

    Attributes:
        settings: those in use; a reload replaces them.
        secret: as given; a reload replaces it.
        problem: why the spool cannot be used; empty if it can.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        clock: Clock,
        slicer: Slicer,
        gateway: GatewaySettings,
        settings: SourceSettings,
        token: Callable[[], str] | None,
        secret: str,
    ) -> None:
        self.settings = settings
        self.secret = secret
        self.problem = ""
        self.counters = SourceCounters()
        self._reactor = reactor
        self._clock = clock
        self._slicer = slicer
        self._gateway = gateway
        self._token = token
        self._log = RetryLog(clock)
        self._dropped = DroppedLog(settings.name)
        self._link = self._new_link()
        self._connection: ExchangeConnection | None = None
        # Of connections that were given up.
        self._traffic = Traffic()
        self._unmatched: Counter[str] = Counter()
        self._over_limit: Counter[str] = Counter()
        self._strays: Counter[str] = Counter()
        self._retry: Timer | None = None
        self._relinking: Deferred[None] | None = None

    @property
    def health(self) -> SourceHealth:
        """Whether the source is up."""
        return self._link.health

    @property
    def broadcaster(self) -> EventBroadcaster:
        """The connection to the gateway, with the spool."""
        return self._link.broadcaster

    @property
    def traffic(self) -> Traffic:
        """What came from the exchange since the start of the process."""
        return self._traffic if self._connection is None else self._traffic.plus(self._connection.traffic)

    @property
    def unmatched(self) -> Mapping[str, int]:
        """What had no tenant, and was dropped, by kind."""
        present = {} if self._connection is None else self._connection.unmatched
        return Counter(self._unmatched) + Counter(present)

    @property
    def strays(self) -> Mapping[str, int]:
        """Events of the exchange about calls whose beginning was not seen, by name."""
        present = {} if self._connection is None else self._connection.strays
        return Counter(self._strays) + Counter(present)

    @property
    def over_limit(self) -> Mapping[str, int]:
        """What was not taken because of a limit, as a full table of calls, agents or members, by kind."""
        present = {} if self._connection is None else self._connection.over_limit
        return Counter(self._over_limit) + Counter(present)

    # Service

    def startService(self) -> None:
        """Open the spool, and connect to gateway and exchange. A spool that cannot be opened is tried again."""
        super().startService()
        self._open()

    def stopService(self) -> Deferred[None]:
        """Leave the exchange, and send what is left in the spool, within ``gateway.stop_timeout``."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def stop_now(self) -> None:
        """Do not wait for the gateway any more, in a stop that has begun."""
        self.broadcaster.stop_now()

    def audit(self) -> None:
        """Compare what is known with the lists of the exchange now."""
        if self._connection is not None:
            self._connection.audit()

    def use(self, settings: SourceSettings, secret: str) -> None:
        """Use other settings and another secret from now on: what a reload changes in place."""
        is_other_secret = secret != self.secret
        is_switched = settings.commands.enabled is not self.settings.commands.enabled
        self.settings, self.secret = settings, secret
        if tenants_of(settings) != self.health.tenants:
            # ``Hello`` names the tenants of a source, once for each connection.
            self._relinking = Deferred.fromCoroutine(self._relink(self._relinking))
        else:
            if self._connection is not None:
                self._link.send(self._connection.reload(settings, self._clock.time()))
            if is_switched or (is_other_secret and self.health.is_up is False):
                # Commands need events of the exchange that are not asked for without them.
                spawn(self._reconnect())

    async def _relink(self, earlier: Deferred[None] | None) -> None:
        """Reconnect to gateway and exchange, with other tenants. What is in the spool stays there."""
        if earlier is not None:
            await earlier
        self._cancel_retry()
        await self._disconnect()
        await self._link.close()
        self._link = self._new_link()
        if self.running:
            self._open()

    async def _stop(self) -> None:
        if self._relinking is not None:
            await self._relinking
        self._cancel_retry()
        await self._disconnect()
        await self._link.close()

    def _new_link(self) -> GatewayLink:
        return GatewayLink(
            self._reactor,
            self._clock,
            self._gateway,
            self.settings,
            self._token,
            self.counters,
            self._leave,
            self._carry_out,
        )

    def _open(self) -> None:
        self._retry = None
        try:
            self._link.open()
        except SpoolUnusable as error:
            self._note_unusable(str(error))
        except OSError as error:
            self._note_unusable(f"cannot make the folder {self._gateway.spool}: {error.strerror}")
        else:
            self.problem = ""
            self._connect()

    def _note_unusable(self, reason: str) -> None:
        if reason != self.problem:
            _log.critical(
                "source {source}: its spool cannot be used, and nothing is sent: {reason}. It is tried again",
                source=self.settings.name,
                reason=reason,
            )
        self.problem = reason
        self._retry = self._clock.call_later(SPOOL_RETRY_SECONDS, self._open)

    # The exchange

    def _connect(self) -> None:
        """Connect to the exchange, with a state machine that continues from what the spool has."""
        if not self.settings.commands.enabled:
            self._link.can_do(())
        self._connection = KINDS[self.settings.kind](
            self._reactor,
            self._clock,
            self._slicer,
            self.settings,
            lambda: self.secret,
            self.broadcaster.records,
            self._dropped.report,
            self,
        )
        self._connection.start()

    async def _disconnect(self) -> None:
        connection = self._give_up()
        if connection is not None:
            await connection.stop()

    def _give_up(self) -> ExchangeConnection | None:
        """Use the connection and its machine no more, and return the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._traffic.add(connection.traffic)
            self._unmatched.update(connection.unmatched)
            self._over_limit.update(connection.over_limit)
            self._strays.update(connection.strays)
        return connection

    def _cancel_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    async def _reconnect(self) -> None:
        await self._disconnect()
        if self.running and self._link.is_open and self._connection is None:
            self._connect()

    # ExchangeListener

    def logged_in(self) -> None:
        """Note that the exchange has accepted the login; it is not synchronized yet."""

    def handle_unit(self, unit: Unit) -> None:
        """Send and store what the machine has made."""
        if self._connection is not None:
            self._link.send(unit)

    def synchronized(self, version: str, boot: str) -> None:
        """Note that the machine knows the state of the exchange."""
        if self._connection is None:
            # What it knows could not be stored.
            return
        self.counters.resyncs += 1
        product = f"{self._connection.product} {version}"
        self._log.succeeded(
            f"source {self.settings.name}: connected to {product}, running since {boot}; its state is known"
        )
        self._link.send(self.health.synchronized(version))

    def lost(self, loss: Loss, retry_seconds: float) -> None:
        """Note that there is no session, and when the next attempt is."""
        if self._connection is None:
            return
        self.counters.count_loss(loss.reason)
        level = LogLevel.error if loss.needs_operator else LogLevel.warn
        self._log.failed(f"source {self.settings.name}: no exchange: {loss.text}", retry_seconds, level=level)
        self._link.send(self.health.lost(loss.reason))
        if loss.reason is LostReason.PROTOCOL_ERROR:
            # The machine may have met a bug. A new one continues from what was stored.
            self._cancel_retry()
            self._retry = self._clock.call_later(retry_seconds, lambda: spawn(self._reconnect()))

    def can_do(self, names: Collection[str]) -> None:
        """Declare the commands that the exchange can carry out."""
        if self._connection is not None:
            self._link.can_do(names)

    async def _carry_out(self, command: Command) -> JsonObject | None:
        try:
            if self._connection is None:
                raise CommandFailed(OutcomeCode.SOURCE_DOWN, "the exchange is not connected")
            data = await self._connection.carry_out(command)
        except CommandFailed as failure:
            self.counters.count_command(failure.code.value)
            raise
        self.counters.count_command("done")
        return data

    # Sending

    def _leave(self, refusal: Refusal) -> None:
        """Leave the exchange: what it says cannot be stored. The machine is given up, for it knows more than the spool.

        When there is room again, a new machine continues from the spool, and the lists of the exchange say what has
        happened meanwhile.
        """
        if self._connection is None or not self.running:
            return
        self.counters.pauses += 1
        connection = self._give_up()
        self.health.lost(LostReason.OVERLOADED)
        # Not within a call of the connection.
        if connection is not None:
            self._clock.call_later(0, lambda: spawn(connection.stop()))
        if refusal.code is ErrorCode.OVERLOADED:
            _log.error(
                "source {source}: the spool is full: {reason}. The exchange is left until the gateway has taken a half",
                source=self.settings.name,
                reason=reason_of(refusal.message),
            )
            self.broadcaster.when_room().addCallback(lambda _: self._return())
        else:
            _log.critical(
                "source {source}: nothing can be sent any more, and the exchange is left: {reason}. Restart the bridge",
                source=self.settings.name,
                reason=reason_of(refusal.message),
            )

    def _return(self) -> None:
        if self.running and self._link.is_open and self._connection is None:
            _log.info("source {source}: the spool has room again", source=self.settings.name)
            self._connect()
