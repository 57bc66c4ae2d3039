"""What a bridge has to send: events, and the records of what it knows, which are stored together with them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from callcenter_ws.remote.records import MAX_KEY_BYTES
from callcenter_ws.runtime.json import JsonValue

_SHORT_KEY = MAX_KEY_BYTES // 8
"""Characters at the beginning of a long key that are kept: with four bytes each they take a half of it."""

_Record = TypeVar("_Record", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class BridgeEvent:
    """One event of the gateway.

    Attributes:
        time: when it happened on the exchange, in Unix seconds.
        event_id: made of what happened, so that the same event of the exchange has the same id again.
        user_id: the only user who may see it; None: all users whom its type allows.
    """

    type: str
    tenant_id: str
    time: float
    event_id: str
    payload: Mapping[str, JsonValue]
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """Events and changed records that are stored together or not at all.

    The records say what the gateway has been told once these events, and those before them, have been sent. So a bridge
    that starts again continues exactly behind its last event.

    Attributes:
        records: the new values by key; None: the record is deleted.
    """

    events: tuple[BridgeEvent, ...] = ()
    records: Mapping[str, bytes | None] = field(default_factory=dict)


class Outgoing:
    """Collects events and changed records until the next unit is taken.

    Args:
        source: the name of the source, the first part of each event id.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.boot = ""
        self._events: list[BridgeEvent] = []
        self._records: dict[str, bytes | None] = {}

    @property
    def waiting(self) -> int:
        """The number of events since the last unit."""
        return len(self._events)

    def publish(
        self,
        type_: str,
        tenant_id: str,
        time: float,
        entity: str,
        number: int,
        payload: Mapping[str, JsonValue],
        user_id: str | None = None,
    ) -> None:
        """Add an event.

        Args:
            entity: what it is about, as a call's id.
            number: counts the events of this type about the entity. With ``boot``, which identifies the run of the
                exchange, it makes the event's id.
        """
        event_id = f"{self.source}/{self.boot}/{entity}/{type_}/{number}"
        self._events.append(BridgeEvent(type_, tenant_id, time, event_id, payload, user_id))

    def record(self, key: str, value: bytes | None) -> None:
        """Set a record, or delete it with None. A key that is too long for one is told from others by its digest."""
        if len(key) > _SHORT_KEY and len(key.encode()) > MAX_KEY_BYTES:
            key = f"{key[:_SHORT_KEY]}#{hashlib.sha256(key.encode()).hexdigest()}"
        self._records[key] = value

    def restored(self, records: Mapping[str, bytes], prefix: str, type_: type[_Record]) -> Iterator[_Record]:
        """Yield the records of an earlier process whose keys have a prefix. Those that cannot be read are deleted."""
        for key, value in records.items():
            if key.startswith(prefix):
                try:
                    record = msgspec.json.decode(value, type=type_)
                except msgspec.MsgspecError:
                    self.record(key, None)
                else:
                    yield record

    def take(self) -> Unit:
        """Return what was added since the last call."""
        if not self._events and not self._records:
            return _NOTHING
        unit = Unit(tuple(self._events), self._records)
        self._events.clear()
        self._records = {}
        return unit


_NOTHING = Unit()
