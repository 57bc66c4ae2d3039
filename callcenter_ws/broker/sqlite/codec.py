"""Conversion between publications and rows of the file."""

from __future__ import annotations

from typing import Any

from callcenter_ws.broker.calls import CallRecord
from callcenter_ws.broker.chats import ChatRecord
from callcenter_ws.broker.sqlite.schema import place_of, seq_of
from callcenter_ws.broker.stream import Stream
from callcenter_ws.events.event import Event, restore_event
from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.json import decode_json, encode_json

Row = tuple[Any, ...]  # values of several types, in the order of COLUMNS

COLUMNS = "place, event_id, type, timestamp, user_id, persist, origin, received_at, queue_name, agents, payload, source"
WIDTH = COLUMNS.count(",") + 1


def row_of(publication: Publication, tenant: int) -> Row:
    """Return the row of a publication, whose event has ``received_ms``.

    Args:
        tenant: the number of its tenant.
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
        # Seconds with three decimals, from which ``event_of`` restores the same milliseconds.
        event.received_ms / 1_000,
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
        received_ms=round(row[7] * 1_000),
        source=row[11],
    )


def publication_of(row: Row, tenant_id: str, clock_offset: float) -> Publication:
    """Return the publication of a row, as it was delivered."""
    event = event_of(row, tenant_id, clock_offset)
    restore_call(event, row)
    return Publication(event, seq_of(row[0]))


def restore_call(event: Event, row: Row) -> None:
    """Set the queue and the agents that the event had when it was published."""
    if event.type.of_chat and row[8] is None and row[9] is None:
        # Of an unassigned chat; or stored by a release that did not complete chats: the payload names what is known.
        return
    event.queue_name = row[8]
    event.agents = () if row[9] is None else tuple(decode_json(row[9]))


# Rows of the table "call": calls under their ids, chats under a prefix that no call has.

_CHAT = "chat:"
_CALL = "call:"

CallValues = tuple[str | None, str, float]
"""Queue, agents as JSON, and Unix time of the last event. For a chat: its agent, and whether it is open."""


def changed_row(event: Event) -> str:
    """Return the key of the row that an event of a call or a chat changes."""
    if event.type.of_chat:
        return f"{_CHAT}{event.session_id}"
    call_id = event.call_id or ""
    return _CALL + call_id if call_id.startswith((_CHAT, _CALL)) else call_id


def values_of(stream: Stream, key: str, clock_offset: float) -> CallValues | None:
    """Return the values of a row; None: the call or the chat is no longer remembered."""
    if key.startswith(_CHAT):
        chat = stream.chats.get(key.removeprefix(_CHAT))
        if chat is None:
            return None
        return chat.queue_name, encode_json((chat.agent, chat.is_open)).decode(), chat.touched_at + clock_offset
    call = stream.calls.get(key.removeprefix(_CALL))
    return (
        None if call is None else (call.queue_name, encode_json(call.agents).decode(), call.touched_at + clock_offset)
    )


def restore_values(stream: Stream, key: str, values: CallValues, clock_offset: float) -> None:
    """Add the call or the chat of a row to the stream."""
    queue_name, agents, touched_at = values
    if key.startswith(_CHAT):
        agent, is_open = decode_json(agents)
        chat = ChatRecord(queue_name, agent, is_open, touched_at - clock_offset)
        stream.chats.restore(key.removeprefix(_CHAT), chat)
    else:
        call = CallRecord(queue_name, tuple(decode_json(agents)), touched_at - clock_offset)
        stream.calls.restore(key.removeprefix(_CALL), call)
