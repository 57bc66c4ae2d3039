"""A complete example of the payload of each event type; ``tests/cli`` publishes every one of them."""

from __future__ import annotations

from collections.abc import Mapping

from callcenter_ws.runtime.json import JsonObject, JsonValue

_CALL: JsonObject = {
    "unique_id": "1732304400.42",
    "call_id": "1732304400.42",
    "direction": "inbound",
    "caller_id": "+351210000001",
    "caller_name": "Ana Silva",
    "destination": "800100",
    "queue_name": "sales",
    "agent_id": "1001",
    "agent_name": "Bruno Costa",
    "channel": "PJSIP/trunk-0000002a",
    "destination_channel": "PJSIP/1001-0000002b",
    "started_at": "2026-11-22T19:40:00Z",
    "answered_at": "2026-11-22T19:40:17Z",
    "variables": {"customer": "C-4711"},
}
_AGENT: JsonObject = {"user_id": "1001", "username": "bruno"}
_MEMBER: JsonObject = {
    "queue_name": "sales",
    "user_id": "1001",
    "username": "bruno",
    "interface": "PJSIP/1001",
    "paused": False,
    "penalty": 0,
    "reason": "shift begins",
}
_CHAT: JsonObject = {"session_id": "chat-7"}
_ALERT = {
    "alert_id": "alert-3f0c9a7e5b1d4c62",
    "rule": "sales waits",
    "queue_name": "sales",
    "metric": "longest_wait_time",
    "window": "now",
    "value": 75,
    "threshold": 60,
    "severity": "warning",
    "since": "2026-11-22T19:40:00Z",
    "source": None,
    "repeat": None,
    "reason": None,
    "by": None,
    "note": None,
}

_SOURCE: JsonObject = {
    "source": "pbx1",
    "kind": "asterisk",
    "reason": "the daemon has started",
    "since": "2026-11-22T19:40:00Z",
    "version": "21.4.0",
}


def _not_answered(**fields: JsonValue) -> JsonObject:
    """Return the call fields of a call that no agent has answered, with others."""
    without = ("agent_id", "agent_name", "destination_channel", "answered_at")
    return {**{name: None if name in without else value for name, value in _CALL.items()}, **fields}


_FIGURES: JsonObject = {
    "source": "gateway",
    "epoch": "01JDA5ZV1N",
    "as_of_seq": 48211,
    "generated_at": "2026-11-22T19:40:00.123Z",
    "day": "2026-11-22",
    "time_zone": "Europe/Berlin",
    "incomplete_since": None,
}

EXAMPLES: Mapping[str, JsonObject] = {
    "agent.login": {
        **_AGENT,
        "extension": "1001",
        "interface": "PJSIP/1001",
        "queues": ["sales", "support"],
        "state": "available",
    },
    "agent.state.changed": {
        **_AGENT,
        "state": "break",
        "previous_state": "available",
        "reason": "lunch",
        "since_at": "2026-11-22T19:40:00Z",
        "extension": "1001",
    },
    "agent.logout": {**_AGENT, "reason": "user"},
    "call.incoming": _not_answered(),
    "call.ringing": {**_CALL, "answered_at": None},
    "call.answered": {**_CALL, "wait_seconds": 14, "ring_seconds": 3.5},
    "call.hold": {**_CALL, "held_by": "1001"},
    "call.unhold": {**_CALL, "held_by": "1001"},
    "call.transferred": {
        **_CALL,
        "destination": "1002",
        "transfer_type": "attended",
        "from_agent_id": "1001",
        "to_agent_id": "1002",
    },
    "call.missed": {**_CALL, "answered_at": None, "ring_seconds": 20},
    "call.abandoned": _not_answered(wait_seconds=93, position=2),
    "call.ended": {
        **_CALL,
        "duration": 182,
        "ended_by": "caller",
        "hangup_cause": "16",
        "talk_seconds": 150.5,
        "hold_seconds": 14.5,
        "wait_seconds": 17,
    },
    "queue.joined": _not_answered(position=3, calls_waiting=3),
    "queue.left": {**_CALL, "reason": "answered", "wait_seconds": 14},
    "queue.stats": {
        "queue_name": "sales",
        "calls_waiting": 3,
        "available_agents": 2,
        "logged_in_agents": 9,
        "talking_agents": 6,
        "longest_wait_time": 41,
        "average_wait_time": 12.5,
        "completed_calls": 310,
        "abandoned_calls": 12,
        "longest_wait_since": "2026-11-22T19:39:19.123Z",
        "interacting_calls": 6,
        "staffed_agents": 8,
        "paused_agents": 0,
        "non_productive_agents": 1,
        "agents": {"available": 2, "break": 1, "talking": 6},
        "service_level": 81.25,
        "service_level_method": "answered_of_offered_less_short",
        "service_level_seconds": 20,
        "service_level_target": 80,
        "short_abandon_seconds": 5,
        **_FIGURES,
        "today": {"offered": 325, "answered": 311, "abandoned": 12},
        "last_30m": {"offered": 14, "answered": 12, "abandoned": 1},
        "interval": {"start": "2026-11-22T20:30:00+01:00", "minutes": 15, "offered": 9, "answered": 8},
    },
    "agent.stats": {
        "user_id": "1001",
        "username": "bruno",
        "queues": ["sales"],
        "state": "break",
        "reason": "lunch",
        "since": "2026-11-22T19:32:00.000Z",
        "seconds_in_state": 480.123,
        **_FIGURES,
        "today": {"answered": 31, "handled": 30, "missed": 1, "occupancy": 74.5},
        "interval": {"start": "2026-11-22T20:30:00+01:00", "minutes": 15, "answered": 1},
    },
    "tenant.stats": {
        **_FIGURES,
        "today": {"calls_offered": 610, "calls_answered": 580, "queue_entries": 702},
        "interval": {"start": "2026-11-22T20:30:00+01:00", "minutes": 15, "calls_offered": 17},
    },
    "queue.member.added": _MEMBER,
    "queue.member.removed": {**_MEMBER, "reason": "shift ends"},
    "queue.member.paused": {**_MEMBER, "paused": True, "reason": "break"},
    "queue.member.unpaused": {**_MEMBER, "reason": "back from break"},
    "chat.session.started": {
        **_CHAT,
        "visitor_name": "Ana Silva",
        "visitor_email": "ana@example.com",
        "queue_name": "sales",
        "agent_id": "1001",
        "agent_name": "Bruno Costa",
        "status": "waiting",
    },
    "chat.message": {
        **_CHAT,
        "message_id": "m-12",
        "sender_id": "1001",
        "sender_type": "agent",
        "body": "Good evening, how can I help?",
        "sender_name": "Bruno Costa",
        "private": False,
        "client_message_id": "c-12",
    },
    "chat.typing": {
        **_CHAT,
        "sender_type": "agent",
        "is_typing": True,
        "sender_name": "Bruno Costa",
        "sender_id": "1001",
    },
    "chat.transferred": {**_CHAT, "to_agent_id": "1002", "from_agent_id": "1001", "agent_name": "Carla Dias"},
    "chat.session.ended": {**_CHAT, "reason": "solved", "ended_by": "agent"},
    "notification": {
        "type": "reminder",
        "title": "Call back",
        "message": "Mr Sousa expects a call at 15:00",
        "data": {"customer": "C-4711"},
        "severity": "info",
        "expires_at": "2036-11-22T20:00:00Z",
    },
    "alert": {"title": "Fire drill", "message": "Leave by door B", "severity": "warning"},
    "source.up": _SOURCE,
    "source.down": {**_SOURCE, "reason": "the connection to the exchange was lost"},
    "presence.changed": {"user_id": "1001", "online": True, "connections": 1, "reason": "connected"},
    "queue.alert.raised": {**_ALERT, "repeat": 0},
    "queue.alert.acknowledged": {**_ALERT, "by": "2001", "note": "calling in two more"},
    "queue.alert.cleared": {**_ALERT, "value": 44, "threshold": 45, "reason": "recovered"},
    "statistics.settings.changed": {
        "time_zone": "Europe/Berlin",
        "service_level_seconds": 20,
        "service_level_target": 80,
        "short_abandon_seconds": 5,
        "service_level_method": "answered_of_offered_less_short",
        "queues": {},
    },
}
