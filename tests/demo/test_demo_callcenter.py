"""The model of the call center tells a story that could be true."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callcenter_ws.demo.callcenter import CallCenter
from callcenter_ws.demo.queues import STATS_INTERVAL
from callcenter_ws.demo.sample_data import AGENTS, DEMO_SESSION, QUEUES
from callcenter_ws.demo.scheduler import Deck, Happening, Story
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.event import make_event

START = 1_800_000_000.0
LONGEST_CALL_SECONDS = 600
LONGEST_CHAT_SECONDS = 300


def story(seed: int, until: float) -> list[Happening]:
    """All that happens in the first ``until`` seconds of model time."""
    callcenter = CallCenter(Random(seed), lambda at: START + at, "test")
    told: list[Happening] = []
    while callcenter.next_at < until:
        told += callcenter.step()
    return told


class Witness:
    """Follows a story and fails at the first thing that cannot be."""

    def __init__(self) -> None:
        self.calls: dict[str, dict[str, object]] = {}
        self.ended: set[str] = set()
        self.agents: dict[str, str] = {}
        self.members: dict[tuple[str, str], bool] = {}
        self.chats: dict[str, dict[str, object]] = {}
        self.busy_with: dict[str, str] = {}
        self.now = 0.0

    def see(self, happening: Happening) -> None:
        assert happening.at >= self.now
        self.now = happening.at
        for call in self.calls.values():
            assert self.now - float(str(call["since"])) < LONGEST_CALL_SECONDS
        for chat in self.chats.values():
            assert self.now - float(str(chat["since"])) < LONGEST_CHAT_SECONDS
        look = getattr(self, "on_" + happening.type.replace(".", "_"), None)
        if look is not None:
            look(happening.payload)

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
        call = self.call(payload, "incoming", "passed on")
        assert call["queue"] is None
        call["queue"], call["state"] = payload["queue_name"], "waiting"
        waiting = [other for other in self.calls.values() if other["queue"] == payload["queue_name"]]
        assert payload["position"] == payload["calls_waiting"] == len(waiting)

    def on_queue_left(self, payload):
        call = self.call(payload, "waiting", "ringing")
        assert call["queue"] == payload["queue_name"]
        call["queue"] = None

    def on_call_ringing(self, payload):
        call = self.call(payload, "waiting", "passed on")
        agent_id = payload["agent_id"]
        assert self.agents[agent_id] == "available"
        assert agent_id not in self.busy_with
        assert call["state"] == "passed on" or self.members[payload["queue_name"], agent_id] is False
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
        call["state"] = "passed on"

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

    def on_queue_stats(self, payload):
        name = payload["queue_name"]
        assert payload["calls_waiting"] == len([call for call in self.calls.values() if call["queue"] == name])
        members = [agent for queue, agent in self.members if queue == name]
        assert payload["logged_in_agents"] == len(members)
        assert payload["available_agents"] == [self.agents[agent] for agent in members].count("available")

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
def test_the_story_is_consistent(seed: int) -> None:
    witness = Witness()
    for happening in story(seed, 900):
        witness.see(happening)
    assert len(witness.ended) > 100


@given(seed=st.integers(min_value=0, max_value=2**64))
@settings(max_examples=15, deadline=None)
def test_every_event_is_valid_and_every_type_comes_up_within_five_minutes(seed: int) -> None:
    told = story(seed, 300)
    for number, (_, type_, payload, user_id) in enumerate(told):
        make_event(
            tenant_id="demo",
            type_=type_,
            payload=payload,
            user_id=user_id,
            event_id=f"event-{number}",
            now=START,
            received_at=0.0,
        )
    assert {happening.type for happening in told} == set(CATALOGUE) - {"presence.changed"}


def test_the_same_seed_tells_the_same_story() -> None:
    assert story(7, 120) == story(7, 120)
    assert story(7, 120) != story(8, 120)


@pytest.mark.parametrize("seed", range(3))
def test_the_pace_is_that_of_a_small_call_center(seed: int) -> None:
    assert 3 <= len(story(seed, 1200)) / 1200 <= 6


def test_queue_figures_are_throttled() -> None:
    times: dict[str, list[float]] = defaultdict(list)
    for happening in story(1, 600):
        if happening.type == "queue.stats":
            times[happening.payload["queue_name"]].append(happening.at)
    assert set(times) == set(QUEUES)
    for moments in times.values():
        assert all(later - earlier >= STATS_INTERVAL - 1e-6 for earlier, later in itertools.pairwise(moments))


def test_the_ready_made_visitor_has_a_chat_again_and_again() -> None:
    sessions = [happening for happening in story(3, 600) if happening.payload.get("session_id") == DEMO_SESSION]
    assert [happening.type for happening in sessions].count("chat.session.started") >= 2


def test_runs_of_the_model_do_not_share_ids() -> None:
    def ids(prefix: str) -> set[str]:
        callcenter = CallCenter(Random(1), lambda at: at, prefix)
        told = [happening for _ in range(2000) for happening in callcenter.step()]
        fields = ("unique_id", "message_id")
        return {happening.payload[field] for happening in told for field in fields if field in happening.payload}

    assert not ids("first") & ids("second")


def test_instants_follow_the_given_clock() -> None:
    callcenter = CallCenter(Random(1), lambda at: START + at / 10, "test")
    told = [happening for _ in range(500) for happening in callcenter.step()]
    call = next(happening for happening in told if happening.type == "call.incoming")
    assert call.payload["started_at"].startswith("2027-01-15T08:00:00.")
    assert call.at > 3


def test_the_whole_story_is_json() -> None:
    for happening in story(5, 120):
        assert json.loads(json.dumps(happening.payload)) == happening.payload


def test_the_cast_is_twenty_agents_who_serve_all_queues() -> None:
    assert len({person.user_id for person in AGENTS}) == 20
    for queue in QUEUES:
        assert sum(queue in person.queues for person in AGENTS) >= 4


def test_a_cancelled_plan_does_not_happen() -> None:
    plot = Story(Random(1), lambda at: at)
    plot.later(1, plot.tell, "alert", {"title": "never"}).cancel()
    plot.later(2, plot.tell, "alert", {"title": "later"})
    assert plot.step() == []
    assert plot.step() == [Happening(2, "alert", {"title": "later"}, None)]


def test_a_deck_deals_every_card_before_it_repeats() -> None:
    deck = Deck(Random(1), "abcd")
    dealt = [deck.deal() for _ in range(40)]
    assert all(sorted(dealt[at : at + 4]) == list("abcd") for at in range(0, 40, 4))
    assert dealt[:4] * 10 != dealt
