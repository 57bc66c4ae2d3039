"""The fold against a second implementation of the definitions, on random streams of orderly calls and agents."""

from __future__ import annotations

from typing import Any

from fold_samples import make_occurrence
from hypothesis import given, settings
from hypothesis import strategies as st

from callcenter_ws.statistics.fold import apply
from callcenter_ws.statistics.occurrence import SETTINGS_CHANGED
from callcenter_ws.statistics.reading import Reading
from callcenter_ws.statistics.state import State
from callcenter_ws.statistics.sums import FLOW_OUT_REASONS, QUARTER_MS, STATES
from tests.statistics.random_events import START
from tests.statistics.reference_figures import Event, queue_figures, state_seconds

LIMIT_MS, SHORT_MS = 20_000, 5_000
QUEUES, AGENTS = ("q", "r"), ("1", "2")
_REASONS = ("answered", "abandoned", "unknown", *FLOW_OUT_REASONS)
_WAITS = st.sampled_from((0, 1, 4999, 5000, 5001, 20_000, 20_001)) | st.integers(0, 3 * QUARTER_MS)
_stays = st.lists(
    st.tuples(st.integers(0, 8 * QUARTER_MS), st.sampled_from(QUEUES), _WAITS, st.sampled_from(_REASONS)), max_size=20
)
_states = st.lists(
    st.tuples(st.integers(0, 8 * QUARTER_MS), st.sampled_from(AGENTS), st.sampled_from((*STATES, "offline"))),
    max_size=20,
    unique_by=lambda change: change[0],
)


def _stream(stays: list[Any], states: list[Any]) -> list[Event]:
    events: list[Event] = []
    for number, (after, queue, wait, reason) in enumerate(stays):
        call = {"unique_id": f"c{number}", "queue_name": queue}
        events.append((START + after, "queue.joined", call))
        events.append((START + after + wait, "queue.left", {**call, "reason": reason, "wait_seconds": wait / 1000}))
    for after, agent, state in states:
        events.append((START + after, "agent.state.changed", {"user_id": agent, "state": state}))
    # Stable: a stay without a wait is opened before it is closed.
    return sorted(events, key=lambda event: event[0])


@settings(max_examples=80)
@given(_stays, _states)
def test_figures_are_those_of_the_reference(stays: list[Any], states: list[Any]) -> None:
    events, state = _stream(stays, states), State()
    limits = {"service_level_seconds": LIMIT_MS / 1000, "short_abandon_seconds": SHORT_MS / 1000}
    apply(state, make_occurrence(SETTINGS_CHANGED, limits, timestamp=START, received=START, seq=0))
    for number, (at, type_, payload) in enumerate(events):
        apply(state, make_occurrence(type_, payload, timestamp=at, received=at, seq=number + 1))
    start = START // QUARTER_MS * QUARTER_MS
    now = start + 14 * QUARTER_MS
    reading = Reading(state, now)
    windows = [(begin, begin + QUARTER_MS) for begin in range(start, now, QUARTER_MS)]
    for begin, end in (*windows, (start, now)):
        for queue in QUEUES:
            expected = queue_figures(events, queue, begin, end, LIMIT_MS, SHORT_MS)
            found = reading.queue_between(queue, begin, end)
            assert {name: found[name] for name in expected} == expected
        for agent in AGENTS:
            milliseconds = state_seconds(events, agent, begin, end)
            figures = reading.agent_between(agent, begin, end)
            assert figures["state_seconds"] == {name: value / 1000 for name, value in milliseconds.items()}
