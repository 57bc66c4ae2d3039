"""The laws of the fold, for random streams of events."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from callcenter_ws.statistics.checkpoint import forget_days
from callcenter_ws.statistics.fold import apply
from callcenter_ws.statistics.occurrence import Occurrence
from callcenter_ws.statistics.state import State
from tests.statistics.random_events import (
    AGENTS,
    QUEUES,
    START,
    figures,
    folded,
    in_any_order,
    in_order,
    of_a_clock_ahead,
    of_calls_in_disorder,
    of_calls_in_order,
    sent_again,
)
from tests.statistics.sequences import Store


def _now(events: list[Occurrence]) -> int:
    return events[-1].received + 10_000 if events else START


@settings(max_examples=60)
@given(in_any_order, st.sets(st.integers(0, 39)))
def test_checkpoints_anywhere_change_no_figure(events: list[Occurrence], places: set[int]) -> None:
    store, state = Store(), State()
    for place, event in enumerate(events):
        apply(state, event)
        if place in places:
            store.write(state)
            state = store.read()
    assert figures(state, _now(events)) == figures(folded(events), _now(events))


@settings(max_examples=60)
@given(in_any_order)
def test_rows_of_changes_are_those_of_the_whole_state(events: list[Occurrence]) -> None:
    often, once, state = Store(), Store(), State()
    for event in events:
        apply(state, event)
        often.write(state)
    often.write(state)
    once.write(folded(events))
    assert often.rows == once.rows


@settings(max_examples=60)
@given(in_any_order, st.sets(st.integers(0, 39)))
def test_forgotten_days_change_no_figure_of_today(events: list[Occurrence], places: set[int]) -> None:
    store, state = Store(), State()
    for place, event in enumerate(events):
        apply(state, event)
        if place in places:
            store.write(state)
            for _ in forget_days(state, event.received):
                pass
            store.write(state)
            assert _today(store.read(), event.received) == _today(state, event.received)
    assert _today(state, _now(events)) == _today(folded(events), _now(events))
    store.write(state)
    whole = Store()
    whole.write(folded(events))
    # Rows of days that were dropped stay as they were written.
    assert {key for key in whole.rows if key.day and key.kind != "agent-day"} <= store.rows.keys()


def _today(state: State, now: int) -> dict[str, object]:
    return {name: stats for name, stats in figures(state, now).items() if name in ("tenant", *QUEUES, *AGENTS)}


@settings(max_examples=60)
@given(in_any_order, st.integers(0, 39))
def test_an_event_twice_changes_no_figure(events: list[Occurrence], place: int) -> None:
    twice = [*events[: place + 1], *events[place:]] if place < len(events) else events
    assert figures(folded(twice), _now(events)) == figures(folded(events), _now(events))


@settings(max_examples=60)
@given(in_order | of_calls_in_order | of_calls_in_disorder | of_a_clock_ahead)
def test_everything_twice_changes_no_figure(events: list[Occurrence]) -> None:
    now = _now(events)
    again = [sent_again(event, now) for event in events]
    assert figures(folded([*events, *again]), now) == figures(folded(events), now)
