"""What the service of a source needs of a connection to an exchange, for every kind of exchange."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from callcenter_ws.bridge.loss import Loss
from callcenter_ws.bridge.outgoing import Unit
from callcenter_ws.bridge.settings import SourceSettings
from callcenter_ws.bridge.tenants import Report
from callcenter_ws.bridge.traffic import Traffic
from callcenter_ws.remote import Command
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.runtime.slicer import Slicer


class ExchangeListener(Protocol):
    """Receives what a connection reports, in order. Implemented by the service of the source."""

    def logged_in(self) -> None:
        """Note that the exchange has accepted the login; it is not synchronized yet."""

    def handle_unit(self, unit: Unit) -> None:
        """Send and store what the state machine has made."""

    def synchronized(self, version: str, boot: str) -> None:
        """Note that the state of the exchange is known; called after each audit too."""

    def lost(self, loss: Loss, retry_seconds: float) -> None:
        """Note that there is no session, and when the next attempt is; called after each attempt that fails."""

    def can_do(self, names: Collection[str]) -> None:
        """Note which commands the exchange can carry out, when that is known first, and whenever it changes."""


class ExchangeConnection(Protocol):
    """Keeps a session with an exchange, and translates what it sends.

    Attributes:
        product: the name of the software, as ``Asterisk``.
    """

    product: str

    def start(self) -> None:
        """Connect, and reconnect until ``stop``."""

    async def stop(self) -> None:
        """End the session, and do not reconnect. The listener receives nothing more."""

    def audit(self) -> None:
        """Compare what is known with the exchange's lists now, or as soon as there is a session."""

    def reload(self, settings: SourceSettings, time: float) -> Unit:
        """Use other settings, of those that a reload changes in place; return what follows from them.

        Args:
            time: now, in Unix seconds.
        """

    async def carry_out(self, command: Command) -> JsonObject | None:
        """Carry out a command, and return its data for the asker.

        Raises:
            CommandFailed: it was not carried out, or that is not known.
        """

    @property
    def traffic(self) -> Traffic:
        """What came from the exchange since ``start``."""

    @property
    def unmatched(self) -> Mapping[str, int]:
        """What had no tenant, and was dropped, by kind."""

    @property
    def strays(self) -> Mapping[str, int]:
        """Events about calls whose beginning was not seen, by name."""

    @property
    def over_limit(self) -> Mapping[str, int]:
        """What was not taken because of a limit, by kind."""


class NewConnection(Protocol):
    """Makes a connection that is not started."""

    def __call__(
        self,
        reactor: IReactorTime,
        clock: Clock,
        slicer: Slicer,
        settings: SourceSettings,
        secret: Callable[[], str],
        records: Mapping[str, bytes],
        report: Report,
        listener: ExchangeListener,
    ) -> ExchangeConnection:
        """Return a connection.

        Args:
            slicer: divides the work of all exchanges over turns of the reactor.
            secret: returns that of the user of the exchange; called for each session.
            records: what an earlier connection has stored with its events; its state machine continues from them.
            report: called for what has no tenant.
        """
