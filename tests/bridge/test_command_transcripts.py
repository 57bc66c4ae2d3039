"""Commands at a real Asterisk: the same events lead to the same actions and outcomes, and to none without proof."""

from __future__ import annotations

import secrets

import pytest
from command_transcripts import NAMES, Exchange, Line, Replay, outcomes_of, transcript

LISTENER = "ccws-listen-"


@pytest.fixture(autouse=True)
def _recorded_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give listeners the ids of the transcripts."""
    ids = [
        dict(line["headers"])["ChannelId"].removeprefix(LISTENER)
        for line in transcript("calls")
        if line.get("action") == "Originate"
    ]
    monkeypatch.setattr(secrets, "token_hex", lambda _: ids[0])


@pytest.mark.parametrize("name", NAMES)
def test_actions_and_outcomes_are_those_at_the_exchange(name: str) -> None:
    replay = Replay(name)
    replay.run()
    assert replay.mismatches == []
    assert replay.outcomes == outcomes_of(name)
    assert (replay.runner.running, replay.bugs) == (0, 0)


def short(outcome: Line) -> str:
    return str(outcome.get("code", "done"))


def test_the_outcomes_are_the_right_ones() -> None:
    # By what the phones did, and what the exchange was asked for.
    by_scenario = {name: [short(outcome) for outcome in outcomes_of(name)] for name in NAMES}
    assert by_scenario["states"] == [
        *["done"] * 8,
        "not_found",  # 201 is not in sales
        *["done"] * 2,
        "unsupported",  # sales may not be changed
        "unsupported",  # there is no queue nope
        *["done"] * 6,
    ]
    assert by_scenario["calls"] == [
        "not_allowed",  # 202 is not in the call
        "not_found",  # it is another tenant's
        *["done"] * 7,
        "rejected",  # it is not recorded any more
        "done",
        "not_found",  # there is no extension 777
        "done",
        "not_allowed",  # 204 has it now
        "done",
        "not_found",  # it is over
        "done",
    ]
    assert by_scenario["consult"] == [
        *("not_found", "rejected", "done", "busy", "done", "rejected", "busy"),
        "rejected",  # the phone 209 does not exist
        *("done", "done", "done"),
    ]
    assert by_scenario["originate"] == [
        *("done", "done", "done", "not_found"),
        "failed",  # the phone 209 does not exist
        "not_found",
        "rejected",  # 203 rings only
    ]
    assert by_scenario["redirect"] == ["done", "done", "rejected", "done", "done"]
    assert by_scenario["desks"] == ["not_allowed", "done", "busy", *["done"] * 7]


@pytest.mark.parametrize(
    ("name", "event", "command"),
    [
        ("states", "QueueMemberAdded", "agent.state.set"),
        ("states", "QueueMemberPause", "agent.state.set"),
        ("states", "QueueMemberRemoved", "queue.member.remove"),
        ("calls", "MixMonitorStart", "call.record"),
        ("calls", "MixMonitorMute", "call.record"),
        ("calls", "MixMonitorStop", "call.record"),
        ("calls", "ChanSpyStart", "call.monitor"),
        ("calls", "BlindTransfer", "call.transfer"),
        ("calls", "Hangup", "call.hangup"),
        ("consult", "DialEnd", "call.consult"),
        ("consult", "AttendedTransfer", "call.consult.complete"),
        ("originate", "OriginateResponse", "call.originate"),
    ],
)
def test_a_command_is_not_done_without_its_proof(name: str, event: str, command: str) -> None:
    replay = Replay(name, without=event)
    orders: list[str] = []
    for number, line in enumerate(replay.lines):
        if "order" in line:
            orders.append(line["order"]["name"])
            if line["order"]["name"] == command and _proof_follows(replay.lines[number + 1 :], event):
                break
    # Up to the outcome that was recorded of this command.
    end = next(at for at in range(number, len(replay.lines)) if "outcome" in replay.lines[at])
    replay.without = ""
    whole, replay.lines = replay.lines, replay.lines[:number]
    replay.run()
    replay.without, replay.lines = event, whole[number:end]
    before = len(replay.outcomes)
    replay.run()
    assert len(replay.outcomes) == before and replay.runner.running == 1
    replay.runner.expire(replay.last)
    assert replay.code == "outcome_unknown"
    assert replay.mismatches == []


def _proof_follows(lines: tuple[Line, ...], event: str) -> bool:
    """Return whether an event came before the next outcome."""
    for line in lines:
        if "outcome" in line:
            return False
        if line.get("event") == event:
            return True
    return False


def test_a_transfer_by_redirect_is_told_like_one_by_a_phone() -> None:
    replay = Replay("redirect")
    replay.run()
    (told,) = [event for event in replay.events if event.type == "call.transferred"]
    assert (told.payload["from_agent_id"], told.payload["to_agent_id"]) == ("204", "202")


def test_a_listener_is_no_call() -> None:
    replay = Replay("calls")
    replay.run()
    assert sum(event.type == "call.incoming" for event in replay.events) == 2
    assert not any(LISTENER in str(event.payload) for event in replay.events)
    assert replay.machine.calls.tracker.strays == {}


def test_a_call_that_an_agent_ends_by_a_command_is_ended_by_the_agent() -> None:
    replay = Replay("calls")
    replay.run()
    ended = [event.payload["ended_by"] for event in replay.events if event.type == "call.ended"]
    # The first one was ended by a supervisor, who was not in it.
    assert ended == ["exchange", "agent"]


def test_the_user_of_a_hot_desk_outlasts_a_restart_of_the_bridge() -> None:
    replay = Replay("desks")
    break_at = next(
        at for at, line in enumerate(replay.lines) if line.get("order", {}).get("payload", {}).get("reason") == "lunch"
    )
    replay.lines = replay.lines[:break_at]
    replay.run()
    records = {key: value for key, value in replay.stored.items() if value is not None}
    again = Exchange(records=records)
    member = {"Queue": "support", "Location": "PJSIP/204", "StateInterface": "PJSIP/204", "Status": "1"}
    again.synchronize((*replay.lines[0]["members"], member))
    assert again.events == []
    assert again.state.device_of("acme", "500") == "PJSIP/204"


def test_a_call_that_rings_is_rejected_at_the_phone_of_the_asker_and_goes_on() -> None:
    replay = Replay("calls")
    rings_at = next(
        number
        for number, line in enumerate(replay.lines)
        if line.get("event") == "DialBegin" and line["headers"]["DestChannel"].startswith("PJSIP/201-")
    )
    phone = replay.lines[rings_at]["headers"]
    replay.lines = replay.lines[: rings_at + 1]
    replay.run()
    replay.next_id = lambda: f"ours-{len(replay.ids)}"
    (ringing,) = [event for event in replay.events if event.type == "call.ringing"]
    replay.order("call.hangup", call_id=ringing.payload["call_id"])
    assert replay.actions[-1] == ("Hangup", {"Channel": phone["DestChannel"]})
    replay.respond("Success")
    assert replay.runner.running == 1
    replay.event("Hangup", Uniqueid=phone["DestUniqueid"], Channel=phone["DestChannel"], Cause="0")
    assert (replay.runner.running, replay.code) == (0, "done")
    assert "call.ended" not in {event.type for event in replay.events}
    assert list(replay.machine.calls.book.calls) == [ringing.payload["call_id"]]


def test_a_consulted_phone_that_has_answered_rings_no_more_and_is_not_in_the_conversation() -> None:
    replay = Replay("consult")
    done_at = next(
        number
        for number, line in enumerate(replay.lines)
        if line.get("of") == "call.consult" and "data" in line["outcome"]
    )
    whole, replay.lines = replay.lines, replay.lines[: done_at + 1]
    replay.run()
    (call,) = replay.machine.calls.book.calls.values()
    assert {leg.party.agent_id: leg.state for leg in call.legs.values()} == {"201": "talking", "204": "consulted"}
    # Who is consulted ends that only.
    replay.next_id = lambda: f"ours-{len(replay.ids)}"
    replay.order("call.hangup", asker="204", call_id=call.call_id)
    assert replay.actions[-1][1]["Channel"].startswith("PJSIP/204-")
    again = Replay("consult")
    again.lines = whole
    again.run()
    assert ("204", "call.answered") not in {(event.payload.get("agent_id"), event.type) for event in again.events}
