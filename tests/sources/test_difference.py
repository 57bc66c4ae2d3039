"""The events that make up the difference between the state and what a source says, one case after the other."""

from __future__ import annotations

from typing import Any

import pytest

from callcenter_ws.events.event import make_event
from callcenter_ws.events.publication import Publication
from callcenter_ws.sources.difference import DIFFERENCES
from callcenter_ws.sources.known_event import KnownEvent, known_events

CALL = {"unique_id": "1", "caller_id": "5", "destination": "6"}
WAITS = {**CALL, "status": "waiting", "queue_name": "a"}
RINGS = {**WAITS, "status": "ringing", "agent_id": "7"}
TALKS = {**CALL, "status": "answered", "agent_id": 7, "queue_name": "a"}
HOLDS = {**TALKS, "status": "hold", "held_by": "7"}

INCOMING = ("call.incoming", {})
JOINED = ("queue.joined", {"queue_name": "a"})
RINGING = ("call.ringing", {"agent_id": "7"})
ANSWERED = ("call.answered", {"agent_id": "7"})
BLIND = ("call.transferred", {"transfer_type": "blind", "to_agent_id": "8"})
ATTENDED = ("call.transferred", {"transfer_type": "attended", "to_agent_id": "8"})


def known(*events: tuple[str, dict[str, Any]], **shared: Any) -> list[KnownEvent]:
    """Return events of the state, ten seconds apart."""
    found = []
    for number, (type_, payload) in enumerate(events, 1):
        event = make_event(
            tenant_id="acme",
            type_=type_,
            payload={**shared, **payload},
            event_id=f"e{number}",
            timestamp=f"2026-11-29T10:00:{10 * number:02}Z",
            now=0.0,
            received_at=0.0,
        )
        found.append(Publication(event, number))
    return known_events(found)


def difference(scope: str, before: list[KnownEvent], listed: dict[str, Any] | None) -> list[tuple[str, dict[str, Any]]]:
    """Return the difference; each of its events is valid."""
    changes = DIFFERENCES[scope](before, listed)
    for type_, payload in changes:
        make_event(tenant_id="acme", type_=type_, payload=payload, event_id="e", now=0.0, received_at=0.0)
    return changes


@pytest.mark.parametrize(
    ("before", "listed", "expected"),
    [
        ([], {**CALL, "status": "waiting"}, "incoming"),
        ([], WAITS, "incoming joined"),
        ([], RINGS, "incoming joined ringing"),
        ([], TALKS, "incoming answered"),
        ([], HOLDS, "incoming answered hold"),
        ([INCOMING, JOINED], WAITS, ""),
        ([INCOMING, JOINED], {**WAITS, "queue_name": "b"}, "left joined"),
        ([INCOMING, JOINED], {**CALL, "status": "waiting"}, "left"),
        ([INCOMING, JOINED], RINGS, "ringing"),
        ([INCOMING, JOINED], TALKS, "left answered"),
        ([INCOMING, JOINED], HOLDS, "left answered hold"),
        ([INCOMING, JOINED, RINGING], RINGS, ""),
        ([INCOMING, JOINED, RINGING], {**RINGS, "agent_id": "8"}, "ringing"),
        ([INCOMING, JOINED, RINGING], WAITS, "left joined"),
        ([INCOMING, JOINED, RINGING], {**RINGS, "queue_name": "b"}, "left joined ringing"),
        ([INCOMING, JOINED, RINGING], TALKS, "left answered"),
        ([INCOMING, RINGING], {**CALL, "status": "waiting"}, "incoming"),
        ([INCOMING, RINGING, ANSWERED], TALKS, ""),
        ([INCOMING, RINGING, ANSWERED], {**TALKS, "agent_id": "8"}, "answered"),
        ([INCOMING, ANSWERED], HOLDS, "hold"),
        ([INCOMING, ANSWERED], WAITS, "joined"),
        ([INCOMING, ANSWERED, ("call.hold", {})], HOLDS, ""),
        ([INCOMING, ANSWERED, ("call.hold", {})], TALKS, "unhold"),
        ([INCOMING, ANSWERED, ("call.unhold", {})], TALKS, ""),
        ([INCOMING, ("call.hold", {"held_by": "7"}), ANSWERED], TALKS, ""),
        ([INCOMING, ANSWERED, BLIND], {**CALL, "status": "waiting"}, ""),
        ([INCOMING, ANSWERED, BLIND], {**TALKS, "agent_id": "8"}, "answered"),
        ([INCOMING, ANSWERED, ATTENDED], {**TALKS, "agent_id": "8"}, ""),
        ([INCOMING, JOINED], None, "left ended"),
        ([INCOMING, ANSWERED], None, "ended"),
        # The event that it left the queue is missing.
        ([INCOMING, JOINED, ANSWERED], TALKS, "left"),
    ],
)
def test_calls(before: list[tuple[str, dict[str, Any]]], listed: dict[str, Any] | None, expected: str) -> None:
    changes = difference("calls", known(*before, **CALL), listed)
    assert " ".join(type_.partition(".")[2] for type_, _ in changes) == expected
    assert {payload["reason"] for type_, payload in changes if type_ == "queue.left"} <= {"unknown"}


def test_what_a_call_event_says() -> None:
    listed = {
        **HOLDS,
        "variables": {"x": 1},
        "wait_seconds": 9,
        "answered_at": "2026-11-29T10:00:00Z",
        "agent_name": None,
    }
    changes = dict(difference("calls", [], listed))
    call = {**CALL, "queue_name": "a", "variables": {"x": 1}}
    handled = {**call, "agent_id": 7, "answered_at": "2026-11-29T10:00:00Z"}
    assert changes == {
        "call.incoming": call,
        "call.answered": {**handled, "wait_seconds": 9},
        "call.hold": {**handled, "held_by": "7"},
    }


def test_the_end_of_a_call_says_what_is_known() -> None:
    before = known(INCOMING, JOINED, RINGING, **CALL, channel="PJSIP/x", variables={"secret": 1})
    left, ended = difference("calls", before, None)
    fields = {**CALL, "channel": "PJSIP/x", "agent_id": "7", "queue_name": "a"}
    assert left == ("queue.left", {**fields, "reason": "unknown"})
    assert ended == ("call.ended", {**fields, "duration": 20.0, "ended_by": "unknown"})
    started = {**CALL, "started_at": "2026-11-29T09:00:00+00:00"}
    assert difference("calls", known(INCOMING, **started), None)[0][1]["duration"] == 3_610.0
    # The clocks of sender and exchange differ.
    started = {**CALL, "started_at": "2026-11-29T11:00:00Z"}
    assert difference("calls", known(INCOMING, **started), None)[0][1]["duration"] == 0.0


def test_agents() -> None:
    ada = {"user_id": 7, "username": "ada"}
    state = ("agent.state.changed", {"state": "break", "reason": "lunch", "extension": "207"})
    on_break, signed_in = known(state, **ada), known(("agent.login", {}), **ada)
    assert difference("agents", on_break, {**ada, "user_id": "7", "state": "break"}) == []
    assert difference("agents", signed_in, {**ada, "state": "available"}) == []
    assert difference("agents", on_break, {**ada, "state": "break", "reason": "call"}) == [
        ("agent.state.changed", {**ada, "state": "break", "reason": "call", "extension": "207"})
    ]
    # The reason of the break is not that of what follows.
    assert difference("agents", on_break, {**ada, "state": "busy", "reason": None}) == [
        ("agent.state.changed", {**ada, "state": "busy", "reason": None, "previous_state": "break", "extension": "207"})
    ]
    assert difference("agents", on_break, None) == [("agent.logout", ada)]
    assert difference("agents", [], None) == []


def test_members() -> None:
    member = {"queue_name": "a", "user_id": "7"}
    added = known(("queue.member.added", {"interface": "PJSIP/7", "penalty": 1}), **member)
    paused = known(("queue.member.paused", {}), **member)
    assert difference("members", added, member) == difference("members", added, {**member, "paused": False}) == []
    assert difference("members", paused, member) == difference("members", paused, {**member, "paused": True}) == []
    assert difference("members", added, {**member, "paused": True}) == [
        ("queue.member.paused", {**member, "paused": True, "interface": "PJSIP/7", "penalty": 1})
    ]
    assert difference("members", paused, {**member, "penalty": 2}) == [
        ("queue.member.paused", {**member, "paused": True, "penalty": 2})
    ]
    assert difference("members", added, {**member, "penalty": 0})[0][0] == "queue.member.unpaused"
    assert difference("members", added, None) == [("queue.member.removed", {**member, "interface": "PJSIP/7"})]
    assert difference("members", [], member) == [("queue.member.added", member)]


def test_queues() -> None:
    figures = {"queue_name": "a", "calls_waiting": 2, "available_agents": 0, "logged_in_agents": 1}
    stats = known(("queue.stats", {**figures, "completed_calls": 5, "longest_wait_time": 12.5}))
    assert difference("queues", stats, figures) == []
    assert difference("queues", stats, {**figures, "calls_waiting": 3}) == [
        ("queue.stats", {**figures, "calls_waiting": 3})
    ]
    empty = {**figures, "calls_waiting": 0, "logged_in_agents": 0, "completed_calls": 5, "longest_wait_time": 0}
    assert difference("queues", stats, None) == [("queue.stats", empty)]
    assert difference("queues", known(("queue.stats", empty)), None) == []


def test_chats() -> None:
    chat = {"session_id": "s"}
    started = ("chat.session.started", {"queue_name": "a", "visitor_name": "Zoé"})
    assigned = known(started, ("chat.transferred", {"to_agent_id": "7"}), **chat)
    assert difference("chats", assigned, {**chat, "agent_id": 7}) == []
    assert difference("chats", assigned, {**chat, "agent_id": "8", "agent_name": "Bob"}) == [
        ("chat.transferred", {**chat, "from_agent_id": "7", "to_agent_id": "8", "agent_name": "Bob"})
    ]
    restarted = {**chat, "queue_name": "a", "visitor_name": "Zoé"}
    assert difference("chats", assigned, chat) == [("chat.session.started", restarted)]
    assert difference("chats", assigned, {**chat, "agent_id": "7", "queue_name": "b"}) == [
        ("chat.session.started", {**restarted, "agent_id": "7", "queue_name": "b"})
    ]
    # A session that was started again after it was transferred.
    again = known(("chat.transferred", {"to_agent_id": "7"}), started, **chat)
    assert difference("chats", again, chat) == []
    assert difference("chats", again, None) == [
        ("chat.session.ended", {**chat, "reason": "unknown", "ended_by": "unknown"})
    ]
    assert again[0].payload["to_agent_id"] == "7"
