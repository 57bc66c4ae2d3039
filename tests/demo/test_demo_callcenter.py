"""The model of the call center: its events are consistent, valid and repeatable."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callcenter_ws.demo.callcenter import CallCenter
from callcenter_ws.demo.sample_data import AGENTS, DEMO_SESSION, QUEUES
from callcenter_ws.demo.scheduler import ModelEvent, Scheduler, ShuffleBag
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.event import make_event
from tests.demo.model_checker import ConsistencyChecker

START = 1_800_000_000.0


def model_events(seed: int, until: float) -> list[ModelEvent]:
    """Return the events of the first ``until`` seconds of model time."""
    callcenter = CallCenter(Random(seed), lambda at: START + at, "test")
    events: list[ModelEvent] = []
    while callcenter.next_at < until:
        events += callcenter.step()
    return events


@given(seed=st.integers(min_value=0, max_value=2**64))
@settings(max_examples=15, deadline=None)
def test_the_events_are_consistent(seed: int) -> None:
    checker = ConsistencyChecker()
    for event in model_events(seed, 900):
        checker.check(event)
    assert len(checker.ended) > 100


@given(seed=st.integers(min_value=0, max_value=2**64))
@settings(max_examples=15, deadline=None)
def test_every_event_is_valid_and_every_type_occurs_within_five_minutes(seed: int) -> None:
    events = model_events(seed, 300)
    for number, (_, type_, payload, user_id) in enumerate(events):
        make_event(
            tenant_id="demo",
            type_=type_,
            payload=payload,
            user_id=user_id,
            event_id=f"event-{number}",
            now=START,
            received_at=0.0,
        )
    # The gateway publishes the others itself.
    by_gateway = {name for name, declared in CATALOGUE.items() if declared.by_gateway}
    assert {event.type for event in events} == set(CATALOGUE) - {"queue.stats", "source.up", "source.down", *by_gateway}


def test_the_same_seed_gives_the_same_events() -> None:
    assert model_events(7, 120) == model_events(7, 120)
    assert model_events(7, 120) != model_events(8, 120)


@pytest.mark.parametrize("seed", range(3))
def test_the_event_rate_is_that_of_a_small_call_center(seed: int) -> None:
    assert 2 <= len(model_events(seed, 1200)) / 1200 <= 6


def test_the_chat_session_of_the_visitor_token_starts_repeatedly() -> None:
    types = [event.type for event in model_events(3, 600) if event.payload.get("session_id") == DEMO_SESSION]
    assert types.count("chat.session.started") >= 2


def test_two_runs_have_different_ids() -> None:
    def ids(prefix: str) -> set[str]:
        callcenter = CallCenter(Random(1), lambda at: at, prefix)
        events = [event for _ in range(2000) for event in callcenter.step()]
        fields = ("unique_id", "message_id")
        return {event.payload[field] for event in events for field in fields if field in event.payload}

    assert not ids("first") & ids("second")


def test_timestamps_follow_the_given_clock() -> None:
    callcenter = CallCenter(Random(1), lambda at: START + at / 10, "test")
    events = [event for _ in range(500) for event in callcenter.step()]
    call = next(event for event in events if event.type == "call.incoming")
    assert call.payload["started_at"].startswith("2027-01-15T08:00:00.")
    assert call.at > 3


def test_all_payloads_are_json() -> None:
    for event in model_events(5, 120):
        assert json.loads(json.dumps(event.payload)) == event.payload


def test_twenty_agents_serve_all_queues() -> None:
    assert len({person.user_id for person in AGENTS}) == 20
    for queue in QUEUES:
        assert sum(queue in person.queues for person in AGENTS) >= 4


def test_a_cancelled_call_is_not_made() -> None:
    scheduler = Scheduler(Random(1), lambda at: at)
    scheduler.call_later(1, scheduler.emit, "alert", {"title": "never"}).cancel()
    scheduler.call_later(2, scheduler.emit, "alert", {"title": "later"})
    assert scheduler.step() == []
    assert scheduler.step() == [ModelEvent(2, "alert", {"title": "later"}, None)]


def test_a_shuffle_bag_draws_every_item_before_it_repeats() -> None:
    bag = ShuffleBag(Random(1), "abcd")
    drawn = [bag.draw() for _ in range(40)]
    assert all(sorted(drawn[at : at + 4]) == list("abcd") for at in range(0, 40, 4))
    assert drawn[:4] * 10 != drawn
