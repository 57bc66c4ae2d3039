"""Encodes events for the scripts, and decodes the lines in which Redis holds them.

A line is a JSON array. The scripts put the position, and the queue and the agents of the event's call or chat, at its
front.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from callcenter_ws.broker.mailboxes import mail_expires_at
from callcenter_ws.broker.redis.command_codec import closing_facts
from callcenter_ws.events.catalogue import EntityKey, Slot
from callcenter_ws.events.event import Event, Origin, StoreCondition, restore_event
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.reconciliation import Reconciliation
from callcenter_ws.events.source_rules import Announcement, SourceRule
from callcenter_ws.runtime.json import encode_json

EncodedEvent = tuple[str, str, bytes, bytes]
"""The arguments of ``publish.lua`` for one event: id, Unix time, the rest of its line, and what else it needs."""


Predecessor = Literal["appended", "batch", "missing"]
"""Where the event before another in the same call of ``publish`` is: appended by an earlier call of the script, in the
same call of the script, or not appended."""


class StoredEvent(msgspec.Struct, array_like=True, frozen=True):
    """A line.

    Attributes:
        queue_name, agents: those of the call or chat; ``agents`` is None if the event belongs to none.
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


def encode_event(
    event: Event, clock_offset: float, chat_messages: int, *, clock_error_ms: int = 0, follows: Predecessor = "missing"
) -> EncodedEvent:
    """Return the arguments of ``publish.lua`` for an event.

    Args:
        chat_messages: messages of each open chat in the state.
        clock_offset: Unix time minus the monotonic clock, in which ``received_at`` of an event is.
        clock_error_ms: milliseconds by which Redis's clock is ahead.
        follows: where the event before it in the same call of ``publish`` is.
    """
    received_at = event.received_at + clock_offset
    event.received_ms = round(received_at * 1_000)
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
    return event.event_id, repr(received_at), rest, _facts(event, received_at, chat_messages, clock_error_ms, follows)


def id_kind(event: Event) -> str:
    """Return where ``publish.lua`` remembers the event's id: apart for clients, nowhere if no other event has it."""
    if event.has_new_id:
        return "-"
    return "c" if event.origin is Origin.CLIENT else "p"


def _facts(event: Event, received_at: float, chat_messages: int, clock_error_ms: int, follows: Predecessor) -> bytes:
    """Return what the script needs to know beyond the line; empty for most events."""
    facts: dict[str, object] = {}
    if event.call_id is not None and event.user_id is None:
        facts |= {"call": event.call_id, "kind": event.type.name, "agents": event.agents}
        if event.queue_name is not None:
            facts["queue"] = event.queue_name
    elif event.type.of_chat and event.user_id is None:
        facts |= _chat_facts(event)
    if event.entity is not None and event.slot is not None:
        facts |= _slot_facts(event, event.entity, event.slot, chat_messages)
    if event.is_mail:
        facts["ends"] = mail_expires_at(event, received_at)
    if event.source_rule is not None:
        facts |= _source_facts(event, event.source_rule)
    if event.condition is not None:
        facts |= _condition(event, event.condition, clock_error_ms, follows)
    if not facts:
        return b""
    if event.user_id is not None:
        facts["user"] = event.user_id
    return encode_json(facts)


def _source_facts(event: Event, rule: SourceRule) -> dict[str, object]:
    facts: dict[str, object] = {"source": _rule(event, rule)}
    return {**facts, "void": True} if event.is_void else facts


def _condition(event: Event, condition: StoreCondition, clock_error_ms: int, follows: Predecessor) -> dict[str, object]:
    """Return what the script checks of an event that the gateway makes."""
    checks: dict[str, object] = {}
    if condition.fence is not None:
        # As text: numbers of Lua lose digits when they become text.
        checks["fence"] = str(condition.fence)
    if condition.entity_seq is not None:
        checks["entity_seq"] = condition.entity_seq
    if condition.follows and follows != "appended":
        checks["follows"] = follows
    if condition.closes is not None:
        checks["closes"] = closing_facts(event.tenant_id, condition.closes, clock_error_ms)
    return {"condition": checks}


def encode_part(event: Event, rule: Reconciliation, clock_offset: float) -> bytes:
    """Return the argument of ``reconcile.lua`` for a part of a reconciliation."""
    guards = [(encode_json(key).decode(), *version) for key, version in rule.guards]
    return encode_json(
        {
            "rule": _rule(event, rule),
            "at": event.received_at + clock_offset,
            "last": rule.is_last,
            "guards": guards,
        }
    )


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


def _chat_facts(event: Event) -> dict[str, object]:
    session = encode_json(("chat", event.session_id)).decode()
    facts: dict[str, object] = {
        "chat": event.session_id,
        "session": session,
        "kind": event.type.name,
        "agents": event.agents,
    }
    if event.queue_name is not None:
        facts["queue"] = event.queue_name
    writer = event.chat_writer
    if writer is not None:
        queues = None if writer.queues is None else dict.fromkeys(writer.queues, True)
        condition = {"agent": writer.agent, "queues": queues, "any_session": writer.any_session}
        facts["writer"] = {name: value for name, value in condition.items() if value is not None}
    return facts


def _slot_facts(event: Event, entity: EntityKey, slot: Slot, chat_messages: int) -> dict[str, object]:
    facts: dict[str, object] = {"entity": encode_json(entity).decode()}
    if event.source is not None and event.source_rule is None:
        facts["from"] = event.source
    if slot.appends:
        return {**facts, "appends": chat_messages, "size": len(event.payload)}
    facts |= {"keeps": slot.keeps} if slot.keeps else {"drops": slot.drops}
    return {**facts, "lasting": True} if slot.lasting else facts


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
        received_ms=round(line.received_at * 1_000),
    )
    apply_call(event, line.queue_name, line.agents)
    return Publication(event, line.seq)


def apply_call(event: Event, queue_name: str | None, agents: Sequence[str] | None) -> None:
    """Set the queue and the agents of an event to those of its call or chat; ``agents`` None: it has none."""
    if agents is not None:
        event.queue_name, event.agents = queue_name, tuple(agents)
