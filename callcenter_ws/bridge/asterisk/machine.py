"""The state machine of one Asterisk: messages of the manager interface in, units of events and records out."""

from __future__ import annotations

from collections.abc import Mapping

from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.snapshot import AmiSnapshot
from callcenter_ws.bridge.outgoing import Outgoing, Unit
from callcenter_ws.bridge.settings import SourceSettings


class AsteriskMachine:
    """Translates the events of one exchange. Has no clock: each message comes with its time.

    Args:
        records: what an earlier process stored with its events.

    Attributes:
        wanted: the names of the events that ``handle`` takes; others need not be parsed. None: all.
    """

    wanted: frozenset[str] | None = None

    def __init__(self, settings: SourceSettings, records: Mapping[str, bytes]) -> None:
        self._settings = settings
        self._outgoing = Outgoing(settings.name)

    def handle(self, message: AmiMessage, arrived: float) -> None:
        """Translate one event.

        Args:
            arrived: when it arrived, in Unix seconds; used where the message has no ``Timestamp``.
        """

    def synchronize(self, snapshot: AmiSnapshot, arrived: float) -> None:
        """Correct what is known by the exchange's own lists."""

    def reload(self, settings: SourceSettings) -> None:
        """Use other ``agents``, ``agent_pattern``, ``directions``, ``tenant`` and ``tenants`` from now on.

        A call keeps its tenant.

        Raises:
            ValueError: a pattern cannot be used. Nothing has changed.
        """
        self._settings = settings

    def take(self) -> Unit:
        """Return what has to be sent since the last call."""
        return self._outgoing.take()
