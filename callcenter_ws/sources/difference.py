"""The difference between what the state knows of an entity and what its source says: the events that make it up.

Fields that a source does not give are not known to it: they are not compared, and what the state knows is kept. Calls
are in ``sources.call_difference``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.sources.call_difference import call_difference
from callcenter_ws.sources.known_event import KnownEvent

Change = tuple[str, JsonObject]
"""The type and the payload of an event."""

Difference = Callable[[Sequence[KnownEvent], JsonObject | None], list[Change]]
"""Returns the events after which the state shows an entity as its source describes it.

Called with the events of the entity in the state, in ``seq`` order, none if it is not known; and with its description,
None if the source does not list it.
"""

_AGENT_FIELDS = ("username", "extension", "reason")
_MEMBER_FIELDS = ("username", "interface", "penalty")
_LIVE_FIGURES = ("calls_waiting", "available_agents", "logged_in_agents", "talking_agents", "longest_wait_time")
_CHAT_FIELDS = ("queue_name", "visitor_name", "visitor_email", "status")


def differs(known: Mapping[str, object], listed: Mapping[str, object], fields: Sequence[str]) -> bool:
    """Return whether one of the fields that are listed is known otherwise; identifiers are compared as texts."""
    return any(listed.get(field) is not None and not same(known.get(field), listed[field]) for field in fields)


def same(one: object, other: object) -> bool:
    """Return whether two values are equal; an identifier may be a number or its text."""
    return one == other or (one is not None and str(one) == str(other))


def kept(known: Mapping[str, object], listed: JsonObject, fields: Sequence[str]) -> JsonObject:
    """Return the listed fields, and those of the known ones that are not listed."""
    missing = {field: known[field] for field in fields if listed.get(field) is None and known.get(field) is not None}
    return {**listed, **missing}


def agent_difference(known: Sequence[KnownEvent], listed: JsonObject | None) -> list[Change]:
    """Compare an agent."""
    if not known:
        return [("agent.login", listed)] if listed is not None else []
    payload = known[-1].payload
    if listed is None:
        return [("agent.logout", {"user_id": payload["user_id"], "username": payload["username"]})]
    state = payload.get("state") or "available"
    if state == listed["state"]:
        # The reason of another state says nothing.
        if not differs(payload, listed, _AGENT_FIELDS):
            return []
        return [("agent.state.changed", kept(payload, listed, ("extension", "reason", "since_at")))]
    return [("agent.state.changed", kept(payload, {**listed, "previous_state": state}, ("extension",)))]


def queue_difference(known: Sequence[KnownEvent], listed: JsonObject | None) -> list[Change]:
    """Compare the figures of a queue. A queue that is gone has no calls and no agents; its totals stay."""
    payload = known[-1].payload if known else {}
    if listed is not None:
        return [] if known and not differs(payload, listed, tuple(listed)) else [("queue.stats", listed)]
    if not any(payload.get(field) for field in _LIVE_FIGURES):
        return []
    return [("queue.stats", {**payload, **{field: 0 for field in _LIVE_FIGURES if payload.get(field) is not None}})]


def member_difference(known: Sequence[KnownEvent], listed: JsonObject | None) -> list[Change]:
    """Compare a member of a queue."""
    if not known:
        return [("queue.member.added", listed)] if listed is not None else []
    event = known[-1]
    payload = event.payload
    if listed is None:
        names = ("queue_name", "user_id", "username", "interface")
        return [("queue.member.removed", {name: payload[name] for name in names if payload.get(name) is not None})]
    was_paused = payload.get("paused")
    if was_paused is None:
        was_paused = event.type == "queue.member.paused"
    is_paused = was_paused if listed.get("paused") is None else listed["paused"]
    if is_paused == was_paused and not differs(payload, listed, _MEMBER_FIELDS):
        return []
    type_ = "queue.member.paused" if is_paused else "queue.member.unpaused"
    return [(type_, kept(payload, {**listed, "paused": is_paused}, _MEMBER_FIELDS))]


def chat_difference(known: Sequence[KnownEvent], listed: JsonObject | None) -> list[Change]:
    """Compare a chat session."""
    if not known:
        return [("chat.session.started", listed)] if listed is not None else []
    payload: JsonObject = {}
    for event in known:
        payload |= _chat_fields(event)
    if listed is None:
        ended = {"session_id": payload["session_id"], "reason": "unknown", "ended_by": "unknown"}
        return [("chat.session.ended", ended)]
    before, after = payload.get("agent_id"), listed.get("agent_id")
    is_same_agent = same(before, after) if after is not None else before is None
    if differs(payload, listed, _CHAT_FIELDS) or (after is None and before is not None):
        return [("chat.session.started", kept(payload, listed, _CHAT_FIELDS))]
    if is_same_agent:
        return []
    transfer = {"session_id": listed["session_id"], "from_agent_id": before, "to_agent_id": after}
    names = ("agent_name", "queue_name")
    others = {name: listed[name] for name in names if listed.get(name) is not None}
    return [("chat.transferred", {name: value for name, value in transfer.items() if value is not None} | others)]


def _chat_fields(event: KnownEvent) -> JsonObject:
    """Return what an event says of its chat; one that starts it says everything."""
    payload = event.payload
    if event.type == "chat.transferred":
        named = {name: payload[name] for name in ("agent_name", "queue_name") if payload.get(name) is not None}
        return {"session_id": payload["session_id"], "agent_id": payload.get("to_agent_id"), **named}
    return {"agent_id": None, **payload}


DIFFERENCES: dict[str, Difference] = {
    "agents": agent_difference,
    "calls": call_difference,
    "queues": queue_difference,
    "members": member_difference,
    "chats": chat_difference,
}
"""By the name of the scope."""
