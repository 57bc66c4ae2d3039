"""Steps: what is kept of one event of a call."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from callcenter_ws.events.catalogue import EventType
from callcenter_ws.events.publication import Publication
from callcenter_ws.statistics.occurrence import AHEAD_MS, MAX_SECONDS_MS, text_of, timestamp_ms

MAX_TEXT = 255
"""Characters of a name or a label that are kept."""

MAX_NOTE = 1_000
"""Characters of a note that are kept."""

MAX_WORD = 32
"""Characters of a reason that are kept: the ones that count are shorter."""

MAX_INSTANT = 64
"""Characters of an instant with a meaning; a longer one is dropped."""

STEP_BYTES = 300
"""Memory of a step without its texts, about."""

_Id = str | int | None


class Facts(msgspec.Struct, gc=False):
    """The fields of ``CallPayload`` that the log keeps; others are skipped when decoding."""

    direction: str | None = None
    caller_id: _Id = None
    caller_name: str | None = None
    destination: _Id = None
    queue_name: _Id = None
    agent_id: _Id = None
    agent_name: str | None = None
    started_at: str | None = None


class Answered(Facts, gc=False):
    """``call.answered``."""

    wait_seconds: float | None = None


class Transferred(Facts, gc=False):
    """``call.transferred``."""

    transfer_type: str | None = None
    to_agent_id: _Id = None


class Left(Facts, gc=False):
    """``queue.left``."""

    reason: str | None = None
    wait_seconds: float | None = None


class Abandoned(Facts, gc=False):
    """``call.abandoned``; senders may add a field ``reason`` of any type."""

    wait_seconds: float | None = None


class Ended(Facts, gc=False):
    """``call.ended``."""

    ended_by: str | None = None
    talk_seconds: float | None = None
    wait_seconds: float | None = None


class Disposed(msgspec.Struct, gc=False):
    """``call.disposition``, which has none of the other fields of calls."""

    code: str = ""
    label: str | None = None
    note: str | None = None
    queue_name: _Id = None
    agent_id: _Id = None


class Seen(msgspec.Struct, gc=False):
    """``agent.login`` and ``agent.state.changed``: an agent and its name."""

    user_id: _Id = None
    username: str = ""


class Step(msgspec.Struct, gc=False):
    """One event of a call; not scanned by the garbage collector, since it refers to texts and numbers only.

    Attributes:
        at: when it happened, at most two seconds after ``received`` and a week before it; Unix milliseconds, as
            ``received``.
        received: when the gateway received it.
        queue_name, agents: by which it is decided who may see it (``events.visibility``).
    """

    type: EventType
    facts: Facts | Disposed
    at: int
    received: int
    queue_name: str | None
    agents: tuple[str, ...]


_STRUCTS: dict[str, type[Facts] | type[Disposed]] = {
    "call.incoming": Facts,
    "call.ringing": Facts,
    "call.missed": Facts,
    "call.answered": Answered,
    "call.hold": Facts,
    "call.unhold": Facts,
    "call.transferred": Transferred,
    "call.abandoned": Abandoned,
    "call.ended": Ended,
    "queue.joined": Facts,
    "queue.left": Left,
    "call.disposition": Disposed,
}

_DECODERS: dict[str, Callable[[bytes], Facts | Disposed]] = {
    name: msgspec.json.Decoder(struct).decode for name, struct in _STRUCTS.items()
}

CALL_TYPES = frozenset(_STRUCTS)
"""The types of events that a call consists of."""

NAME_TYPES = frozenset({"agent.login", "agent.state.changed"})
"""The types of events from which the names of agents are known."""

_decode_seen = msgspec.json.Decoder(Seen).decode


def step_of(publication: Publication, shared: Callable[[str], str]) -> Step:
    """Return what is kept of an event of ``CALL_TYPES``.

    Args:
        shared: returns an equal text that is in memory once.

    Raises:
        msgspec.DecodeError: the payload is not what the catalogue declares.
    """
    event = publication.event
    facts = _DECODERS[event.type.name](event.payload)
    facts.agent_id, facts.queue_name = _shared_id(facts.agent_id, shared), _shared_id(facts.queue_name, shared)
    if isinstance(facts, Disposed):
        facts.label, facts.note = _cut(facts.label, MAX_TEXT), _cut(facts.note, MAX_NOTE)
    else:
        facts.caller_name, facts.agent_name = _cut(facts.caller_name, MAX_TEXT), _cut(facts.agent_name, MAX_TEXT)
        facts.direction = None if facts.direction is None else shared(facts.direction)
        if facts.started_at is not None and len(facts.started_at) > MAX_INSTANT:
            facts.started_at = None
        if isinstance(facts, Left):
            facts.reason = _cut(facts.reason, MAX_WORD)
        elif isinstance(facts, Ended):
            facts.ended_by = _cut(facts.ended_by, MAX_WORD)
    received = event.received_ms
    at = max(min(timestamp_ms(event.timestamp), received + AHEAD_MS), received - MAX_SECONDS_MS)
    queue_name = None if event.queue_name is None else shared(event.queue_name)
    return Step(event.type, facts, at, received, queue_name, event.agents)


def memory_of(step: Step) -> int:
    """Return about how many bytes a step takes, as if it shared no text with others."""
    facts = step.facts
    texts: tuple[_Id, ...]
    if isinstance(facts, Disposed):
        texts = facts.code, facts.label, facts.note
    else:
        texts = facts.caller_id, facts.caller_name, facts.destination, facts.agent_name
    return STEP_BYTES + 2 * sum([len(text) for text in texts if isinstance(text, str)])


def agent_name_of(publication: Publication) -> tuple[str, str] | None:
    """Return the id and the name of the agent of an event of ``NAME_TYPES``; None if it has no name."""
    try:
        seen = _decode_seen(publication.event.payload)
    except msgspec.DecodeError:
        return None
    agent_id = text_of(seen.user_id)
    return (agent_id, seen.username[:MAX_TEXT]) if agent_id and seen.username else None


def _shared_id(identifier: _Id, shared: Callable[[str], str]) -> str | None:
    return None if identifier is None else shared(str(identifier))


def _cut(text: str | None, length: int) -> str | None:
    return None if text is None else text[:length]
