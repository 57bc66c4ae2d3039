"""Publishes ``source.up`` and ``source.down`` for the gateway."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from twisted.internet.defer import Deferred

from callcenter_ws.errors import Refusal
from callcenter_ws.events.capabilities import declared_commands
from callcenter_ws.events.event import Event, Origin, make_event
from callcenter_ws.events.source_rules import SOURCE_DOWN, SOURCE_UP, Announcement
from callcenter_ws.interfaces import Broker, SourceRecord
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import JsonObject, rfc3339

EVENTS_PER_TURN = 100
"""Events that are made and published in one turn of the reactor."""


class SourceAnnouncer:
    """Announces sources; the store decides whether there is anything to announce.

    All methods raise ``Refusal`` when the store does not accept an event, after publishing to all other tenants. To
    repeat them does no harm.
    """

    def __init__(self, broker: Broker, clock: Clock, new_id: Callable[[], str]) -> None:
        self._broker = broker
        self._clock = clock
        self._new_id = new_id

    async def connected(self, record: SourceRecord, *, reports_health: bool) -> bool:
        """Announce the end of an earlier lease where that is missing, then the source, unless it does that itself.

        Returns:
            Whether the source was announced to any tenant.
        """
        earlier = await self._publish(record, record.tenants, "down", record.lease - 1, {"reason": "lease_ended"})
        if reports_health:
            return earlier
        return await self._publish(record, record.tenants, "up", record.lease, {"since": self._now()})

    async def still_up(self, record: SourceRecord) -> None:
        """Announce the source again to the tenants for which it is up, so that it stays in their state."""
        await self._publish(record, record.tenants, "again", record.lease, {"reason": "still_up"})

    async def lost(self, record: SourceRecord, lease: int, reason: str, tenants: Sequence[str] | None = None) -> None:
        """Announce the end of a lease, to all tenants or to some."""
        where = record.claimed if tenants is None else tenants
        await self._publish(record, where, "down", lease, {"reason": reason, "since": self._now()})

    def _now(self) -> str:
        return rfc3339(self._clock.time())

    async def _publish(
        self, record: SourceRecord, tenants: Sequence[str], kind: str, lease: int, fields: JsonObject
    ) -> bool:
        published = False
        refused: Refusal | None = None
        for start in range(0, len(tenants), EVENTS_PER_TURN):
            if start:
                await self._next_turn()
            events = self._events(record, tenants[start : start + EVENTS_PER_TURN], kind, lease, fields)
            for outcome in await self._broker.publish(events):
                if isinstance(outcome, Refusal):
                    refused = refused or outcome
                elif not outcome.duplicate:
                    published = True
        if refused is not None:
            raise refused.copy()
        return published

    def _events(
        self, record: SourceRecord, tenants: Iterable[str], kind: str, lease: int, fields: JsonObject
    ) -> list[Event]:
        payload = {"source": record.name, "kind": record.kind, **fields}
        if record.version:
            payload["version"] = record.version
        if kind != "down":
            payload["commands"] = [*declared_commands(record.capabilities)]
        rule = Announcement("down" if kind == "down" else "up" if kind == "up" else "again", lease)
        events = []
        for tenant_id in tenants:
            event = make_event(
                tenant_id=tenant_id,
                type_=SOURCE_DOWN if kind == "down" else SOURCE_UP,
                payload=payload,
                event_id=self._new_id(),
                now=self._clock.time(),
                received_at=self._clock.monotonic(),
                origin=Origin.GATEWAY,
            )
            event.source, event.source_rule = record.name, rule
            events.append(event)
        return events

    async def _next_turn(self) -> None:
        turn: Deferred[None] = Deferred()
        self._clock.call_later(0, turn.callback, None)
        await turn
