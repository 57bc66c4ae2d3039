"""The difference between what the state knows of a call and what its source says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.sources.known_event import KnownEvent

_KEPT = (
    *("unique_id", "call_id", "direction", "caller_id", "caller_name", "destination", "queue_name"),
    *("agent_id", "agent_name", "channel", "destination_channel", "started_at", "answered_at"),
)
"""The fields of an ended call that are known from its earlier events."""

_OF_QUEUE = ("position", "calls_waiting")
_OF_ANSWER = ("wait_seconds", "ring_seconds")
_OF_AGENT = ("agent_id", "agent_name", "answered_at")


@dataclass(slots=True)
class CallView:
    """What the state shows of a call.

    Attributes:
        agent: the agent at whose phone it rings, or who talks; None while it waits.
        queue: the queue in which it waits; None: in none.
    """

    status: Literal["waiting", "ringing", "answered", "hold"] = "waiting"
    agent: str | None = None
    queue: str | None = None

    @classmethod
    def of_state(cls, known: Sequence[KnownEvent]) -> CallView:
        """Return what the events of a call in the state show, which are in ``seq`` order."""
        view = cls()
        for event in known:
            view._apply(event.type, event.payload)
        return view

    def _apply(self, type_: str, payload: JsonObject) -> None:
        agent = _text(payload.get("agent_id"))
        if type_ == "call.incoming":
            self.status, self.agent = "waiting", None
        elif type_ == "queue.joined":
            self.status, self.agent, self.queue = "waiting", None, _text(payload.get("queue_name"))
        elif type_ == "call.ringing":
            self.status, self.agent = "ringing", agent
        elif type_ == "call.answered":
            self.status, self.agent = "answered", agent
        elif type_ == "call.transferred":
            is_attended = payload.get("transfer_type") == "attended"
            self.status = "answered" if is_attended else "waiting"
            self.agent = _text(payload.get("to_agent_id")) if is_attended else None
        elif type_ == "call.hold":
            self.status, self.agent = "hold", agent or self.agent or _text(payload.get("held_by"))
        elif type_ == "call.unhold":
            self.status, self.agent = "answered", agent or self.agent

    @classmethod
    def of_entity(cls, listed: JsonObject) -> CallView:
        """Return what the source says of a call."""
        status = listed["status"]
        waits = status in ("waiting", "ringing")
        return cls(
            status,
            None if status == "waiting" else _text(listed.get("agent_id")),
            _text(listed.get("queue_name")) if waits else None,
        )


def call_difference(known: Sequence[KnownEvent], listed: JsonObject | None) -> list[tuple[str, JsonObject]]:
    """Compare a call; see ``difference.Difference``."""
    if listed is None:
        return _end(known) if known else []
    before, after = CallView.of_state(known), CallView.of_entity(listed)
    changes: list[tuple[str, JsonObject]] = []
    if not known:
        changes.append(("call.incoming", _payload(listed, without=_OF_AGENT)))
    if before == after:
        return changes
    goes_back = bool(known) and after.status == "waiting" != before.status
    if before.queue is not None and (before.queue != after.queue or goes_back):
        changes.append(("queue.left", _left(known, before.queue)))
        before.queue = None
    if goes_back and after.queue is None:
        # No other event says that a call is at no agent's phone any more.
        changes.append(("call.incoming", _payload(listed, without=_OF_AGENT)))
    if after.queue is not None and after.queue != before.queue:
        changes.append(("queue.joined", _payload(listed, _OF_QUEUE, without=_OF_AGENT)))
        before.status, before.agent = "waiting", None
    return changes + _status_changes(before, after, listed)


def _status_changes(before: CallView, after: CallView, listed: JsonObject) -> list[tuple[str, JsonObject]]:
    changes: list[tuple[str, JsonObject]] = []
    is_other_agent = before.agent != after.agent
    if after.status == "ringing" and (before.status != "ringing" or is_other_agent):
        changes.append(("call.ringing", _payload(listed, without=("answered_at",))))
    if after.status in ("answered", "hold"):
        if before.status not in ("answered", "hold") or is_other_agent:
            changes.append(("call.answered", _payload(listed, _OF_ANSWER)))
            before.status = "answered"
        if before.status != after.status:
            extra = ("held_by",) if after.status == "hold" else ()
            changes.append((f"call.{'hold' if after.status == 'hold' else 'unhold'}", _payload(listed, extra)))
    return changes


def _payload(listed: JsonObject, extra: Sequence[str] = (), without: Sequence[str] = ()) -> JsonObject:
    """Return the fields of a call, without those of other events."""
    others = {"status", *_OF_QUEUE, *_OF_ANSWER, "held_by"}.difference(extra).union(without)
    return {name: value for name, value in listed.items() if name not in others and value is not None}


def _known_fields(known: Sequence[KnownEvent]) -> JsonObject:
    fields: JsonObject = {}
    for event in known:
        fields |= {name: event.payload[name] for name in _KEPT if event.payload.get(name) is not None}
    return fields


def _left(known: Sequence[KnownEvent], queue: str) -> JsonObject:
    return {**_known_fields(known), "queue_name": queue, "reason": "unknown"}


def _end(known: Sequence[KnownEvent]) -> list[tuple[str, JsonObject]]:
    """Return the events that end a call, without what is not known of its end."""
    changes: list[tuple[str, JsonObject]] = []
    queue = CallView.of_state(known).queue
    if queue is not None:
        changes.append(("queue.left", _left(known, queue)))
    ended = {**_known_fields(known), "duration": _duration(known), "ended_by": "unknown"}
    return [*changes, ("call.ended", ended)]


def _duration(known: Sequence[KnownEvent]) -> float:
    """Return the seconds from the start of a call to the last event that is known of it."""
    started_at = _known_fields(known).get("started_at")
    begins = [] if started_at is None else [msgspec.convert(started_at, datetime)]
    signs = [msgspec.convert(event.timestamp, datetime) for event in known]
    return max(0.0, round((max(signs) - min(begins or signs)).total_seconds(), 3))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
