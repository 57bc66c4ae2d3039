"""A reference implementation of the state: computed from all published events, slowly and simply."""

from __future__ import annotations

from typing import Any

from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.json import decode_json

DAY = 86_400.0
MESSAGES = 50

# By event type: the kind of the entity, the fields that identify it, and the slot that is filled (docs/events.rst).
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
    "chat.delivered": ("chat", ("session_id",), "delivered"),
}
# The same for the slot that is emptied; None: all slots.
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


def _chat_of(payload: dict[str, Any]) -> tuple[str, ...]:
    return _entity("chat", ("session_id",), payload)


def compacted(messages: list[Publication], now: float) -> list[int]:  # noqa: C901 - one rule after the other
    """Return the positions of the publications in the snapshot at ``now``, after ``messages`` were published.

    Args:
        now: seconds of the monotonic clock.
    """
    slots: dict[tuple[str, ...], dict[tuple[str, str | None], int]] = {}
    last_change: dict[tuple[str, ...], float] = {}
    chats: dict[tuple[str, ...], list[int]] = {}
    for message in messages:
        name, user_id = message.event.type.name, message.event.user_id
        payload = decode_json(message.event.payload)
        for entity, changed_at in last_change.items():
            if message.event.received_at - changed_at > DAY:
                slots.pop(entity, None)
                chats.pop(entity, None)
        if name in KEEPS:
            kind, fields, slot = KEEPS[name]
            entity = _entity(kind, fields, payload)
            slots.setdefault(entity, {})[slot, user_id] = message.seq
            last_change[entity] = message.event.received_at
        elif name in DROPS:
            kind, fields, emptied = DROPS[name]
            entity = _entity(kind, fields, payload)
            for slot_key in list(slots.get(entity, {})):
                if emptied in (None, slot_key[0]) and user_id in (None, slot_key[1]):
                    del slots[entity][slot_key]
            last_change[entity] = message.event.received_at
            if not slots.get(entity):
                chats.pop(entity, None)
        elif name == "chat.message" and user_id is None and slots.get(_chat_of(payload)):
            chats[_chat_of(payload)] = [*chats.get(_chat_of(payload), []), message.seq][-MESSAGES:]
            last_change[_chat_of(payload)] = message.event.received_at
    for entity, messages_of_chat in chats.items():
        slots[entity].update({("message", str(seq)): seq for seq in messages_of_chat})
    kept = [seq for entity, filled in slots.items() if now - last_change[entity] <= DAY for seq in filled.values()]
    return sorted(kept)
