"""What a call center tells: events of a realistic mix, each 333 bytes of JSON with an id of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

from bench.gateway import TENANT

EVENT_BYTES = 333
"""As large as the events of the prototype that the goals come from: the JSON that a sender puts into a batch."""

_STAGES = ("call.incoming", "call.ringing", "call.answered", "call.ended")
_LAG = 50
"""Calls that come in between two stages of one call: three times as many are in progress."""

_AGENTS = 1_000
_QUEUES = 20
_SINCE = "2026-11-22T19:40:00.123Z"

_numbers = count(1)


class Event(NamedTuple):
    """An event as a sender has it.

    Attributes:
        payload: its JSON text.
        user: the one user that it is for.
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
        """The event as the gateway sends it to a client: what a peer without positions of its own is given to send."""
        return b'{"type":"%b","tenant_id":"%b","id":"%b","seq":%d,"timestamp":"%b","payload":%b}' % (
            self.type.encode(),
            self.tenant.encode(),
            self.event_id.encode(),
            seq,
            _SINCE.encode(),
            self.payload,
        )

    def stamped(self, sent: int) -> Event:
        """The event, of the same size, telling when it was sent: nanoseconds of the monotonic clock."""
        stamp = b'","sent_ns":%d}' % sent
        # It ends with a note that is long enough, which gives way.
        return self._replace(payload=self.payload[: -len(stamp)] + stamp)


def make_event(type_: str, payload: dict[str, Any]) -> Event:
    """Return an event with a fresh id, filled up to ``EVENT_BYTES``."""
    event_id = f"bench-{next(_numbers):020d}"
    bare = Event(type_, event_id, _encode({**payload, "note": ""}))
    note = "x" * (EVENT_BYTES - len(bare.draft))
    return Event(type_, event_id, _encode({**payload, "note": note}))


def call_event(type_: str, number: int) -> Event:
    """An event of the call with that number."""
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
    """A change of an agent's state."""
    name = {"user_id": f"agent-{number}", "username": f"Agent {number}"}
    return make_event("agent.state.changed", {**name, "state": state, "since_at": _SINCE})


def queue_event(number: int, waiting: int) -> Event:
    """Figures of a queue."""
    figures = {"calls_waiting": waiting, "available_agents": 7, "logged_in_agents": 31}
    return make_event("queue.stats", {"queue_name": f"queue-{number}", **figures, "longest_wait_time": 43})


def call_center(*, conflatable: bool = True) -> Iterator[Event]:
    """A call center without end: of ten events eight belong to calls, one to an agent, one to a queue.

    Args:
        conflatable: with ``queue.stats``. Of these the protocol owes a client that lags only the newest, so they
            are left out where every single event is counted.
    """
    for step in count():
        for place in range(8):
            stage = place % len(_STAGES)
            yield call_event(_STAGES[stage], 1_000_000 + 2 * step + place // len(_STAGES) - stage * _LAG)
        yield agent_event(step % _AGENTS, ("available", "talking", "wrap_up")[step % 3])
        if conflatable:
            yield queue_event(step % _QUEUES, step % 9)


def _encode(payload: dict[str, Any]) -> bytes:
    return json.dumps(payload, separators=(",", ":")).encode()
