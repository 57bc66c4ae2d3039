"""Events: what producers send, validated, with the fields by which it is delivered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from itertools import accumulate

import msgspec

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import CATALOGUE, EntityKey, EventType, Payload, Slot
from callcenter_ws.events.commands import CommandClosing
from callcenter_ws.events.identifiers import MAX_ID_LENGTH, has_control_character
from callcenter_ws.events.mistakes import (
    join_mistakes,
    path_of_large_integer,
    payload_mistakes,
    payload_path,
    unknown_type,
)
from callcenter_ws.events.principal import EVERY_TENANT
from callcenter_ws.events.source_rules import SourceNumber, SourceRule
from callcenter_ws.runtime.json import (
    LARGE_EXPONENTS_TEXT,
    MAX_CONTAINERS,
    MAX_INTEGER,
    MAX_LARGE_EXPONENTS,
    MIN_INTEGER,
    JsonValue,
    count_containers,
    decode_trusted_json,
    encode_json,
    has_many_large_exponents,
    outside_strings,
    rfc3339,
)

PAYLOAD_BYTES = 524_288
"""The largest payload of an event, in bytes of JSON."""


_PERSIST_MISTAKE = "persist: expected true or false"


MAX_DEPTH = 100
"""Levels of a payload. The interpreter's own limit depends on the depth of the call: without this bound a payload that
was decoded could fail to be encoded."""


UNASSIGNED = ""
"""In ``agents`` of a chat event: the chat was, or is now, unassigned. No user has an empty id."""


class Origin(StrEnum):
    """The origin of an event; daemons may subscribe to events that daemons did not send."""

    PRODUCER = "producer"
    CLIENT = "client"
    GATEWAY = "gateway"


class ChatWriter(msgspec.Struct, frozen=True, kw_only=True):
    """What the store checks, together with appending the event, before it accepts a chat event of a client.

    A ``chat.session.started`` with this condition is accepted only if the session is not known: it was neither started
    nor ended before. Any other event is accepted only if the session is open.

    Attributes:
        agent: the writing agent, if it writes only in chats that it sees; None: any other sender.
        queues: the ``queues`` claim of that agent.
        any_session: accept events of sessions that are not open.
    """

    agent: str | None = None
    queues: frozenset[str] | None = None
    any_session: bool = False


class StoreCondition(msgspec.Struct, frozen=True, kw_only=True):
    """What the store checks, together with appending an event that the gateway makes.

    Attributes:
        fence: refuse the event (``stale_generation``) if another process has taken the tenant; None: do not check.
        entity_seq: refuse it (``unknown_alert``) unless the last event of its entity has this position; None: do not.
        closes: refuse it (``unknown_command``) unless a command is open; close that command with it; None: do not.
        follows: refuse it (``unknown_command``) unless the event before it in the same call was appended now.
    """

    fence: int | None = None
    entity_seq: int | None = None
    closes: CommandClosing | None = None
    follows: bool = False


class Event(msgspec.Struct, eq=False, kw_only=True, gc=False):
    """A validated event without a position. Made by ``make_event`` and ``restore_event``.

    A Struct, because creating it takes a quarter of the time of a dataclass. The garbage collector does not scan it: it
    is part of no reference cycle, since nothing that it refers to refers to events.

    Attributes:
        payload: the payload's JSON text, with every field that the producer sent.
        timestamp: RFC 3339 in UTC with milliseconds.
        user_id: the only user that it is for, or None.
        received_at: seconds on the monotonic clock when the gateway accepted it, for measuring latency.
        received_ms: when the store accepted it, in Unix milliseconds; 0 before. Stored, so every node has the same.
        queue_name: the queue that it concerns: of the payload, else of the call's earlier events.
        agents: ids of the agents that handle it: of the payload, and of the call's earlier events. Of a chat event: the
            agents that the chat was assigned to before and after it, the latter last (``broker.chats``).
        slot: its effect on the snapshot, or None.
        entity: the key of the snapshot entity that it concerns, or None.
        call_id: the call that it concerns (``call_id``, else ``unique_id``), or None.
        source: the name of the source that sent it, or that it is about if the gateway made it; else None.
        source_rule: what the store checks before it appends the event; None once it is stored.
        has_new_id: whether the gateway made its id, so that it cannot be a repetition, nor be repeated.
        chat_writer: the condition on which the store accepts it; None: unconditionally.
        condition: another such condition, of events that the gateway makes; None: unconditionally.
        expires_at: when it may be removed from a mailbox undelivered, in Unix seconds; None: its payload does not say.
    """

    type: EventType
    tenant_id: str
    event_id: str
    timestamp: str
    user_id: str | None
    payload: bytes
    persist: bool
    origin: Origin
    received_at: float
    queue_name: str | None
    session_id: str | None
    private: bool
    agents: tuple[str, ...]
    slot: Slot | None
    entity: EntityKey | None
    call_id: str | None
    conflation_key: tuple[str, ...] | None
    source: str | None = None
    source_rule: SourceRule | None = None
    has_new_id: bool = False
    chat_writer: ChatWriter | None = None
    condition: StoreCondition | None = None
    received_ms: int = 0
    expires_at: float | None = None

    @property
    def is_void(self) -> bool:
        """Whether it is not appended: it stands for a refused event, and only raises the mark of its source."""
        return self.type is _VOID

    @property
    def chat_id(self) -> str | None:
        """The chat session that it belongs to; None for events of other types."""
        return self.session_id if self.type.of_chat else None

    @property
    def is_mail(self) -> bool:
        """Whether it is kept in its user's mailbox until it is delivered (``docs/protocol.rst``, "Mailbox")."""
        return self.user_id is not None and (self.persist or self.type.persists)


def make_event(
    *,
    tenant_id: object,
    type_: object,
    payload: JsonValue,
    event_id: object,
    now: float,
    received_at: float,
    user_id: object = None,
    timestamp: object = None,
    persist: object = False,
    origin: Origin = Origin.PRODUCER,
    max_bytes: int = PAYLOAD_BYTES,
    explain: bool = True,
) -> Event:
    """Return the Event of what a producer sent.

    Args:
        payload: the decoded JSON value; must be an object that matches the type's declaration.
        timestamp: RFC 3339 with an offset, or None for ``now`` (Unix seconds).
        max_bytes: the largest payload, in bytes of JSON.
        explain: whether a refusal names all mistakes and what may be meant, not only the first; that takes longer.

    Raises:
        Refusal: ``unknown_event``, ``invalid_event`` with the paths of what is wrong, ``too_large``,
            or ``forbidden`` for the tenant ``*``.
    """
    type_found = CATALOGUE.get(type_) if isinstance(type_, str) else None
    if type_found is None:
        raise Refusal(ErrorCode.UNKNOWN_EVENT, unknown_type(type_, suggest=explain))
    try:
        sender_tenant_id = _checked_id("tenant_id", tenant_id)
        checked_id = _checked_id("event_id", event_id)
        if sender_tenant_id == EVERY_TENANT:
            raise Refusal(ErrorCode.FORBIDDEN, "tenant_id: an event belongs to one tenant, not to '*'")
        checked_user_id = _user(type_found, user_id)
        if not isinstance(persist, bool):
            raise Refusal(ErrorCode.INVALID_EVENT, _PERSIST_MISTAKE)
        _check_payload(type_found, payload)
        checked_timestamp = rfc3339(now) if timestamp is None else _timestamp(timestamp)
    except Refusal as refusal:
        if not explain or refusal.code is not ErrorCode.INVALID_EVENT:
            raise
        text = _all_mistakes(type_found, tenant_id, event_id, user_id, persist, timestamp, payload)
        raise Refusal(ErrorCode.INVALID_EVENT, text) from None
    return _event(
        type_found,
        sender_tenant_id,
        checked_id,
        checked_timestamp,
        checked_user_id,
        payload,
        _encode_payload(payload, max_bytes, explain=explain),
        persist,
        origin,
        received_at,
    )


def restore_event(
    *,
    type_: str,
    tenant_id: str,
    event_id: str,
    timestamp: str,
    user_id: str | None,
    payload: bytes,
    persist: bool,
    origin: str,
    received_at: float,
    received_ms: int = 0,
    source: str | None = None,
) -> Event:
    """Return an Event that was validated before, without the fields that its call's earlier events add.

    An event of a type that the catalogue does not contain keeps its position and is visible to no role.
    """
    declared = CATALOGUE.get(type_) or EventType(type_, Payload, frozenset())
    fields = decode_trusted_json(payload)
    event = _event(
        declared, tenant_id, event_id, timestamp, user_id, fields, payload, persist, Origin(origin), received_at
    )
    event.source, event.received_ms = source, received_ms
    return event


_VOID = EventType("", Payload, frozenset())


def void_event(tenant_id: str, source: str, number: SourceNumber, received_at: float) -> Event:
    """Return what is stored of an event of a source that was refused for good: its number."""
    event = _event(_VOID, tenant_id, "", "", None, {}, b"", False, Origin.PRODUCER, received_at)
    event.source, event.source_rule = source, number
    return event


def _event(
    type_: EventType,
    tenant_id: str,
    event_id: str,
    timestamp: str,
    user_id: str | None,
    fields: Mapping[str, object],
    payload: bytes,
    persist: bool,
    origin: Origin,
    received_at: float,
) -> Event:
    call_id = _first_of(_CALL_ID_FIELDS, fields) if type_.carries_call else None
    slot = None if type_.slot is None else _slot(type_.slot, fields, origin, user_id)
    return Event(
        type=type_,
        tenant_id=tenant_id,
        event_id=event_id,
        timestamp=timestamp,
        user_id=user_id,
        payload=payload,
        persist=persist,
        origin=origin,
        received_at=received_at,
        queue_name=_text_of(fields.get("queue_name")),
        session_id=_text_of(fields.get("session_id")),
        private=fields.get("private") is True,
        agents=_agents(type_, fields),
        slot=slot,
        entity=None if slot is None else _entity(slot, fields, call_id),
        call_id=call_id,
        conflation_key=None if type_.conflate_by is None else _conflation_key(type_, fields, user_id),
        expires_at=_expires_at(fields) if type_.persists else None,
    )


def _expires_at(fields: Mapping[str, object]) -> float | None:
    value = fields.get("expires_at")
    return None if value is None else msgspec.convert(value, datetime).timestamp()


def _checked_id(field: str, value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_LENGTH:
        raise Refusal(ErrorCode.INVALID_EVENT, f"{field}: expected a string of 1 to {MAX_ID_LENGTH} characters")
    if has_control_character(value):
        raise Refusal(ErrorCode.INVALID_EVENT, f"{field}: control characters are not allowed")
    return value


def _user(type_: EventType, user_id: object) -> str | None:
    if isinstance(user_id, int) and not isinstance(user_id, bool):
        user_id = str(user_id) if MIN_INTEGER <= user_id <= MAX_INTEGER else ""
    if user_id is None:
        if type_.needs_user:
            raise Refusal(ErrorCode.INVALID_EVENT, f"user_id: required for {type_.name}, which is for one user")
        return None
    return _checked_id("user_id", user_id)


def _check_payload(type_: EventType, payload: object) -> None:
    try:
        msgspec.convert(payload, type_.payload)
    except msgspec.ValidationError as error:
        raise Refusal(ErrorCode.INVALID_EVENT, payload_path(str(error))) from None


def _all_mistakes(
    type_: EventType,
    tenant_id: object,
    event_id: object,
    user_id: object,
    persist: object,
    timestamp: object,
    payload: object,
) -> str:
    """Return everything that is wrong with an event of which something is."""
    mistakes = [] if isinstance(persist, bool) else [_PERSIST_MISTAKE]
    checks: list[Callable[[], object]] = [
        lambda: _checked_id("tenant_id", tenant_id),
        lambda: _checked_id("event_id", event_id),
        lambda: _user(type_, user_id),
        lambda: timestamp is None or _timestamp(timestamp),
    ]
    for check in checks:
        try:
            check()
        except Refusal as refusal:
            mistakes.append(refusal.message)
    return join_mistakes([*mistakes, *payload_mistakes(payload, type_.payload)])


# MessagePack has integers of 64 bits. No other check of all integers of a payload is as fast (0.3 µs for 300 bytes).
_encode_msgpack_into = msgspec.msgpack.Encoder().encode_into


_msgpack_buffer = bytearray()


def _encode_payload(payload: object, max_bytes: int, *, explain: bool) -> bytes:
    try:
        # Before encoding to JSON, which takes quadratic time for long integers.
        _encode_msgpack_into(payload, _msgpack_buffer)
        body = encode_json(payload)
    except RecursionError:
        raise Refusal(ErrorCode.INVALID_EVENT, "payload: nested too deep") from None
    except OverflowError:
        path = path_of_large_integer(payload) if explain else "payload"
        text = f"{path}: an integer must fit in 64 bits; send longer ones as strings"
        raise Refusal(ErrorCode.INVALID_EVENT, text) from None
    if len(body) > max_bytes:
        raise Refusal(ErrorCode.TOO_LARGE, f"payload: {len(body)} bytes of JSON, the limit is {max_bytes}")
    # 0xCB is a float in MessagePack; few payloads have many.
    if _msgpack_buffer.count(0xCB) > MAX_LARGE_EXPONENTS and has_many_large_exponents(body):
        raise Refusal(ErrorCode.INVALID_EVENT, f"payload: {LARGE_EXPONENTS_TEXT}")
    containers = count_containers(body)
    if containers > MAX_CONTAINERS:
        raise Refusal(ErrorCode.INVALID_EVENT, f"payload: more than {MAX_CONTAINERS:,} objects and arrays")
    # Most payloads have fewer brackets than that, and counting brackets is cheap.
    if containers > MAX_DEPTH and _depth(body) > MAX_DEPTH:
        raise Refusal(ErrorCode.INVALID_EVENT, f"payload: nested deeper than {MAX_DEPTH} levels")
    return body


_OTHER_BYTES = bytes(set(range(256)) - set(b"{}[]"))


_STEP = {ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}


def _depth(text: bytes) -> int:
    """Return how deeply the objects and arrays of a valid JSON text are nested."""
    brackets = b"".join(outside_strings(text)).translate(None, _OTHER_BYTES)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def _timestamp(value: object) -> str:
    try:
        instant = msgspec.convert(value, datetime)
        if instant.tzinfo is None:
            raise Refusal(ErrorCode.INVALID_EVENT, "timestamp: the offset is missing, write Z or +01:00")
        return rfc3339(instant.timestamp())
    except (msgspec.ValidationError, OverflowError, ValueError):
        raise Refusal(ErrorCode.INVALID_EVENT, "timestamp: expected an RFC 3339 instant") from None


def _text_of(value: object) -> str | None:
    return None if value is None else str(value)


def _agents(type_: EventType, payload: Mapping[str, object]) -> tuple[str, ...]:
    if not type_.agent_fields:
        return ()
    return tuple([str(payload[field]) for field in type_.agent_fields if payload.get(field) is not None])


_CALL_ID_FIELDS = ("call_id", "unique_id")


def _slot(declared: Slot, payload: Mapping[str, object], origin: Origin, user_id: str | None) -> Slot | None:
    """Return the effect of one event on the snapshot; usually the one that is declared for its type."""
    if declared.lasting and origin is not Origin.GATEWAY:
        # A daemon that sent the event could forget to end it.
        return None
    if declared.appends and user_id is not None:
        return None
    if declared.while_true is not None and payload.get(declared.while_true) is not True:
        return replace(declared, keeps=None, drops="*")
    return declared


def _entity(slot: Slot, payload: Mapping[str, object], call_id: str | None) -> EntityKey:
    if call_id is not None:
        return (slot.kind, call_id)
    return (slot.kind, *[_first_of(alternatives, payload) for alternatives in slot.entity])


def _first_of(alternatives: tuple[str, ...], payload: Mapping[str, object]) -> str:
    for field in alternatives:
        value = payload.get(field)
        if value is not None:
            return str(value)
    return ""


def _conflation_key(type_: EventType, payload: Mapping[str, object], user_id: str | None) -> tuple[str, ...]:
    fields = type_.conflate_by or ()
    return (type_.name, user_id or "", *[str(payload.get(field, "")) for field in fields])
