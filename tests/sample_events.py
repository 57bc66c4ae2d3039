"""Valid events of every type, and principals."""

from __future__ import annotations

from typing import Any

from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.event import Event, make_event
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.runtime.json import decode_json

ACME = "acme"
GLOBEX = "globex"

_CALL = {"unique_id": "1700000000.1"}
_MEMBER = {"queue_name": "sales", "user_id": "7"}
_COMMAND = {"command_id": "k-1", "name": "call.hangup"}
_CHAT = {"session_id": "s-1"}

REQUIRED: dict[str, dict[str, Any]] = {
    "agent.login": {"user_id": "7", "username": "ana"},
    "agent.state.changed": {"user_id": "7", "username": "ana", "state": "busy"},
    "agent.logout": {"user_id": "7", "username": "ana"},
    "call.incoming": {**_CALL, "caller_id": "+351210000000", "destination": "100"},
    "call.ringing": {**_CALL, "agent_id": "7"},
    "call.answered": {**_CALL, "agent_id": "7"},
    "call.hold": _CALL,
    "call.unhold": _CALL,
    "call.transferred": {**_CALL, "destination": "200"},
    "call.missed": _CALL,
    "call.abandoned": {**_CALL, "queue_name": "sales"},
    "call.ended": {**_CALL, "duration": 61.5},
    "call.disposition": {"call_id": "1700000000.1", "code": "sale"},
    "queue.joined": {**_CALL, "queue_name": "sales"},
    "queue.left": {**_CALL, "queue_name": "sales"},
    "queue.stats": {"queue_name": "sales", "calls_waiting": 2, "available_agents": 1, "logged_in_agents": 3},
    "queue.member.added": _MEMBER,
    "queue.member.removed": _MEMBER,
    "queue.member.paused": _MEMBER,
    "queue.member.unpaused": _MEMBER,
    "chat.session.started": _CHAT,
    "chat.message": {**_CHAT, "message_id": "m-1", "sender_id": "v-1", "sender_type": "visitor", "body": "hello"},
    "chat.typing": {**_CHAT, "sender_type": "visitor", "is_typing": True},
    "chat.delivered": {**_CHAT, "message_id": "m-1"},
    "chat.transferred": {**_CHAT, "to_agent_id": "8"},
    "chat.session.ended": _CHAT,
    "notification": {"type": "reminder", "title": "Call back", "message": "Mr. Sousa at 15:00"},
    "alert": {"title": "Trunk down", "message": "SIP trunk 2 does not answer"},
    "source.up": {"source": "pbx1"},
    "source.down": {"source": "pbx1"},
    "agent.stats": {"user_id": "7"},
    "tenant.stats": {},
    "presence.changed": {"user_id": "7", "online": True},
    **{
        f"queue.alert.{what}": {"alert_id": "a1", "rule": "waits", "since": "2026-11-22T19:40:00Z"}
        for what in ("raised", "acknowledged", "cleared")
    },
    "command.done": _COMMAND,
    "command.failed": {**_COMMAND, "code": "timeout"},
    "command.executed": {**_COMMAND, "user_id": "7", "role": "agent", "outcome": "done", "duration": 0.4},
    "statistics.settings.changed": {
        "time_zone": "UTC",
        "service_level_seconds": 20,
        "service_level_target": 80,
        "short_abandon_seconds": 5,
        "service_level_method": "answered_of_offered",
    },
}
"""The required fields of each event type, with valid values."""


def principal(role: Role = Role.AGENT, user_id: str = "7", tenant_id: str = ACME, **claims: Any) -> Principal:
    """Return a principal: by default the agent ``7`` of the tenant ``acme``."""
    return Principal(tenant_id=tenant_id, user_id=user_id, role=role, **claims)


def event(type_: str, payload: dict[str, Any] | None = None, **fields: Any) -> Event:
    """Return a valid event of type ``type_``; ``payload`` is merged into the required fields."""
    arguments: dict[str, Any] = {"tenant_id": ACME, "event_id": "e-1", "now": 0.0, "received_at": 0.0, **fields}
    if CATALOGUE[type_].needs_user:
        arguments.setdefault("user_id", "7")
    return make_event(type_=type_, payload={**REQUIRED[type_], **(payload or {})}, **arguments)


def payload_of(event_: Event) -> Any:
    """Return the decoded payload of an event."""
    return decode_json(event_.payload)
