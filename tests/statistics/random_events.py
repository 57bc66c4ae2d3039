"""Random streams of events for the laws of the fold, and all figures of a state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fold_samples import make_occurrence
from hypothesis import strategies as st

from callcenter_ws.statistics.fold import apply
from callcenter_ws.statistics.occurrence import AHEAD_MS, Occurrence
from callcenter_ws.statistics.reading import Reading
from callcenter_ws.statistics.state import State
from callcenter_ws.statistics.sums import DAY_MS, QUARTER_MS, STATES, Series

START = 1_795_852_800_000 - 60_000  # a minute before a midnight in UTC
QUEUES = ("q", "r")
AGENTS = ("u1", "u2", "u3")
REASONS = (None, "answered", "abandoned", "timeout", "empty", "key", "withdrawn", "transferred", "other", "unknown")

CODES = ("sale", "callback", "other")

_call = st.sampled_from(("c1", "c2", "c3"))
_queue = st.sampled_from(QUEUES)
_agent = st.sampled_from(AGENTS)
_wait = st.none() | st.sampled_from((-2, 0, 4.8, 5, 20, 20.001, 300))


def _payload(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(fields)


_PAYLOADS = {
    "queue.joined": _payload(unique_id=_call, queue_name=_queue),
    "queue.left": _payload(unique_id=_call, queue_name=_queue, reason=st.sampled_from(REASONS), wait_seconds=_wait),
    "call.abandoned": _payload(unique_id=_call, queue_name=_queue, wait_seconds=_wait),
    "call.ringing": _payload(unique_id=_call, agent_id=_agent, queue_name=_queue | st.none()),
    "call.missed": _payload(unique_id=_call, agent_id=_agent, queue_name=_queue | st.none()),
    "call.answered": _payload(unique_id=_call, agent_id=_agent, queue_name=_queue | st.none()),
    "call.hold": _payload(unique_id=_call, held_by=_agent | st.none()),
    "call.unhold": _payload(unique_id=_call, held_by=_agent | st.none()),
    "call.transferred": _payload(unique_id=_call, from_agent_id=_agent | st.none()),
    "call.ended": _payload(unique_id=_call, ended_by=st.sampled_from((None, "agent", "unknown"))),
    "call.disposition": _payload(
        unique_id=_call, agent_id=_agent | st.none(), queue_name=_queue | st.none(), code=st.sampled_from(CODES)
    ),
    "agent.login": _payload(user_id=_agent, queues=st.none() | st.lists(_queue)),
    "agent.state.changed": _payload(user_id=_agent, state=st.sampled_from((*STATES, "offline"))),
    "agent.logout": _payload(user_id=_agent),
    "queue.member.added": _payload(user_id=_agent, queue_name=_queue),
    "queue.member.paused": _payload(user_id=_agent, queue_name=_queue),
    "queue.member.unpaused": _payload(user_id=_agent, queue_name=_queue),
    "queue.member.removed": _payload(user_id=_agent, queue_name=_queue),
}

_event = st.sampled_from(sorted(_PAYLOADS)).flatmap(lambda name: st.tuples(st.just(name), _PAYLOADS[name]))


_of_calls = sorted(name for name in _PAYLOADS if name.startswith(("call.", "queue.joined", "queue.left")))
_call_event = st.sampled_from(_of_calls).flatmap(lambda name: st.tuples(st.just(name), _PAYLOADS[name]))


def _streams(
    steps: st.SearchStrategy[int], lateness: st.SearchStrategy[int], event: st.SearchStrategy[Any] = _event
) -> st.SearchStrategy[list[Occurrence]]:
    def stream(parts: list[tuple[int, int, tuple[str, dict[str, Any]]]]) -> list[Occurrence]:
        received, occurrences = START, []
        for step, late, (name, payload) in parts:
            received += step
            seq = len(occurrences) + 1
            occurrences.append(make_occurrence(name, payload, timestamp=received - late, received=received, seq=seq))
        return occurrences

    return st.lists(st.tuples(steps, lateness, event), max_size=40).map(stream)


_STEPS = st.sampled_from((0, 1, 999, 5000, 60_000, QUARTER_MS, 5 * QUARTER_MS))
_LATENESS = st.sampled_from((0, 0, -5000, 700, 61_000, 3 * DAY_MS))
in_any_order = _streams(_STEPS | st.just(DAY_MS), _LATENESS)
"""Events of which some are late, ahead of the clock, or days apart."""

payloads_in_any_order = st.lists(st.tuples(_STEPS | st.just(DAY_MS), _LATENESS, _event), max_size=40)
"""The same before they are decoded: the time since the event before, the delay, and the type with its payload."""

in_order = _streams(st.integers(1, 2 * QUARTER_MS), st.just(0))
"""Events of which each is newer than the one before, within hours."""

of_calls_in_order = _streams(st.sampled_from((1, 3000, QUARTER_MS)), st.just(0), _call_event)
"""The same of few calls alone, so that much happens to each."""

of_calls_in_disorder = _streams(st.sampled_from((0, 1, 3000)), st.sampled_from((0, -1500, 700)), _call_event)
"""Events of few calls from two clocks, of which many come after newer ones."""


of_a_clock_ahead = _streams(st.sampled_from((1, 3000, 60_000)), st.just(-3_600_000))
"""Events whose sender's clock is an hour ahead."""


def sent_again(event: Occurrence, received: int) -> Occurrence:
    """Return an event as it is when its sender sends it once more."""
    at = min(event.timestamp, received + AHEAD_MS)
    return Occurrence(event.type, event.facts, at, received, event.seq, event.timestamp)


def folded(events: list[Occurrence]) -> State:
    """Return the state after some events."""
    state = State()
    for event in events:
        apply(state, event)
    return state


def figures(state: State, now: int) -> dict[str, Any]:
    """Return every figure at an instant, without the position and the diagnostics."""
    reading = Reading(state, now)
    found: dict[str, Any] = {"tenant": reading.tenant_stats()}
    for name in QUEUES:
        found[name] = reading.queue_stats(name)
    for name in AGENTS:
        found[name] = reading.agent_stats(name)
    for stats in found.values():
        del stats["as_of_seq"]
    for start in range(START // DAY_MS * DAY_MS, now + DAY_MS, DAY_MS):
        for name in AGENTS:
            found[f"{name} {start}"] = reading.agent_between(name, start, start + DAY_MS)
    for name, series in _series(state):
        for quarters in series.days.values():
            sums = {
                quarter: bucket for quarter, bucket in quarters.items() if any(bucket.values) or bucket.dispositions
            }
            found[name] = {**found.get(name, {}), **sums}
    return found


def _series(state: State) -> Iterator[tuple[str, Series]]:
    yield "tenant sums", state.tenant
    for name, queue in state.queues.items():
        yield f"{name} sums", queue.series
    for agent_id, agent in state.agents.items():
        yield f"{agent_id} sums", agent.series
