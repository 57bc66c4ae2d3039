"""What a store must answer, computed the slow and obvious way from everything that was ever published."""

from __future__ import annotations

from typing import Any

from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.json import decode_json

DAY = 86_400.0

# PROTOCOL section 4.2, by hand: kind of entity, fields that name it, slot that is filled.
KEEPS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "agent.login": ("agent", ("user_id",), "state"),
    "agent.state.changed": ("agent", ("user_id",), "state"),
    "call.incoming": ("call", (), "incoming"),
    "call.ringing": ("call", (), "ringing"),
    "call.answered": ("call", (), "answered"),
    "call.transferred": ("call", (), "transferred"),
    "call.hold": ("call", (), "hold"),
    "call.unhold": ("call", (), "hold"),
    "queue.joined": ("call", (), "joined"),
    "queue.stats": ("queue", ("queue_name",), "stats"),
    "queue.member.added": ("member", ("queue_name", "user_id"), "member"),
    "queue.member.paused": ("member", ("queue_name", "user_id"), "member"),
    "queue.member.unpaused": ("member", ("queue_name", "user_id"), "member"),
    "chat.session.started": ("chat", ("session_id",), "started"),
    "chat.transferred": ("chat", ("session_id",), "transferred"),
}
# The same for what removes: a slot, or everything.
DROPS: dict[str, tuple[str, tuple[str, ...], str | None]] = {
    "agent.logout": ("agent", ("user_id",), None),
    "call.abandoned": ("call", (), None),
    "call.ended": ("call", (), None),
    "queue.left": ("call", (), "joined"),
    "queue.member.removed": ("member", ("queue_name", "user_id"), None),
    "chat.session.ended": ("chat", ("session_id",), None),
}


def _entity(kind: str, fields: tuple[str, ...], payload: dict[str, Any]) -> tuple[str, ...]:
    if kind == "call":
        return kind, str(payload.get("call_id") or payload["unique_id"])
    return (kind, *[str(payload[field]) for field in fields])


def compacted(messages: list[Publication], now: float) -> list[int]:
    """The positions that make up the snapshot after ``messages``."""
    slots: dict[tuple[str, ...], dict[tuple[str, str | None], int]] = {}
    touched: dict[tuple[str, ...], float] = {}
    for message in messages:
        name, user_id = message.event.type.name, message.event.user_id
        payload = decode_json(message.event.payload)
        for entity, moment in touched.items():
            if message.event.received_at - moment > DAY:
                slots.pop(entity, None)
        if name in KEEPS:
            kind, fields, slot = KEEPS[name]
            entity = _entity(kind, fields, payload)
            slots.setdefault(entity, {})[slot, user_id] = message.seq
            touched[entity] = message.event.received_at
        elif name in DROPS:
            kind, fields, emptied = DROPS[name]
            entity = _entity(kind, fields, payload)
            for place in list(slots.get(entity, {})):
                if emptied in (None, place[0]) and user_id in (None, place[1]):
                    del slots[entity][place]
            touched[entity] = message.event.received_at
    kept = [seq for entity, filled in slots.items() if now - touched[entity] <= DAY for seq in filled.values()]
    return sorted(kept)
