"""Encodes events for the scripts, and decodes the lines in which Redis holds them.

A line is a JSON array. The scripts put the position, and the queue and the agents of the event's call, at its front.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from callcenter_ws.broker.mailboxes import mail_expires_at
from callcenter_ws.events.event import Event, Origin, restore_event
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.source_rules import Announcement, SourceRule
from callcenter_ws.runtime.json import encode_json

EncodedEvent = tuple[str, str, bytes, bytes]
"""The arguments of ``publish.lua`` for one event: id, Unix time, the rest of its line, and what else it needs."""


class StoredEvent(msgspec.Struct, array_like=True, frozen=True):
    """A line.

    Attributes:
        queue_name, agents: those of the call; ``agents`` is None if the event does not belong to a call.
        received_at: Unix time.
        source: not in lines that an earlier version wrote, and not if the event has none.
    """

    seq: int
    queue_name: str | None
    agents: tuple[str, ...] | None
    event_id: str
    type: str
    timestamp: str
    user_id: str | None
    persist: bool
    origin: str
    received_at: float
    payload: msgspec.Raw
    source: str | None = None


_decode = msgspec.json.Decoder(list[StoredEvent]).decode


def encode_event(event: Event, clock_offset: float) -> EncodedEvent:
    """Return the arguments of ``publish.lua`` for an event.

    Args:
        clock_offset: Unix time minus the monotonic clock, in which ``received_at`` of an event is.
    """
    received_at = event.received_at + clock_offset
    head = encode_json(
        (
            event.event_id,
            event.type.name,
            event.timestamp,
            event.user_id,
            event.persist,
            event.origin.value,
            received_at,
        )
    )
    if event.source is None:
        rest = b"%b,%b]" % (head[1:-1], event.payload)
    else:
        rest = b"%b,%b,%b]" % (head[1:-1], event.payload, encode_json(event.source))
    return event.event_id, repr(received_at), rest, _facts(event, received_at)


def id_kind(event: Event) -> str:
    """Return where ``publish.lua`` remembers the event's id: apart for clients, nowhere if no other event has it."""
    if event.has_new_id:
        return "-"
    return "c" if event.origin is Origin.CLIENT else "p"


def _facts(event: Event, received_at: float) -> bytes:
    """Return what the script needs to know beyond the line; empty for most events."""
    facts: dict[str, object] = {}
    if event.call_id is not None and event.user_id is None:
        facts |= {"call": event.call_id, "kind": event.type.name, "agents": event.agents}
        if event.queue_name is not None:
            facts["queue"] = event.queue_name
    if event.entity is not None and event.type.slot is not None:
        facts["entity"] = encode_json(event.entity).decode()
        facts |= {"keeps": event.type.slot.keeps} if event.type.slot.keeps else {"drops": event.type.slot.drops}
    if event.is_mail:
        facts["ends"] = mail_expires_at(event, received_at)
    if event.source_rule is not None:
        facts["source"] = _rule(event, event.source_rule)
        if event.is_void:
            facts["void"] = True
    if not facts:
        return b""
    if event.user_id is not None:
        facts["user"] = event.user_id
    return encode_json(facts)


def _rule(event: Event, rule: SourceRule) -> dict[str, object]:
    """Return the rule of an event of a source, for ``source_marks.lua``."""
    if isinstance(rule, Announcement):
        return {"name": event.source, "say": rule.kind, "lease": rule.lease}
    return {
        "name": event.source,
        "gen": rule.generation,
        "seq": rule.seq,
        "after": rule.after,
        "lease": rule.lease,
        "type": event.type.name,
    }


def decode_publications(text: bytes, tenant_id: str, clock_offset: float) -> list[Publication]:
    """Decode lines that are joined by newlines."""
    if not text:
        return []
    return [_publication(line, tenant_id, clock_offset) for line in _decode(b"[%b]" % text.replace(b"\n", b","))]


def _publication(line: StoredEvent, tenant_id: str, clock_offset: float) -> Publication:
    event = restore_event(
        type_=line.type,
        tenant_id=tenant_id,
        event_id=line.event_id,
        timestamp=line.timestamp,
        user_id=line.user_id,
        payload=bytes(line.payload),
        persist=line.persist,
        origin=line.origin,
        received_at=line.received_at - clock_offset,
        source=line.source,
    )
    apply_call(event, line.queue_name, line.agents)
    return Publication(event, line.seq)


def apply_call(event: Event, queue_name: str | None, agents: Sequence[str] | None) -> None:
    """Set the queue and the agents of an event to those of its call; ``agents`` None: it has no call."""
    if agents is not None:
        event.queue_name, event.agents = queue_name, tuple(agents)
