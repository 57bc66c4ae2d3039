"""``GET /ws/calls`` and ``GET /ws/calls/earlier``: the shape of the answers, the parameters and the rights."""

from __future__ import annotations

import pytest
from call_log_world import SUPERVISOR, CallWorld
from http_world import DESK, MINE, OTHER


@pytest.fixture
def calls() -> CallWorld:
    return CallWorld()


def test_the_shape_of_the_answer(calls: CallWorld) -> None:
    calls.answered_call("c1")
    calls.publish("call.disposition", "c1", code="sale", label="Sale", note="sent an offer", agent_id="7")
    response = calls.calls()
    assert response.status == 200
    assert response.json == {
        "from": "2027-01-15T00:00:00+00:00",
        "as_of_seq": 7,
        "incomplete_since": None,
        "more": False,
        "calls": [
            {
                "call_id": "c1",
                "state": "ended",
                "outcome": "answered",
                "direction": None,
                "caller_id": "+4930123456",
                "caller_name": "Ada Lovelace",
                "destination": "100",
                "queue_name": "sales",
                "queues": ["sales"],
                "agent_id": "7",
                "agent_name": "Agent 7",
                "agents": [{"id": "7", "name": "Agent 7"}],
                "started_at": "2027-01-15T08:00:00.000Z",
                "answered_at": "2027-01-15T08:00:04.000Z",
                "ended_at": "2027-01-15T08:00:05.000Z",
                "wait_seconds": 2.0,
                "talk_seconds": 1.0,
                "transfers": 0,
                "disposition": {"code": "sale", "label": "Sale", "note": "sent an offer"},
            }
        ],
    }


def test_earlier_calls_of_the_caller(calls: CallWorld) -> None:
    calls.answered_call("c1", "+49 30 123-456", agent="7")
    calls.publish("call.disposition", "c1", code="sale", label="Sale", note="secret")
    calls.answered_call("c2", "+4930999")
    calls.answered_call("c3")
    response = calls.earlier("c3")
    assert response.json == {
        "call_id": "c3",
        "caller_id": "+4930123456",
        "today": 1,
        "calls": [
            {
                "started_at": "2027-01-15T08:00:00.000Z",
                "queue_name": "sales",
                "outcome": "answered",
                "agent_name": "Agent 7",
                "disposition": {"code": "sale", "label": "Sale"},
            }
        ],
    }
    assert calls.earlier("c1").json["today"] == 0
    assert calls.earlier("unknown").error == "not_found"


@pytest.mark.parametrize("caller_id", ["anonymous", "Unknown", "<unknown>", " withheld", "000"])
def test_no_earlier_calls_of_callers_without_a_number(calls: CallWorld, caller_id: str) -> None:
    calls.answered_call("c1", caller_id)
    calls.answered_call("c2", caller_id)
    assert calls.earlier("c2").json == {"call_id": "c2", "caller_id": None, "today": 0, "calls": []}


@pytest.mark.parametrize("role", ["agent", "supervisor", "admin", "service"])
def test_who_may_ask(calls: CallWorld, role: str) -> None:
    calls.answered_call("c1")
    assert calls.ids(f"{role}:{MINE}:u1") == ["c1"]


@pytest.mark.parametrize("role", ["wallboard", "visitor"])
def test_who_may_not_ask(calls: CallWorld, role: str) -> None:
    calls.answered_call("c1")
    assert calls.calls(f"{role}:{MINE}:u1").status == 403
    assert calls.earlier("c1", f"{role}:{MINE}:u1").status == 403


def test_a_tenant_never_sees_the_calls_of_another(calls: CallWorld) -> None:
    calls.answered_call("c1")
    other = f"supervisor:{OTHER}:boss"
    assert calls.ids(other) == []
    assert calls.earlier("c1", other).error == "not_found"
    assert calls.calls(other, tenant_id=MINE).status == 403
    assert calls.ids("admin:*:root", tenant_id=MINE) == ["c1"]
    assert calls.ids("admin:*:root", tenant_id=OTHER) == []
    assert calls.calls("admin:*:root").error == "invalid_message"


@pytest.mark.parametrize(
    "parameters",
    [
        {"limit": 0},
        {"limit": 201},
        {"limit": "9" * 5_000},
        {"limit": "x"},
        {"state": "asleep"},
        {"serach": "x"},
        {"search": "x" * 256},
    ],
)
def test_parameters_that_are_refused(calls: CallWorld, parameters: dict[str, object]) -> None:
    assert calls.calls(**parameters).error == "invalid_message"


def test_a_parameter_given_twice_is_refused(calls: CallWorld) -> None:
    assert calls.ask("GET", "/ws/calls?state=ended&state=hold", SUPERVISOR).error == "invalid_message"


def test_empty_parameters_are_absent(calls: CallWorld) -> None:
    calls.answered_call("c1")
    assert calls.ids(search="", agent="", queue="", state="", limit="") == ["c1"]


def test_newest_first_and_whether_there_are_more(calls: CallWorld) -> None:
    for number in range(5):
        calls.answered_call(f"c{number}")
    response = calls.calls(limit=2).json
    assert ([call["call_id"] for call in response["calls"]], response["more"]) == (["c4", "c3"], True)
    response = calls.calls(limit=5).json
    assert (len(response["calls"]), response["more"]) == (5, False)


def test_pages_of_listed_origins_may_read_the_answers(calls: CallWorld) -> None:
    for path in ("/ws/calls", "/ws/calls/earlier?call_id=c1"):
        response = calls.ask("GET", path, SUPERVISOR, Origin=DESK)
        assert response.headers["access-control-allow-origin"] == DESK
        assert calls.ask("OPTIONS", path, None, Origin=DESK).status == 204


def test_the_responses_at_the_same_time_are_bounded(calls: CallWorld) -> None:
    calls.resource.places.limits = calls.resource.places.limits._replace(user=0)
    response = calls.calls()
    assert (response.status, response.error) == (503, "try_later")
    assert calls.earlier("c1").error == "try_later"
