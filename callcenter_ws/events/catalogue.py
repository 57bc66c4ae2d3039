"""The event catalogue: one declaration for each event type (``docs/events.rst``).

A declaration has the payload's fields, the roles that may see the event, the snapshot slot that it fills, and the key
under which a newer event supersedes an older one. Producers may add fields, which are passed on unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from callcenter_ws.events.principal import STAFF, STAFF_AND_VISITORS, STAFF_AND_WALLS, Role
from callcenter_ws.runtime.json import MAX_INTEGER, Integer, JsonValue

Id = Annotated[str, Meta(min_length=1, max_length=255)] | Integer
Text = str
Number = Integer | float
Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Instant = Annotated[datetime, Meta(tz=True)]

Direction = Literal["inbound", "outbound", "internal"]
AgentState = Literal["available", "busy", "away", "break", "offline", "ringing", "talking", "hold", "wrap_up"]
SenderType = Literal["visitor", "agent", "bot", "system"]
EntityKey = tuple[str, ...]


class Payload(msgspec.Struct, kw_only=True):
    """Base of the payload declarations. Unknown fields are allowed, optional ones may be null."""


class CallPayload(Payload, kw_only=True):
    """The fields that every call event, ``queue.joined`` and ``queue.left`` share."""

    unique_id: Id
    call_id: Id | None = None
    direction: Direction | None = None
    caller_id: Id | None = None
    caller_name: Text | None = None
    destination: Id | None = None
    queue_name: Id | None = None
    agent_id: Id | None = None
    agent_name: Text | None = None
    channel: Text | None = None
    destination_channel: Text | None = None
    started_at: Instant | None = None
    answered_at: Instant | None = None
    variables: dict[str, JsonValue] | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """The effect of an event on the snapshot.

    Attributes:
        kind: the kind of entity, the first part of its key.
        entity: the fields that identify the entity; of the alternatives for each, the first that is present.
        keeps: the slot that the event fills.
        drops: the slot that it empties, or ``*`` for the whole entity.
        appends: the event is added to the last messages of the entity, if the snapshot has the entity. Events for one
            user are not.
        while_true: a boolean field; where it is not true, the event removes the entity instead.
        lasting: the entity does not expire, and has a bound of its own; only events of the gateway itself fill it.
    """

    kind: str
    entity: tuple[tuple[str, ...], ...]
    keeps: str | None = None
    drops: str | None = None
    appends: bool = False
    while_true: str | None = None
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class EventType:
    """One declared event type.

    Attributes:
        audience: the roles that may ever see it; ``events.visibility`` restricts it further.
        carries_call: whether it is about a call, whose queue and agents restrict it. Fields with the caller are masked
            for wallboards.
        of_queue: whether a ``queues`` claim restricts it.
        of_chat: whether it belongs to a chat session, whose queue and agent restrict it (``agent_chats``).
        agent_fields: the fields of the payload that name agents who handle the call or the chat.
        unanswered: whether the call still waits for an agent (``agent_calls = "own"`` shows it to the queue's agents).
        conflate_by: fields of the key under which only the newest event matters; None: all matter.
        needs_user: whether ``user_id`` is required, because it is for one user only.
        persists: whether it is kept in its user's mailbox, as if it had been published with ``persist``.
        figure: the payload of the live figure of this type, which the gateway derives in tenants with statistics: a
            message without ``id`` and ``seq``. None: there is none. Senders' events are not checked against it.
        by_gateway: whether only the gateway itself makes it; senders are refused.
        copies: the number of copies of its payload that a publication may hold: one as it came, one in a frame with the
            full view, and one in a frame for wallboards or for visitors, if these see a part of it.
    """

    name: str
    payload: type[Payload]
    audience: frozenset[Role]
    carries_call: bool = False
    of_queue: bool = False
    of_chat: bool = False
    agent_fields: tuple[str, ...] = ()
    unanswered: bool = False
    slot: Slot | None = None
    conflate_by: tuple[str, ...] | None = None
    needs_user: bool = False
    persists: bool = False
    figure: type[Payload] | None = None
    by_gateway: bool = False
    copies: int = 2


CATALOGUE: dict[str, EventType] = {}

EVERYTHING = "*"
"""The pattern that covers every event type."""

P = TypeVar("P", bound=Payload)


def _declare(
    *names: str,
    audience: Iterable[Role] = STAFF_AND_WALLS,
    slot: Slot | None = None,
    conflate_by: tuple[str, ...] | None = None,
    unanswered: bool = False,
    needs_user: bool = False,
    persists: bool = False,
    figure: type[Payload] | None = None,
    by_gateway: bool = False,
    of_call: bool = False,
) -> Callable[[type[P]], type[P]]:
    def declare(payload: type[P]) -> type[P]:
        for name in names:
            family = name.partition(".")[0]
            carries_call = of_call or issubclass(payload, CallPayload)
            declared = _AGENT_FIELDS if carries_call else payload.__struct_fields__ if family == "chat" else ()
            CATALOGUE[name] = EventType(
                name,
                payload,
                frozenset(audience),
                carries_call=carries_call,
                of_queue=family in ("call", "queue") or name == "command.executed",
                of_chat=family == "chat",
                agent_fields=tuple(field for field in _AGENT_FIELDS if field in declared),
                unanswered=unanswered,
                slot=slot,
                conflate_by=conflate_by,
                needs_user=needs_user,
                persists=persists,
                figure=payload if by_gateway and issubclass(payload, FigureHead) else figure,
                by_gateway=by_gateway,
                copies=3 if carries_call or Role.VISITOR in audience else 2,
            )
        return payload

    return declare


_AGENT_FIELDS = ("agent_id", "from_agent_id", "to_agent_id")
"""In this order: the last of those that a chat event names is the agent whom the chat is assigned to."""

_AGENT = (("user_id",),)
_CALL = (("call_id", "unique_id"),)
_QUEUE = (("queue_name",),)
_MEMBER = (("queue_name",), ("user_id",))
_CHAT = (("session_id",),)
_SOURCE = (("source",),)
_ALERT = (("rule",), ("queue_name", "source"))


@_declare("agent.login", slot=Slot("agent", _AGENT, keeps="state"))
class AgentLogin(Payload, kw_only=True):
    user_id: Id
    username: Text
    extension: Id | None = None
    interface: Text | None = None
    queues: list[Id] | None = None
    state: AgentState | None = None


@_declare("agent.state.changed", slot=Slot("agent", _AGENT, keeps="state"))
class AgentStateChanged(Payload, kw_only=True):
    user_id: Id
    username: Text
    state: AgentState
    previous_state: AgentState | None = None
    reason: Text | None = None
    since_at: Instant | None = None
    extension: Id | None = None


@_declare("agent.logout", slot=Slot("agent", _AGENT, drops="*"))
class AgentLogout(Payload, kw_only=True):
    user_id: Id
    username: Text
    reason: Literal["user", "supervisor", "connection_lost", "revoked"] | None = None


@_declare("call.incoming", slot=Slot("call", _CALL, keeps="incoming"), unanswered=True)
class CallIncoming(CallPayload, kw_only=True):
    caller_id: Id
    destination: Id


@_declare("call.ringing", slot=Slot("call", _CALL, keeps="ringing"), unanswered=True)
class CallRinging(CallPayload, kw_only=True):
    agent_id: Id


@_declare("call.answered", slot=Slot("call", _CALL, keeps="answered"))
class CallAnswered(CallPayload, kw_only=True):
    agent_id: Id
    wait_seconds: Number | None = None
    ring_seconds: Number | None = None


@_declare("call.hold", "call.unhold", slot=Slot("call", _CALL, keeps="hold"))
class CallHold(CallPayload, kw_only=True):
    held_by: Id | None = None


@_declare("call.transferred", slot=Slot("call", _CALL, keeps="transferred"))
class CallTransferred(CallPayload, kw_only=True):
    destination: Id
    transfer_type: Literal["blind", "attended"] | None = None
    from_agent_id: Id | None = None
    to_agent_id: Id | None = None


@_declare("call.missed", unanswered=True)
class CallMissed(CallPayload, kw_only=True):
    ring_seconds: Number | None = None


@_declare("call.abandoned", slot=Slot("call", _CALL, drops="*"), unanswered=True)
class CallAbandoned(CallPayload, kw_only=True):
    queue_name: Id
    wait_seconds: Number | None = None
    position: Count | None = None


@_declare("call.ended", slot=Slot("call", _CALL, drops="*"))
class CallEnded(CallPayload, kw_only=True):
    duration: Number
    ended_by: Text | None = None
    hangup_cause: Id | None = None
    talk_seconds: Number | None = None
    hold_seconds: Number | None = None
    wait_seconds: Number | None = None


@_declare("call.disposition", audience=STAFF, of_call=True)
class CallDisposition(Payload, kw_only=True):
    """What came of a call, said during it or after it.

    It fills no slot: a call that has ended must not come back into the snapshot. Notes are not for wallboards.
    """

    call_id: Id
    code: Annotated[str, Meta(min_length=1, max_length=64)]
    label: Text | None = None
    note: Text | None = None
    unique_id: Id | None = None
    queue_name: Id | None = None
    agent_id: Id | None = None


@_declare("queue.joined", slot=Slot("call", _CALL, keeps="joined"), unanswered=True)
class QueueJoined(CallPayload, kw_only=True):
    queue_name: Id
    position: Count | None = None
    calls_waiting: Count | None = None


@_declare("queue.left", slot=Slot("call", _CALL, drops="joined"), unanswered=True)
class QueueLeft(CallPayload, kw_only=True):
    queue_name: Id
    reason: (
        Literal["answered", "abandoned", "timeout", "empty", "key", "withdrawn", "transferred", "other", "unknown"]
        | None
    ) = None
    wait_seconds: Number | None = None


class QueueStats(Payload, kw_only=True):
    """The figures of a queue that senders publish."""

    queue_name: Id
    calls_waiting: Count
    available_agents: Count
    logged_in_agents: Count
    talking_agents: Count | None = None
    longest_wait_time: Number | None = None
    average_wait_time: Number | None = None
    completed_calls: Count | None = None
    abandoned_calls: Count | None = None


class FigureHead(Payload, kw_only=True):
    """The fields that all figures share."""

    source: Literal["gateway"] | None = None
    epoch: Text | None = None
    as_of_seq: Count | None = None
    generated_at: Instant | None = None
    day: Text | None = None
    time_zone: Text | None = None
    today: dict[str, JsonValue] | None = None
    interval: dict[str, JsonValue] | None = None
    incomplete_since: Instant | None = None


class QueueFigures(FigureHead, kw_only=True):
    """The figures of a queue that the gateway derives; those of ``QueueStats`` are among them."""

    queue_name: Id
    calls_waiting: Count
    available_agents: Count
    logged_in_agents: Count
    talking_agents: Count | None = None
    longest_wait_time: Number | None = None
    average_wait_time: Number | None = None
    completed_calls: Count | None = None
    abandoned_calls: Count | None = None
    longest_wait_since: Instant | None = None
    interacting_calls: Count | None = None
    staffed_agents: Count | None = None
    paused_agents: Count | None = None
    non_productive_agents: Count | None = None
    agents: dict[str, JsonValue] | None = None
    service_level: Number | None = None
    service_level_method: Text | None = None
    service_level_seconds: Number | None = None
    service_level_target: Number | None = None
    short_abandon_seconds: Number | None = None
    last_30m: dict[str, JsonValue] | None = None


_declare("queue.stats", slot=Slot("queue", _QUEUE, keeps="stats"), conflate_by=("queue_name",), figure=QueueFigures)(
    QueueStats
)


@_declare("agent.stats", audience=(Role.SUPERVISOR, Role.ADMIN, Role.AGENT), by_gateway=True)
class AgentStats(FigureHead, kw_only=True):
    """The figures of an agent. ``queues`` are those that the agent is a member of."""

    user_id: Id
    username: Text | None = None
    queues: list[Id] | None = None
    state: AgentState | None = None
    reason: Text | None = None
    since: Instant | None = None
    seconds_in_state: Number | None = None


@_declare("tenant.stats", by_gateway=True)
class TenantStats(FigureHead, kw_only=True):
    """The figures of the tenant: calls, each counted once, and stays in queues."""


class QueueMember(Payload, kw_only=True):
    """The fields of every ``queue.member.*`` event."""

    queue_name: Id
    user_id: Id
    username: Text | None = None
    interface: Text | None = None
    paused: bool | None = None
    penalty: Count | None = None
    reason: Text | None = None


@_declare(
    "queue.member.added",
    "queue.member.paused",
    "queue.member.unpaused",
    slot=Slot("member", _MEMBER, keeps="member"),
)
class QueueMemberChanged(QueueMember, kw_only=True):
    """A member joined the queue, or was paused or unpaused."""


@_declare("queue.member.removed", slot=Slot("member", _MEMBER, drops="*"))
class QueueMemberRemoved(QueueMember, kw_only=True):
    """A member left the queue."""


@_declare("chat.session.started", audience=STAFF_AND_VISITORS, slot=Slot("chat", _CHAT, keeps="started"))
class ChatSessionStarted(Payload, kw_only=True):
    session_id: Id
    visitor_name: Text | None = None
    visitor_email: Text | None = None
    queue_name: Id | None = None
    agent_id: Id | None = None
    agent_name: Text | None = None
    status: Text | None = None


@_declare("chat.message", audience=STAFF_AND_VISITORS, slot=Slot("chat", _CHAT, appends=True))
class ChatMessage(Payload, kw_only=True):
    session_id: Id
    message_id: Id
    sender_id: Id
    sender_type: SenderType
    body: Text
    sender_name: Text | None = None
    private: bool | None = None
    client_message_id: Id | None = None


@_declare(
    "chat.typing",
    audience=STAFF_AND_VISITORS,
    conflate_by=("session_id", "sender_type", "sender_id", "sender_name"),
)
class ChatTyping(Payload, kw_only=True):
    session_id: Id
    sender_type: SenderType
    is_typing: bool
    sender_name: Text | None = None
    sender_id: Id | None = None


@_declare("chat.delivered", audience=STAFF, slot=Slot("chat", _CHAT, keeps="delivered"), conflate_by=("session_id",))
class ChatDelivered(Payload, kw_only=True):
    """The visitor's page has received this message of the chat and all before it."""

    session_id: Id
    message_id: Id


@_declare("chat.transferred", audience=STAFF_AND_VISITORS, slot=Slot("chat", _CHAT, keeps="transferred"))
class ChatTransferred(Payload, kw_only=True):
    session_id: Id
    to_agent_id: Id
    from_agent_id: Id | None = None
    agent_name: Text | None = None


@_declare("chat.session.ended", audience=STAFF_AND_VISITORS, slot=Slot("chat", _CHAT, drops="*"))
class ChatSessionEnded(Payload, kw_only=True):
    session_id: Id
    reason: Text | None = None
    ended_by: Text | None = None


@_declare("notification", audience=STAFF_AND_WALLS, needs_user=True, persists=True)
class Notification(Payload, kw_only=True):
    type: Text
    title: Text
    message: Text
    data: JsonValue = None
    severity: Text | None = None
    expires_at: Instant | None = None


@_declare("alert")
class Alert(Payload, kw_only=True):
    title: Text
    message: Text
    severity: Text | None = None


class SourceChanged(Payload, kw_only=True):
    """The fields of ``source.up`` and ``source.down``."""

    source: Id
    kind: Text | None = None
    reason: Text | None = None
    since: Instant | None = None
    version: Text | None = None


@_declare("source.up", slot=Slot("source", _SOURCE, keeps="source"))
class SourceUp(SourceChanged, kw_only=True):
    """The source is connected, and its events are complete from now on.

    The gateway adds ``commands``: the names of those that the source declared.
    """

    commands: list[Text] | None = None


@_declare("source.down", slot=Slot("source", _SOURCE, keeps="source"))
class SourceDown(SourceChanged, kw_only=True):
    """The source is disconnected: the state that its events made may be out of date."""


@_declare(
    "presence.changed",
    audience=STAFF_AND_WALLS - {Role.AGENT},
    slot=Slot("presence", _AGENT, keeps="online", while_true="online", lasting=True),
    conflate_by=("user_id",),
    by_gateway=True,
)
class PresenceChanged(Payload, kw_only=True):
    """Published by the gateway. Not for agents: the cost of a reconnect storm would grow with its square."""

    user_id: Id
    online: bool
    connections: Count | None = None
    reason: Text | None = None


_ALERT_SLOT = Slot("alert", _ALERT, keeps="alert", lasting=True)


class QueueAlert(Payload, kw_only=True):
    """The fields of every ``queue.alert.*`` event; each has all of them, since the snapshot keeps only the last."""

    alert_id: Id
    rule: Id
    queue_name: Id | None = None
    source: Id | None = None
    metric: Text | None = None
    window: Text | None = None
    value: Number | None = None
    threshold: Number | None = None
    severity: Text | None = None
    since: Instant
    repeat: Count | None = None
    reason: Text | None = None
    by: Id | None = None
    note: Text | None = None


@_declare("queue.alert.raised", "queue.alert.acknowledged", slot=_ALERT_SLOT, by_gateway=True)
class QueueAlertRaised(QueueAlert, kw_only=True):
    """A rule is broken: for long enough, again after ``repeat`` seconds, or a supervisor has taken notice."""


@_declare("queue.alert.cleared", slot=replace(_ALERT_SLOT, keeps=None, drops="*"), by_gateway=True)
class QueueAlertCleared(QueueAlert, kw_only=True):
    """The rule is kept again, or is not evaluated any more."""


class CommandClosed(Payload, kw_only=True):
    """The fields of ``command.done`` and ``command.failed``, which only the asker sees."""

    command_id: Id
    name: Text
    source: Id | None = None
    data: JsonValue = None
    message: Text | None = None


@_declare("command.done", audience=STAFF, needs_user=True, by_gateway=True)
class CommandDone(CommandClosed, kw_only=True):
    """It was carried out, or it was already so."""


@_declare("command.failed", audience=STAFF, needs_user=True, by_gateway=True)
class CommandFailed(CommandClosed, kw_only=True):
    """It was not carried out, or, with ``outcome_unknown``, that is not known."""

    code: Text


@_declare("command.executed", audience={Role.SUPERVISOR, Role.ADMIN}, by_gateway=True)
class CommandExecuted(Payload, kw_only=True):
    """A command has ended: who issued it, for what, and its outcome; by the ``queues`` claim."""

    command_id: Id
    name: Text
    user_id: Id
    role: Text
    source: Id | None = None
    queue_name: Id | None = None
    call_id: Id | None = None
    session_id: Id | None = None
    subject_user_id: Id | None = None
    outcome: Literal["done", "failed"]
    code: Text | None = None
    duration: Number


@_declare("statistics.settings.changed", audience={Role.ADMIN}, by_gateway=True)
class StatisticsSettingsChanged(Payload, kw_only=True):
    """The settings from which figures are derived from here on, complete."""

    time_zone: Text
    service_level_seconds: Number
    service_level_target: Number
    short_abandon_seconds: Number
    service_level_method: Text
    queues: dict[str, JsonValue] | None = None


def covers(pattern: str, name: str) -> bool:
    """Return whether ``pattern`` is this name, a prefix of it (``call.*``), or ``*``."""
    return pattern in (EVERYTHING, name) or (pattern.endswith(".*") and name.startswith(pattern[:-1]))


def names_matching(pattern: str) -> frozenset[str]:
    """Return the event types that a name, a prefix (``call.*``) or ``*`` matches; none when it is unknown."""
    return _MATCHING.get(pattern, frozenset())


def _patterns_of(name: str) -> Iterable[str]:
    words = name.split(".")
    return (EVERYTHING, name, *(".".join(words[:length]) + ".*" for length in range(1, len(words))))


# Computed for all patterns that match anything: clients choose the patterns, and could fill a cache with others.
_MATCHING = {
    pattern: frozenset(name for name in CATALOGUE if covers(pattern, name))
    for pattern in {pattern for name in CATALOGUE for pattern in _patterns_of(name)}
}
