"""Conversion between publications and rows of the file."""

from __future__ import annotations

from typing import Any

from callcenter_ws.broker.sqlite.schema import place_of, seq_of
from callcenter_ws.events.event import Event, restore_event
from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.json import decode_json, encode_json

Row = tuple[Any, ...]  # values of several types, in the order of COLUMNS

COLUMNS = "place, event_id, type, timestamp, user_id, persist, origin, received_at, queue_name, agents, payload, source"
WIDTH = COLUMNS.count(",") + 1


def row_of(publication: Publication, tenant: int, clock_offset: float) -> Row:
    """Return the row of a publication.

    Args:
        tenant: the number of its tenant.
        clock_offset: Unix time less the time of the monotonic clock, which ``event.received_at`` is in.
    """
    event = publication.event
    return (
        place_of(tenant, publication.seq),
        event.event_id,
        event.type.name,
        event.timestamp,
        event.user_id,
        event.persist,
        event.origin.value,
        event.received_at + clock_offset,
        event.queue_name,
        encode_json(event.agents).decode() if event.agents else None,
        event.payload,
        event.source,
    )


def event_of(row: Row, tenant_id: str, clock_offset: float) -> Event:
    """Return the event of a row, with only the queue and the agents that its payload names."""
    return restore_event(
        type_=row[2],
        tenant_id=tenant_id,
        event_id=row[1],
        timestamp=row[3],
        user_id=row[4],
        payload=row[10],
        persist=bool(row[5]),
        origin=row[6],
        received_at=row[7] - clock_offset,
        source=row[11],
    )


def publication_of(row: Row, tenant_id: str, clock_offset: float) -> Publication:
    """Return the publication of a row, as it was delivered."""
    event = event_of(row, tenant_id, clock_offset)
    restore_call(event, row)
    return Publication(event, seq_of(row[0]))


def restore_call(event: Event, row: Row) -> None:
    """Set the queue and the agents that the event had when it was published."""
    event.queue_name = row[8]
    event.agents = () if row[9] is None else tuple(decode_json(row[9]))
