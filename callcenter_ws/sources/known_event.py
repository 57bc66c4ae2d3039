"""KnownEvent: an event of the state as its entity is compared with what a source says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.json import JsonObject, decode_trusted_json


class KnownEvent(NamedTuple):
    """An event with its payload decoded: once, for payloads may be large."""

    type: str
    payload: JsonObject
    timestamp: str


def known_events(publications: Sequence[Publication]) -> list[KnownEvent]:
    """Return the events of publications."""
    events = [publication.event for publication in publications]
    return [KnownEvent(event.type.name, decode_trusted_json(event.payload), event.timestamp) for event in events]
