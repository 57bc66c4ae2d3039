"""What is known of one call after each sequence of its events."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from call_log_world import CallWorld
from http_world import MINE

from callcenter_ws.statistics.occurrence import instant_text, milliseconds
from callcenter_ws.testing import run

Call = dict[str, Any]


@pytest.fixture
def world() -> CallWorld:
    return CallWorld()


def only(world: CallWorld) -> Call:
    calls: list[Call] = world.calls().json["calls"]
    assert len(calls) == 1
    return calls[0]


def test_the_states_of_a_call(world: CallWorld) -> None:
    seen = []
    for type_, fields in (
        ("call.incoming", {"caller_id": "1", "destination": "100"}),
        ("queue.joined", {"queue_name": "sales"}),
        ("call.ringing", {"agent_id": "7"}),
        ("call.missed", {"agent_id": "7"}),
        ("call.ringing", {"agent_id": "8"}),
        ("call.answered", {"agent_id": "8"}),
        ("call.hold", {"held_by": "8"}),
        ("call.unhold", {}),
        ("call.transferred", {"destination": "9", "transfer_type": "blind", "from_agent_id": "8"}),
        ("call.ringing", {"agent_id": "9"}),
        ("call.answered", {"agent_id": "9"}),
        ("call.ended", {"duration": 11}),
    ):
        world.publish(type_, "c1", **fields)
        call = only(world)
        seen.append((call["state"], call["agent_id"]))
        assert (call["outcome"] is None) is (call["state"] != "ended")
        assert (call["ended_at"] is None) is (call["state"] != "ended")
    assert seen == [
        ("incoming", None),
        ("waiting", None),
        ("ringing", "7"),
        ("waiting", "7"),
        ("ringing", "8"),
        ("talking", "8"),
        ("hold", "8"),
        ("talking", "8"),
        ("talking", "8"),
        ("ringing", "9"),
        ("talking", "9"),
        ("ended", "9"),
    ]
    call = only(world)
    assert [agent["id"] for agent in call["agents"]] == ["8", "9"]
    assert (call["outcome"], call["transfers"], call["wait_seconds"]) == ("answered", 1, 4.0)
    # Talking: from the answer to the hold, from its end to the ring at the next agent, and with that one.
    assert call["talk_seconds"] == 1 + 2 + 1


@pytest.mark.parametrize(
    ("events", "outcome"),
    [
        ([("queue.joined", {"queue_name": "q"}), ("call.abandoned", {"queue_name": "q"})], "abandoned"),
        (
            [("call.ringing", {"agent_id": "7"}), ("call.missed", {"agent_id": "7"}), ("call.ended", {"duration": 1})],
            "missed",
        ),
        ([("call.answered", {"agent_id": "7"}), ("call.ended", {"duration": 1})], "answered"),
        ([("call.ended", {"duration": 1})], "ended"),
        ([("call.ended", {"duration": 1, "ended_by": "unknown"})], "unknown"),
        (
            [
                ("queue.joined", {"queue_name": "q"}),
                ("queue.left", {"queue_name": "q", "reason": "abandoned"}),
                ("call.abandoned", {"queue_name": "q"}),
                ("call.ended", {"duration": 1}),
            ],
            "abandoned",
        ),
    ],
)
def test_outcomes(world: CallWorld, events: list[tuple[str, dict[str, Any]]], outcome: str) -> None:
    for type_, fields in events:
        world.publish(type_, "c1", **fields)
    call = only(world)
    assert (call["state"], call["outcome"]) == ("ended", outcome)


def test_waits_in_several_queues_are_added(world: CallWorld) -> None:
    world.publish("queue.joined", "c1", queue_name="first")
    world.publish("queue.left", "c1", queue_name="first", reason="timeout", wait_seconds=60)
    assert only(world)["state"] == "incoming"
    world.publish("queue.joined", "c1", queue_name="second")
    world.publish("call.answered", "c1", agent_id="7", wait_seconds=20)
    world.publish("queue.left", "c1", queue_name="second", reason="answered", wait_seconds=20)
    call = only(world)
    assert (call["wait_seconds"], call["queue_name"], call["queues"]) == (80.0, "second", ["first", "second"])
    assert (call["state"], call["talk_seconds"]) == ("talking", None)


def test_the_wait_of_a_call_without_a_queue(world: CallWorld) -> None:
    world.publish("call.incoming", "c1", caller_id="1", destination="7", started_at="2027-01-15T07:59:50Z")
    world.publish("call.answered", "c1", agent_id="7")
    call = only(world)
    assert (call["started_at"], call["wait_seconds"]) == ("2027-01-15T07:59:50.000Z", 11.0)


def test_what_the_sender_reports_at_the_end(world: CallWorld) -> None:
    world.publish("call.answered", "c1", agent_id="7", wait_seconds=3.5)
    world.publish("call.ended", "c1", duration=60, talk_seconds=41.5)
    call = only(world)
    assert (call["wait_seconds"], call["talk_seconds"]) == (3.5, 41.5)


def test_an_attended_transfer_gives_the_call_to_its_target(world: CallWorld) -> None:
    world.publish("call.answered", "c1", agent_id="7", agent_name="Ana")
    world.publish("call.hold", "c1", held_by="7")
    # The consulted agent's phone rings for a call of its own as a rule; a ring of this call changes nothing either.
    world.publish("call.ringing", "c1", agent_id="8")
    assert only(world)["state"] == "hold"
    world.publish(
        "call.transferred", "c1", destination="8", transfer_type="attended", from_agent_id="7", to_agent_id="8"
    )
    call = only(world)
    assert (call["state"], call["agent_id"], call["transfers"]) == ("talking", "8", 1)
    assert call["agents"] == [{"id": "7", "name": "Ana"}, {"id": "8", "name": None}]


def test_names_of_agents_are_also_those_that_their_states_say(world: CallWorld) -> None:
    world.publish("call.answered", "c1", agent_id=7)
    assert only(world)["agent_name"] is None
    world.publish("agent.state.changed", "", user_id=7, username="Ana", state="talking")
    assert (only(world)["agent_id"], only(world)["agent_name"]) == ("7", "Ana")


def test_the_last_disposition_counts(world: CallWorld) -> None:
    world.answered_call("c1")
    world.publish("call.disposition", "c1", code="sale")
    world.publish("call.disposition", "c1", code="callback", label="Call back", note="n" * 5_000)
    disposition = only(world)["disposition"]
    assert (disposition["code"], disposition["label"], len(disposition["note"])) == ("callback", "Call back", 1_000)


def test_a_disposition_makes_no_call(world: CallWorld) -> None:
    world.publish("call.disposition", "yesterday", code="sale")
    assert world.ids() == []


def test_a_late_event_does_not_open_an_ended_call_again(world: CallWorld) -> None:
    world.answered_call("c1")
    for type_ in ("call.hold", "call.unhold", "queue.joined", "call.ringing"):
        world.publish(type_, "c1", queue_name="sales", agent_id="7")
        assert only(world)["state"] == "ended"


def test_of_a_call_with_very_many_events_the_beginning_and_the_end_are_kept(world: CallWorld) -> None:
    world.publish("call.incoming", "c1", caller_id="1", destination="100", queue_name="sales")
    world.publish("call.answered", "c1", agent_id="7")
    for _ in range(100):
        world.publish("call.hold", "c1")
        world.publish("call.unhold", "c1")
    world.publish("call.ended", "c1", duration=200, queue_name="other")
    seen = world.calls(world.token("supervisor", "s", queues=("sales", "x"))).json["calls"]
    assert [(call["caller_id"], call["state"], call["outcome"]) for call in seen] == [("1", "ended", "answered")]


@pytest.mark.parametrize("instant", ["0001-01-01T00:00:00+14:00", "1970-01-01T00:00:00Z", "2027-01-07T00:00:00Z"])
def test_a_start_long_before_the_first_event_is_not_believed(world: CallWorld, instant: str) -> None:
    world.publish("call.incoming", "c1", caller_id="1", destination="100", started_at=instant)
    assert only(world)["started_at"] == "2027-01-15T08:00:00.000Z"
    assert world.earlier("c1").status == 200


def test_a_timestamp_is_at_most_a_week_old(world: CallWorld) -> None:
    payload = {"unique_id": "c1", "caller_id": "1", "destination": "100"}
    run(world.broadcaster.publish(MINE, "call.incoming", payload, timestamp="1970-01-01T00:00:00Z"))
    assert only(world)["started_at"] == "2027-01-08T08:00:00.000Z"


def test_an_instant_of_the_year_0_in_utc_has_a_text() -> None:
    before = milliseconds(datetime.fromisoformat("0001-01-01T00:00:00+14:00"))
    assert instant_text(before) == "0001-01-01T00:00:00.000Z"
