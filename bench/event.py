"""Makes the events of a call center in a realistic mix, each 333 bytes of JSON with a unique id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

from bench.gateway import TENANT

EVENT_BYTES = 333
"""The size of an event as an entry of a batch."""

_STAGES = ("call.incoming", "call.ringing", "call.answered", "call.ended")
_STAGE_DISTANCE = 50
"""The number of calls that start between two stages of one call; three times as many are in progress."""

_AGENTS = 1_000
_QUEUES = 20
_SINCE = "2026-11-22T19:40:00.123Z"

_numbers = count(1)


class Event(NamedTuple):
    """An event before it is published.

    Attributes:
        payload: a JSON text.
        user: the only user that receives it, or None.
    """

    type: str
    event_id: str
    payload: bytes
    tenant: str = TENANT
    user: str | None = None

    @property
    def draft(self) -> bytes:
        """The event as an entry of a batch."""
        user = b"" if self.user is None else b'"user_id":"%b",' % self.user.encode()
        return b'{"tenant_id":"%b","type":"%b","event_id":"%b",%b"payload":%b}' % (
            self.tenant.encode(),
            self.type.encode(),
            self.event_id.encode(),
            user,
            self.payload,
        )

    def message(self, seq: int) -> bytes:
        """Return the event as the gateway sends it to a client; peers without positions are given this text."""
        return b'{"type":"%b","tenant_id":"%b","id":"%b","seq":%d,"timestamp":"%b","payload":%b}' % (
            self.type.encode(),
            self.tenant.encode(),
            self.event_id.encode(),
            seq,
            _SINCE.encode(),
            self.payload,
        )

    def stamped(self, sent: int) -> Event:
        """Return the event, of the same size, with its send time (ns of CLOCK_MONOTONIC) at the end of its payload."""
        stamp = b'","sent_ns":%d}' % sent
        # The stamp overwrites the end of "note", which is the last and longest field.
        return self._replace(payload=self.payload[: -len(stamp)] + stamp)


def make_event(type_: str, payload: dict[str, Any]) -> Event:
    """Return an event with a fresh id, padded to ``EVENT_BYTES``."""
    event_id = f"bench-{next(_numbers):020d}"
    bare = Event(type_, event_id, _encode({**payload, "note": ""}))
    note = "x" * (EVENT_BYTES - len(bare.draft))
    return Event(type_, event_id, _encode({**payload, "note": note}))


def call_event(type_: str, number: int) -> Event:
    """Return an event of the call with this number."""
    payload = {
        "unique_id": f"1763840400.{number}",
        "caller_id": f"+1555{number % 10_000_000:07d}",
        "destination": "800",
        "queue_name": f"queue-{number % _QUEUES}",
    }
    if type_ in ("call.ringing", "call.answered"):
        payload["agent_id"] = f"agent-{number % _AGENTS}"
    return make_event(type_, {**payload, "duration": 184} if type_ == "call.ended" else payload)


def agent_event(number: int, state: str) -> Event:
    """Return a change of an agent's state."""
    name = {"user_id": f"agent-{number}", "username": f"Agent {number}"}
    return make_event("agent.state.changed", {**name, "state": state, "since_at": _SINCE})


def queue_event(number: int, waiting: int) -> Event:
    """Return a queue's statistics."""
    figures = {"calls_waiting": waiting, "available_agents": 7, "logged_in_agents": 31}
    return make_event("queue.stats", {"queue_name": f"queue-{number}", **figures, "longest_wait_time": 43})


def call_center(*, conflatable: bool = True) -> Iterator[Event]:
    """Yield events without end: of ten, eight belong to calls, one to an agent and one to a queue.

    Args:
        conflatable: whether to include ``queue.stats``. A lagging client may receive only the newest of these, so that
            they are left out where each event is counted.
    """
    for step in count():
        for index in range(8):
            stage = index % len(_STAGES)
            number = 1_000_000 + 2 * step + index // len(_STAGES) - stage * _STAGE_DISTANCE
            yield call_event(_STAGES[stage], number)
        yield agent_event(step % _AGENTS, ("available", "talking", "wrap_up")[step % 3])
        if conflatable:
            yield queue_event(step % _QUEUES, step % 9)


def _encode(payload: dict[str, Any]) -> bytes:
    return json.dumps(payload, separators=(",", ":")).encode()
