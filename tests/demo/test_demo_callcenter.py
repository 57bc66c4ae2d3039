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

START = 1_800_000_000.0
MAX_CALL_SECONDS = 600
MAX_CHAT_SECONDS = 300


def model_events(seed: int, until: float) -> list[ModelEvent]:
    """Return the events of the first ``until`` seconds of model time."""
    callcenter = CallCenter(Random(seed), lambda at: START + at, "test")
    events: list[ModelEvent] = []
    while callcenter.next_at < until:
        events += callcenter.step()
    return events


class ConsistencyChecker:
    """Tracks calls, agents and chats, and fails at the first event that is inconsistent with them."""

    def __init__(self) -> None:
        self.calls: dict[str, dict[str, object]] = {}
        self.ended: set[str] = set()
        self.agents: dict[str, str] = {}
        self.members: dict[tuple[str, str], bool] = {}
        self.chats: dict[str, dict[str, object]] = {}
        self.busy_with: dict[str, str] = {}
        self.now = 0.0

    def check(self, event: ModelEvent) -> None:
        assert event.at >= self.now
        self.now = event.at
        for call in self.calls.values():
            assert self.now - float(str(call["since"])) < MAX_CALL_SECONDS
        for chat in self.chats.values():
            assert self.now - float(str(chat["since"])) < MAX_CHAT_SECONDS
        check = getattr(self, "on_" + event.type.replace(".", "_"), None)
        if check is not None:
            check(event.payload)

    def call(self, payload, *states):
        call = self.calls[payload["unique_id"]]
        assert call["state"] in states, (call, states)
        return call

    def free(self, agent_id, unique_id):
        assert self.busy_with.pop(agent_id) == unique_id

    def on_agent_login(self, payload):
        assert payload["user_id"] not in self.agents
        self.agents[payload["user_id"]] = payload["state"]

    def on_agent_logout(self, payload):
        assert self.agents.pop(payload["user_id"]) == "available"
        assert payload["user_id"] not in self.busy_with
        assert not [key for key in self.members if key[1] == payload["user_id"]]
        assert payload["user_id"] not in [chat["agent"] for chat in self.chats.values()]

    def on_agent_state_changed(self, payload):
        user_id, state = payload["user_id"], payload["state"]
        assert self.agents[user_id] == payload["previous_state"] != state
        assert (state in ("ringing", "talking", "hold")) == (user_id in self.busy_with)
        self.agents[user_id] = state

    def on_queue_member_added(self, payload):
        key = (payload["queue_name"], payload["user_id"])
        assert key not in self.members
        assert payload["user_id"] in self.agents
        self.members[key] = False

    def on_queue_member_removed(self, payload):
        assert self.members.pop((payload["queue_name"], payload["user_id"])) is False

    def on_queue_member_paused(self, payload):
        assert self.members[payload["queue_name"], payload["user_id"]] is False
        self.members[payload["queue_name"], payload["user_id"]] = True

    def on_queue_member_unpaused(self, payload):
        assert self.members[payload["queue_name"], payload["user_id"]] is True
        self.members[payload["queue_name"], payload["user_id"]] = False

    def on_call_incoming(self, payload):
        assert payload["unique_id"] not in self.calls
        assert payload["unique_id"] not in self.ended
        self.calls[payload["unique_id"]] = {"state": "incoming", "since": self.now, "queue": None}

    def on_queue_joined(self, payload):
        call = self.call(payload, "incoming", "transferred")
        assert call["queue"] is None
        call["queue"], call["state"] = payload["queue_name"], "waiting"
        waiting = [other for other in self.calls.values() if other["queue"] == payload["queue_name"]]
        assert payload["position"] == payload["calls_waiting"] == len(waiting)

    def on_queue_left(self, payload):
        call = self.call(payload, "waiting", "ringing")
        assert call["queue"] == payload["queue_name"]
        call["queue"] = None

    def on_call_ringing(self, payload):
        call = self.call(payload, "waiting", "transferred")
        agent_id = payload["agent_id"]
        assert self.agents[agent_id] == "available"
        assert agent_id not in self.busy_with
        assert call["state"] == "transferred" or self.members[payload["queue_name"], agent_id] is False
        self.busy_with[agent_id] = payload["unique_id"]
        call["state"], call["agent"] = "ringing", agent_id

    def on_call_missed(self, payload):
        call = self.call(payload, "ringing")
        self.free(payload["agent_id"], payload["unique_id"])
        call["state"] = "waiting"

    def on_call_answered(self, payload):
        call = self.call(payload, "ringing")
        assert call["agent"] == payload["agent_id"]
        assert call["queue"] is None
        assert self.agents[payload["agent_id"]] == "ringing"
        call["state"] = "talking"

    def on_call_hold(self, payload):
        self.call(payload, "talking")["state"] = "hold"

    def on_call_unhold(self, payload):
        self.call(payload, "hold")["state"] = "talking"

    def on_call_transferred(self, payload):
        call = self.call(payload, "talking")
        assert payload["from_agent_id"] == call["agent"] != payload.get("to_agent_id")
        self.free(payload["from_agent_id"], payload["unique_id"])
        call["state"] = "transferred"

    def on_call_abandoned(self, payload):
        call = self.call(payload, "waiting", "ringing")
        assert call["queue"] is None
        if call["state"] == "ringing":
            self.free(call["agent"], payload["unique_id"])
        self.end(payload)

    def on_call_ended(self, payload):
        call = self.call(payload, "talking")
        self.free(call["agent"], payload["unique_id"])
        parts = payload["talk_seconds"] + payload["hold_seconds"] + payload["wait_seconds"]
        assert 0 < parts <= payload["duration"] + 0.5
        assert payload["talk_seconds"] > 0
        self.end(payload)

    def end(self, payload):
        del self.calls[payload["unique_id"]]
        self.ended.add(payload["unique_id"])

    def on_chat_session_started(self, payload):
        assert payload["session_id"] not in self.chats
        assert payload["agent_id"] in self.agents
        self.chats[payload["session_id"]] = {"since": self.now, "agent": payload["agent_id"]}

    def on_chat_message(self, payload):
        chat = self.chats[payload["session_id"]]
        assert (payload["sender_id"] == chat["agent"]) == (payload["sender_type"] == "agent")

    def on_chat_typing(self, payload):
        assert payload["session_id"] in self.chats

    def on_chat_transferred(self, payload):
        chat = self.chats[payload["session_id"]]
        assert chat["agent"] == payload["from_agent_id"] != payload["to_agent_id"]
        assert payload["to_agent_id"] in self.agents
        chat["agent"] = payload["to_agent_id"]

    def on_chat_session_ended(self, payload):
        del self.chats[payload["session_id"]]


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
