"""Says when a source is up or down: ``source.up`` and ``source.down``, which a bridge publishes itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from callcenter_ws.bridge.outgoing import BridgeEvent, Unit
from callcenter_ws.events.source_rules import SOURCE_DOWN, SOURCE_UP
from callcenter_ws.runtime.json import JsonValue, rfc3339


class SourceHealth:
    """The state of one source, for each of its tenants.

    Up means that the events of the exchange are complete from now on: only after its lists were read. At the start of a
    process nothing is known, and nothing is published: the gateway may still have the source as up, which is right if
    the bridge was only restarted.

    Args:
        now: returns the Unix time.

    Attributes:
        is_up: whether the exchange is connected and synchronized; None: not known yet.
        reason: why it is not up, as a code; empty if it is.
        version: of the exchange.
    """

    def __init__(self, source: str, kind: str, tenants: Sequence[str], now: Callable[[], float]) -> None:
        self._source = source
        self._kind = kind
        self._now = now
        self._since = 0.0
        self._published = 0
        # Whether the state was published since the connection to the gateway was lost.
        self._is_told = False
        self._started = now()
        self.tenants = tuple(tenants)
        self.is_up: bool | None = None
        self.reason = ""
        self.version = ""

    def synchronized(self, version: str) -> Unit:
        """Note that the exchange is synchronized; return what has to be published."""
        self.version = version
        return self._changed(is_up=True, reason="")

    def lost(self, reason: str) -> Unit:
        """Note that there is no session with the exchange; return what has to be published."""
        return self._changed(is_up=False, reason=reason)

    def link_lost(self) -> None:
        """Note that the connection to the gateway is lost."""
        self._is_told = False

    def link_connected(self) -> Unit:
        """Return what has to be published on a new connection to the gateway.

        The lease of the source may have ended meanwhile; then the gateway has published ``source.down``. What was
        published while there was no connection comes after that in any case.
        """
        return Unit() if self.is_up is None or self._is_told else self._unit()

    def _changed(self, *, is_up: bool, reason: str) -> Unit:
        if (self.is_up, self.reason) == (is_up, reason):
            return Unit()
        if self.is_up is not is_up:
            self._since = self._now()
        self.is_up, self.reason = is_up, reason
        return self._unit()

    def _unit(self) -> Unit:
        payload: dict[str, JsonValue] = {"source": self._source, "kind": self._kind, "since": rfc3339(self._since)}
        if self.reason:
            payload["reason"] = self.reason
        if self.version:
            payload["version"] = self.version
        self._published += 1
        self._is_told = True
        type_ = SOURCE_UP if self.is_up else SOURCE_DOWN
        # Of this process: what is up now is not what was up before it.
        event_id = f"{self._source}/{self._started:.3f}/{type_}/{self._published}"
        return Unit(
            tuple(BridgeEvent(type_, tenant, self._now(), event_id, payload) for tenant in self.tenants),
        )
