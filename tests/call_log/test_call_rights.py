"""Which calls each user sees, and what of them: what the stream would have shown."""

from __future__ import annotations

import pytest
from call_log_world import SUPERVISOR, CallWorld
from http_world import MINE

from callcenter_ws.testing import run

SALES = ("sales",)


@pytest.fixture
def world() -> CallWorld:
    return CallWorld()


@pytest.mark.parametrize("role", ["supervisor", "admin", "service", "agent"])
def test_a_user_with_queues_sees_the_calls_of_these_only(world: CallWorld, role: str) -> None:
    world.answered_call("c1", queue="sales")
    world.answered_call("c2", queue="support")
    world.publish("call.incoming", "c3", caller_id="9", destination="100")
    token = world.token(role, "u1", queues=SALES)
    assert world.ids(token) == ["c1"]
    assert world.ids(token, queue="support") == world.ids(token, search="c2") == world.ids(token, caller_id="9") == []
    assert world.earlier("c2", token).error == "not_found"
    assert world.ids() == ["c3", "c2", "c1"]


def test_an_agent_also_sees_its_own_calls_of_other_queues(world: CallWorld) -> None:
    world.answered_call("c1", queue="support", agent="7")
    world.answered_call("c2", queue="support", agent="8")
    assert world.ids(world.token("agent", "7", queues=SALES)) == ["c1"]


def test_what_happened_in_queues_of_others_is_not_shown(world: CallWorld) -> None:
    world.publish("queue.joined", "c1", queue_name="sales", caller_id="1")
    world.publish("queue.left", "c1", queue_name="sales", reason="timeout", wait_seconds=30)
    token = world.token("supervisor", "u1", queues=SALES)
    assert world.calls(token).json["calls"][0]["state"] == "incoming"
    world.publish("queue.joined", "c1", queue_name="support")
    world.publish("call.answered", "c1", agent_id="7", agent_name="Ana", caller_name="Ada Lovelace")
    world.publish("call.ended", "c1", duration=90)
    world.publish("call.disposition", "c1", code="secret", queue_name="support")
    (seen,) = world.calls(token).json["calls"]
    assert (seen["queues"], seen["agents"], seen["caller_name"], seen["disposition"]) == (["sales"], [], None, None)
    # For this user, the call has ended with the last event that it saw.
    assert (seen["state"], seen["outcome"], seen["ended_at"]) == ("ended", "ended", "2027-01-15T08:00:01.000Z")
    for hidden in ("Ana", "Lovelace"):
        assert world.ids(token, search=hidden) == []
        assert world.ids(search=hidden) == ["c1"]


def test_agents_that_see_their_own_calls_only(world: CallWorld) -> None:
    world.agent_calls = "own"
    world.answered_call("mine", agent="7")
    world.answered_call("other", agent="8")
    agent = world.token("agent", "7", queues=SALES)
    without_queues = f"agent:{MINE}:7"
    assert world.ids(agent) == world.ids(without_queues) == ["mine"]
    assert world.ids(agent, search="other") == world.ids(agent, agent="8") == []
    assert world.earlier("other", agent).error == "not_found"
    assert world.ids(SUPERVISOR) == ["other", "mine"]


def test_these_agents_see_calls_that_wait_in_their_queues_until_another_answers(world: CallWorld) -> None:
    world.agent_calls = "own"
    agent, other = world.token("agent", "7", queues=SALES), world.token("agent", "9", queues=("support",))
    world.publish("call.incoming", "c1", caller_id="1", destination="100", queue_name="sales")
    world.publish("queue.joined", "c1", queue_name="sales")
    assert (world.ids(agent), world.ids(other)) == (["c1"], [])
    world.publish("call.ringing", "c1", agent_id="8", queue_name="sales")
    assert world.ids(agent) == ["c1"]
    world.publish("call.answered", "c1", agent_id="8")
    assert (world.ids(agent), world.ids(world.token("agent", "8", queues=SALES))) == ([], ["c1"])


def test_an_agent_at_whose_phone_it_rang_sees_no_more_than_that(world: CallWorld) -> None:
    world.agent_calls = "own"
    world.publish("call.ringing", "c1", agent_id="7", queue_name="sales", caller_id="1")
    world.publish("call.missed", "c1", agent_id="7")
    world.publish("call.ringing", "c1", agent_id="8")
    world.publish("call.answered", "c1", agent_id="8", agent_name="Ben")
    world.publish("call.ended", "c1", duration=9)
    (seen,) = world.calls(f"agent:{MINE}:7").json["calls"]
    assert (seen["state"], seen["outcome"], seen["agent_id"], seen["agents"]) == ("ended", "missed", "7", [])
    # What it may see is what it may search, also where others see something else.
    assert world.ids(f"agent:{MINE}:7", search="7") == ["c1"]
    assert world.ids(f"agent:{MINE}:7", search="Ben") == world.ids(search="7") == []
    assert world.ids(search="ben") == ["c1"]


def test_the_policy_may_change(world: CallWorld) -> None:
    world.answered_call("c1", agent="8")
    agent = f"agent:{MINE}:7"
    assert world.ids(agent) == ["c1"]
    world.agent_calls = "own"
    assert world.ids(agent) == []


def test_an_agent_learns_of_earlier_calls_what_is_safe(world: CallWorld) -> None:
    world.agent_calls = "own"
    world.answered_call("c1", agent="8")
    world.publish("call.disposition", "c1", code="sale", label="Sale", note="private")
    world.publish("call.ringing", "c2", agent_id="7", caller_id="+4930123456")
    answer = world.earlier("c2", f"agent:{MINE}:7")
    assert answer.json["today"] == 1
    (earlier,) = answer.json["calls"]
    assert earlier["agent_name"] == "Agent 8"
    assert set(earlier) == {"started_at", "queue_name", "outcome", "agent_name", "disposition"}
    assert b"private" not in answer.body
    assert b"c1" not in answer.body


def test_a_caller_that_the_user_may_not_see_is_not_looked_up(world: CallWorld) -> None:
    world.answered_call("c1")
    world.publish("call.incoming", "c2", caller_id="+4930123456", destination="100")
    world.publish("queue.joined", "c2", queue_name="sales")
    token = world.token("supervisor", "u1", queues=SALES)
    assert world.earlier("c2", token).json == {"call_id": "c2", "caller_id": None, "today": 0, "calls": []}


def test_events_for_one_user_are_in_no_log(world: CallWorld) -> None:
    run(
        world.broadcaster.publish(
            MINE, "call.incoming", {"unique_id": "c1", "caller_id": "1", "destination": "2"}, user_id="7"
        )
    )
    assert world.ids() == []
