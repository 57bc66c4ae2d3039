"""The link of one source to the gateway: its spool, its units, and whether the source is up."""

from __future__ import annotations

from collections.abc import Callable, Collection

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws import __version__
from callcenter_ws.bridge.counters import SourceCounters
from callcenter_ws.bridge.declared_commands import CarryOut, DeclaredCommands
from callcenter_ws.bridge.health import SourceHealth
from callcenter_ws.bridge.outgoing import Unit
from callcenter_ws.bridge.settings import GatewaySettings, SourceSettings
from callcenter_ws.bridge.unit_sender import UnitSender
from callcenter_ws.errors import Refusal
from callcenter_ws.remote import EventBroadcaster, LinkState
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.log_fields import reason_of

_SCOPES = ("calls", "members", "agents")
"""What a bridge tells the gateway of."""

_log = Logger()


class GatewayLink:
    """Sends the units of one source through its spool.

    Args:
        reactor: as for ``EventBroadcaster``.
        token: returns what to authenticate with; None on a unix socket that needs nothing.
        refused: called when a unit cannot be kept: there is no room, or the source is another's.
        carry_out: carries out the commands that are declared.

    Attributes:
        health: whether the source is up, for each of its tenants.
        broadcaster: the connection to the gateway, with the spool.
        is_open: whether units can be sent.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        clock: Clock,
        gateway: GatewaySettings,
        settings: SourceSettings,
        token: Callable[[], str] | None,
        counters: SourceCounters,
        refused: Callable[[Refusal], None],
        carry_out: CarryOut,
    ) -> None:
        self._gateway = gateway
        self._source = settings.name
        self._refused = refused
        self._is_linked = False
        self.is_open = False
        self.health = SourceHealth(settings.name, settings.kind, tenants_of(settings), clock.time)
        self.broadcaster = EventBroadcaster(
            gateway.endpoint.text,
            reactor,
            token=token,
            buffer=gateway.buffer,
            stop_timeout=gateway.stop_timeout,
            spool=gateway.spool / f"{settings.name}.spool",
            spool_refused=lambda event, refusal: self._sender.refused(event, refusal),
            source=settings.name,
            kind=settings.kind,
            tenants=self.health.tenants,
            capabilities=["health"],
            version=__version__,
            state_changed=self._link_changed,
        )
        self._sender = UnitSender(self.broadcaster, settings.name, counters, clock.time)
        self._commands = DeclaredCommands(self.broadcaster, carry_out)

    def open(self) -> None:
        """Open the spool, and connect to the gateway.

        Raises:
            SpoolUnusable: see ``EventBroadcaster.startService``.
            OSError: the folder cannot be made.
        """
        # For this user only.
        self._gateway.spool.mkdir(mode=0o700, exist_ok=True)
        self.broadcaster.startService()
        self.is_open = True
        if not self.broadcaster.records:
            self._forget()
        self._commands.restore()

    async def close(self) -> None:
        """Send what is left, within ``gateway.stop_timeout``; the rest stays in the spool."""
        if not self.is_open:
            return
        self.is_open = False
        if self.broadcaster.state is not LinkState.CONNECTED:
            # What is in the spool is not lost, and waiting for the gateway would delay a restart.
            self.broadcaster.stop_now()
        await self.broadcaster.stopService()

    def send(self, unit: Unit) -> None:
        """Send a unit; calls ``refused`` if it cannot be kept."""
        if not unit.events and not unit.records:
            return
        try:
            self._sender.send(unit)
        except Refusal as refusal:
            self._refused(refusal)

    def can_do(self, names: Collection[str]) -> None:
        """Declare the commands that the exchange can carry out."""
        if self.is_open:
            self.send(self._commands.declare(names))

    def _link_changed(self, state: LinkState, reason: str) -> None:
        was_linked, self._is_linked = self._is_linked, state is LinkState.CONNECTED
        if was_linked and not self._is_linked:
            self.health.link_lost()
        elif self._is_linked and self.is_open:
            self.send(self.health.link_connected())

    def _forget(self) -> None:
        """Have the gateway end what an earlier spool of this source left there: nothing of it is known any more.

        What exists on the exchange is introduced after that. Of a source that is new there is nothing to end.
        """
        for tenant in self.health.tenants:
            for scope in _SCOPES:
                self.broadcaster.sync_state(tenant, scope, []).addErrback(self._not_forgotten)

    def _not_forgotten(self, failure: Failure) -> None:
        refusal = failure.value
        # During a stop it stays in the spool.
        if isinstance(refusal, Refusal) and self.is_open:
            _log.error(
                "source {source}: the gateway did not end what an earlier spool had left: {reason}",
                source=self._source,
                reason=reason_of(refusal.message),
            )


def tenants_of(settings: SourceSettings) -> tuple[str, ...]:
    """Return all tenants that the rules of a source can give, in their order."""
    named = (*(rule.tenant for rule in settings.tenants), settings.tenant)
    return tuple(dict.fromkeys(tenant for tenant in named if tenant))
