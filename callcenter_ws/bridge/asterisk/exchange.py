"""One Asterisk: the connection to its manager interface together with its state machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from twisted.internet.endpoints import clientFromString
from twisted.internet.interfaces import IReactorTime

from callcenter_ws.bridge.asterisk.commands.catalogue import PROOFS
from callcenter_ws.bridge.asterisk.commands.executor import CommandExecutor
from callcenter_ws.bridge.asterisk.connection import AmiConnection
from callcenter_ws.bridge.asterisk.login import credentials_of
from callcenter_ws.bridge.asterisk.machine import AsteriskMachine
from callcenter_ws.bridge.exchange_connection import ExchangeListener
from callcenter_ws.bridge.outgoing import Unit
from callcenter_ws.bridge.settings import SourceSettings
from callcenter_ws.bridge.tenants import Report
from callcenter_ws.bridge.traffic import Traffic
from callcenter_ws.events.commands import OutcomeCode
from callcenter_ws.remote import Command, CommandFailed
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.runtime.slicer import Slicer


class AsteriskConnection:
    """Keeps a session with one Asterisk, and translates its events. The arguments are those of ``NewConnection``."""

    product = "Asterisk"

    def __init__(
        self,
        reactor: IReactorTime,
        clock: Clock,
        slicer: Slicer,
        settings: SourceSettings,
        secret: Callable[[], str],
        records: Mapping[str, bytes],
        report: Report,
        listener: ExchangeListener,
    ) -> None:
        is_commanded = settings.commands.enabled
        self._machine = AsteriskMachine(settings, records, report, observed=PROOFS if is_commanded else frozenset())
        self._connection = AmiConnection(
            clientFromString(reactor, settings.endpoint.text),
            reactor,
            clock,
            slicer,
            lambda: credentials_of(settings, secret()),
            self._machine,
            listener,
            wanted=self._machine.wanted,
            ping_interval=settings.ping_interval,
            audit_interval=settings.audit_interval,
        )
        self._commands: CommandExecutor | None = None
        if is_commanded:
            connection = self._connection
            self._commands = CommandExecutor(
                self._machine, settings, clock, listener.can_do, connection.handled, connection.flush
            )
            connection.user = self._commands.runner

    def start(self) -> None:
        """Connect, and reconnect until ``stop``."""
        self._connection.start()

    async def stop(self) -> None:
        """End the session, and do not reconnect. The listener receives nothing more."""
        await self._connection.stop()

    def audit(self) -> None:
        """Compare what is known with the exchange's lists now, or as soon as there is a session."""
        self._connection.audit()

    def reload(self, settings: SourceSettings, time: float) -> Unit:
        """Use other settings, of those that a reload changes in place; return what follows from them."""
        self._machine.reload(settings, time)
        if self._commands is not None:
            self._commands.use(settings)
        return self._machine.take()

    async def carry_out(self, command: Command) -> JsonObject | None:
        """Carry out a command of the gateway, and return its data."""
        if self._commands is None:
            raise CommandFailed(OutcomeCode.UNSUPPORTED, "the settings of the bridge allow no commands")
        return await self._commands.carry_out(command)

    @property
    def traffic(self) -> Traffic:
        """What came from the exchange since ``start``."""
        return self._connection.traffic

    @property
    def unmatched(self) -> Mapping[str, int]:
        """What had no tenant, and was dropped, by kind."""
        return self._machine.rules.unmatched

    @property
    def strays(self) -> Mapping[str, int]:
        """Events about calls whose beginning was not seen, by name."""
        return self._machine.calls.tracker.strays

    @property
    def over_limit(self) -> Mapping[str, int]:
        """What was not taken because of a limit, by kind: of lines and headers, and of entries of full tables."""
        return Counter(self._connection.over_limit) + Counter(self._machine.dropped)
