"""Stays in queues as ``queue_log`` has them: joined, left, the reason, the time waited; and the members.

Why a caller left can only be seen with the class ``dialplan``, or by the caller's own hangup. Without them the reason
is ``other``; a wrong one is never allowed.
"""

from __future__ import annotations

import pytest
from phone_notes import MEMBER_NAMES, PhoneCall, Stay
from told_calls import cases, noted_cases, told

WAIT_SECONDS = 1.2
"""``queue_log`` counts whole seconds."""

REASONS = {
    "CONNECT": "answered",
    "ABANDON": "abandoned",
    "EXITWITHTIMEOUT": "timeout",
    "EXITEMPTY": "empty",
    "WITHDRAW": "withdrawn",
    "EXITWITHKEY": "key",
}

ALL = cases("lean", "full", "filtered")


def reasons(kind: str, noted: PhoneCall, stay: Stay) -> set[str]:
    """Return what may be told as the reason why a call left a queue."""
    reason = REASONS[stay.record]
    if stay.record == "ABANDON" and stay.caller_stayed:
        reason = "transferred"
    if reason == "answered":
        return {"answered"}
    if reason == "abandoned" and noted.ended_by == "exchange":
        # The exchange itself hung up, which queue_log does not distinguish.
        return {"abandoned", "other"}
    if reason == "abandoned":
        return {"abandoned", "other"} if kind == "filtered" else {"abandoned"}
    if stay is noted.stays[-1] and noted.ended_by == "caller" and abs((noted.ended or 0) - (stay.left or 0)) < 1.2:
        # The caller hung up in the moment in which the queue gave up.
        return {reason, "abandoned", "other"}
    if reason == "key":
        return {"key"}
    if reason == "transferred":
        return {"transferred", "other"}
    return {reason} if kind == "full" else {reason, "other"}


@pytest.mark.parametrize(("kind", "scenario"), ALL)
def test_each_stay_is_told_once(kind: str, scenario: str) -> None:
    for noted, call in told(kind, scenario).matched():
        queues = [stay.queue for stay in noted.stays]
        assert [event.payload["queue_name"] for event in call.of("queue.joined")] == queues
        assert [event.payload["queue_name"] for event in call.of("queue.left")] == queues
        for event, stay in zip(call.of("queue.joined"), noted.stays, strict=True):
            assert -0.3 < told(kind, scenario).at(event) - stay.joined < WAIT_SECONDS


@pytest.mark.parametrize(("kind", "scenario"), ALL)
def test_why_and_when_it_was_left(kind: str, scenario: str) -> None:
    for noted, call in told(kind, scenario).matched():
        for event, stay in zip(call.of("queue.left"), noted.stays, strict=True):
            assert event.payload["reason"] in reasons(kind, noted, stay)
            assert abs(event.payload["wait_seconds"] - stay.wait) < WAIT_SECONDS
            assert stay.left is not None
            assert -0.3 < told(kind, scenario).at(event) - stay.left < WAIT_SECONDS


@pytest.mark.parametrize(("kind", "scenario"), ALL)
def test_abandoned_calls(kind: str, scenario: str) -> None:
    for _, call in told(kind, scenario).matched():
        left = [event.payload for event in call.of("queue.left") if event.payload["reason"] == "abandoned"]
        abandoned = [event.payload for event in call.of("call.abandoned")]
        assert [payload["queue_name"] for payload in abandoned] == [payload["queue_name"] for payload in left]
        assert [payload["wait_seconds"] for payload in abandoned] == [payload["wait_seconds"] for payload in left]
        assert not abandoned or all(event.type != "call.answered" for event in call.events)


@pytest.mark.parametrize(("kind", "scenario"), noted_cases("lean", "full", "filtered"))
def test_the_sum_of_waiting(kind: str, scenario: str) -> None:
    for noted, call in told(kind, scenario).matched():
        ended = call.one("call.ended").payload
        if noted.stays:
            assert abs(ended["wait_seconds"] - sum(stay.wait for stay in noted.stays)) < WAIT_SECONDS
        else:
            rang = [leg.rang for leg in noted.legs if leg.phone != noted.caller]
            assert (ended.get("wait_seconds") or 0) < (noted.ended or 1e9) - min(
                rang, default=noted.began
            ) + WAIT_SECONDS


@pytest.mark.parametrize(("kind", "scenario"), ALL)
def test_answered_after_the_wait(kind: str, scenario: str) -> None:
    for noted, call in told(kind, scenario).matched():
        connected = [stay for stay in noted.stays if stay.record == "CONNECT"]
        if connected:
            first = call.of("call.answered")[0].payload
            before = noted.stays[: noted.stays.index(connected[0]) + 1]
            assert abs(first["wait_seconds"] - sum(stay.wait for stay in before)) < WAIT_SECONDS
            assert first["queue_name"] == connected[0].queue


# Members

_CHANGES = {
    "ADDMEMBER": "queue.member.added",
    "REMOVEMEMBER": "queue.member.removed",
    "PAUSE": "queue.member.paused",
    "UNPAUSE": "queue.member.unpaused",
}


def changes(scenario: str, kind: str) -> list[tuple[str, str, str, str]]:
    """Return the changes of members that ``queue_log`` has (type, queue, user, reason), without repetitions."""
    found = []
    pauses: dict[tuple[str, str], tuple[str, str]] = {}
    for at, queue, member, record, reason in told(kind, scenario).notes.members:
        if record not in _CHANGES or member not in MEMBER_NAMES or queue == "NONE" or at < -0.5:
            continue
        key = (queue, member)
        now = (record, reason) if record == "PAUSE" else (record, "")
        if record in ("PAUSE", "UNPAUSE"):
            if pauses.get(key) == now:
                continue
            pauses[key] = now
        else:
            pauses.pop(key, None)
        found.append((_CHANGES[record], queue, MEMBER_NAMES[member], reason if record == "PAUSE" else ""))
    return found


@pytest.mark.parametrize(("kind", "scenario"), ALL)
def test_changes_of_members(kind: str, scenario: str) -> None:
    """Members that were there from the beginning show when something happens to them: only changes are compared."""
    events = [event.payload | {"type": event.type} for event in told(kind, scenario).events]
    # An agent of a pool has a user only while it is logged in.
    pools = {stay.queue for noted in told(kind, scenario).notes.calls for stay in noted.stays if "Pool" in stay.member}
    found = [
        (
            str(event["type"]),
            str(event["queue_name"]),
            str(event["user_id"]),
            str(event.get("reason") or "") if event["type"] == "queue.member.paused" else "",
        )
        for event in events
        if str(event["type"]).startswith("queue.member.")
        and str(event["user_id"]) in MEMBER_NAMES.values()
        and event["queue_name"] not in pools
    ]
    for change in changes(scenario, kind):
        assert change in found
        found.remove(change)
    # What remains is the discovery of members that were there before.
    assert {type_ for type_, *_ in found} <= {"queue.member.added", "queue.member.paused", "queue.member.unpaused"}
    before = [(queue, user) for type_, queue, user, _ in found if type_ == "queue.member.added"]
    assert len(before) == len(set(before))
