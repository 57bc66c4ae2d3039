"""What a source tells with ``SyncState``: its entities, by scope (``docs/senders.rst``, "Telling the whole state")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import (
    AgentState,
    CallPayload,
    Count,
    EntityKey,
    Id,
    Instant,
    Number,
    Payload,
    QueueMember,
    QueueStats,
    Text,
)
from callcenter_ws.events.mistakes import payload_path

MAX_PART_ENTITIES = 1_000
"""Entities in one part."""

MAX_PARTS = 100
MAX_SYNC_ENTITIES = 20_000
MAX_SYNC_BYTES = 8_388_608
"""Parts, entities, and bytes of their JSON, in one ``SyncState``."""


class AgentEntity(Payload, kw_only=True):
    """An agent that is signed in."""

    user_id: Id
    username: Text
    state: AgentState
    extension: Id | None = None
    reason: Text | None = None
    since_at: Instant | None = None
    interface: Text | None = None
    queues: list[Id] | None = None


class CallEntity(CallPayload, kw_only=True):
    """A call that has not ended.

    Attributes:
        status: ``waiting``: no agent's phone rings; it waits in the queue ``queue_name``, if that is given.
        position, calls_waiting: of a call in a queue.
        held_by: who has put it on hold.
    """

    caller_id: Id
    destination: Id
    status: Literal["waiting", "ringing", "answered", "hold"]
    position: Count | None = None
    calls_waiting: Count | None = None
    wait_seconds: Number | None = None
    ring_seconds: Number | None = None
    held_by: Id | None = None


class ChatEntity(Payload, kw_only=True):
    """An open chat session; without ``agent_id`` it is not assigned."""

    session_id: Id
    agent_id: Id | None = None
    agent_name: Text | None = None
    queue_name: Id | None = None
    visitor_name: Text | None = None
    visitor_email: Text | None = None
    status: Text | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """One kind of entities.

    Attributes:
        kind: that of their keys.
        entity: the fields of one.
        key: the fields that identify one.
    """

    name: str
    kind: str
    entity: type[Payload]
    key: tuple[str, ...]

    def key_of(self, entity: Mapping[str, object]) -> EntityKey:
        """Return the key of an entity that is valid."""
        if self.kind == "call" and entity.get("call_id") is not None:
            return (self.kind, str(entity["call_id"]))
        return (self.kind, *[str(entity[field]) for field in self.key])


SCOPES = {
    scope.name: scope
    for scope in (
        Scope("agents", "agent", AgentEntity, ("user_id",)),
        Scope("calls", "call", CallEntity, ("unique_id",)),
        Scope("queues", "queue", QueueStats, ("queue_name",)),
        Scope("members", "member", QueueMember, ("queue_name", "user_id")),
        Scope("chats", "chat", ChatEntity, ("session_id",)),
    )
}


def scope_named(name: object) -> Scope:
    """Return a scope.

    Raises:
        Refusal: ``invalid_event``: there is none with this name.
    """
    scope = SCOPES.get(name) if isinstance(name, str) else None
    if scope is None:
        raise Refusal(ErrorCode.INVALID_EVENT, f"scope: expected one of {', '.join(SCOPES)}")
    return scope


def check_entity(scope: Scope, entity: object, path: Callable[[], str]) -> None:
    """Check one entity.

    Args:
        path: returns where the entity is, for the refusal.

    Raises:
        Refusal: ``invalid_event`` with the path of what is wrong.
    """
    try:
        checked = msgspec.convert(entity, scope.entity)
    except msgspec.ValidationError as error:
        raise Refusal(ErrorCode.INVALID_EVENT, payload_path(str(error)).replace("payload", path(), 1)) from None
    if isinstance(checked, CallEntity) and checked.status != "waiting" and checked.agent_id is None:
        raise Refusal(ErrorCode.INVALID_EVENT, f"{path()}.agent_id: required with the status {checked.status!r}")
