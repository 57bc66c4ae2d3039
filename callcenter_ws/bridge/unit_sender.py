"""Gives the units of a source to the spool, and counts what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from twisted.logger import Logger

from callcenter_ws.bridge.counters import MAX_KINDS, SourceCounters
from callcenter_ws.bridge.outgoing import BridgeEvent, Unit
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.remote import SpooledEvent, UnitEvent
from callcenter_ws.runtime.json import rfc3339
from callcenter_ws.runtime.log_fields import reason_of

_OF_ONE_EVENT = (ErrorCode.INVALID_EVENT, ErrorCode.TOO_LARGE)
"""Refusals that say that an event or a record is wrong, and nothing of the others."""

_NO_RECORDS: Mapping[str, bytes | None] = {}

_log = Logger()


class UnitPublisher(Protocol):
    """The part of ``EventBroadcaster`` that is used here."""

    def publish_unit(self, events: Sequence[UnitEvent], records: Mapping[str, bytes | None]) -> None:
        """Publish events, and change records, together or not at all; raises ``Refusal``."""


class UnitSender:
    """Publishes the units of one source, in order.

    Args:
        source: the name of the source, for the log.
        now: returns the Unix time.
    """

    def __init__(
        self, publisher: UnitPublisher, source: str, counters: SourceCounters, now: Callable[[], float]
    ) -> None:
        self._publisher = publisher
        self._source = source
        self._counters = counters
        self._now = now
        self._logged: set[tuple[str, str]] = set()

    def send(self, unit: Unit) -> None:
        """Publish a unit.

        An event that cannot be published is left out, counted, and logged once for each type and reason.

        Raises:
            Refusal: nothing can be published now: there is no room, or the source is another's.
        """
        events = [_unit_event(event) for event in unit.events]
        try:
            self._publisher.publish_unit(events, unit.records)
        except Refusal as refusal:
            if refusal.code not in _OF_ONE_EVENT:
                raise
            events = self._send_apart(events, unit.records)
        self._counters.events += len(events)
        self._counters.reconciled += sum("reconciled" in event.payload for event in unit.events)
        if unit.events:
            self._counters.lag.observe(max(0.0, self._now() - unit.events[-1].time))

    def refused(self, event: SpooledEvent, refusal: Refusal) -> None:
        """Count an event that the gateway has refused; the broadcaster has logged it."""
        self._counters.count_refused(refusal.code.value)

    def _send_apart(self, events: list[UnitEvent], records: Mapping[str, bytes | None]) -> list[UnitEvent]:
        """Publish what can be published of a unit, and return its events."""
        accepted = [event for event in events if self._publish(event.type, [event], _NO_RECORDS)]
        for key, value in records.items():
            self._publish("record", [], {key: value})
        return accepted

    def _publish(self, what: str, events: Sequence[UnitEvent], records: Mapping[str, bytes | None]) -> bool:
        try:
            self._publisher.publish_unit(events, records)
        except Refusal as refusal:
            if refusal.code not in _OF_ONE_EVENT:
                raise
            self._note(what, refusal)
            return False
        return True

    def _note(self, what: str, refusal: Refusal) -> None:
        code = refusal.code.value
        self._counters.count_refused(code)
        if (what, code) in self._logged or len(self._logged) >= MAX_KINDS:
            return
        self._logged.add((what, code))
        _log.error(
            "source {source}: {type} is refused with {code}: {reason}. Further ones are counted only",
            source=self._source,
            type=what,
            code=code,
            reason=reason_of(refusal.message),
        )


def _unit_event(event: BridgeEvent) -> UnitEvent:
    return UnitEvent(
        tenant_id=event.tenant_id,
        type=event.type,
        payload=event.payload if isinstance(event.payload, dict) else dict(event.payload),
        user_id=event.user_id,
        event_id=event.event_id,
        timestamp=rfc3339(event.time),
    )
