"""What a call has told about itself decides who sees its later events."""

from __future__ import annotations

from typing import Any

import pytest
from core_world import REQUIRED, event

from callcenter_ws.broker import calls as calls_module
from callcenter_ws.broker.calls import CALL_LIFETIME, MAX_AGENTS, CallTable
from callcenter_ws.events.event import Event

Facets = tuple[str | None, set[str]]


def told(table: CallTable, type_: str, *, at: float = 0.0, user_id: str | None = None, **payload: Any) -> Event:
    """An event of call ``c``, unless the payload says otherwise, as the table completed it."""
    said = event(type_, {"call_id": "c", **payload}, received_at=at, user_id=user_id)
    table.complete(said)
    return said


def facets(said: Event) -> Facets:
    assert len(said.agents) == len(set(said.agents))
    return said.queue_name, set(said.agents)


# What is told of one call, and the queue and the agents of the last event.
STORIES: list[tuple[list[tuple[str, dict[str, Any]]], Facets]] = [
    ([("call.hold", {})], (None, set())),
    ([("call.answered", {"agent_id": 7, "queue_name": "a"}), ("call.hold", {})], ("a", {"7"})),
    ([("call.answered", {"agent_id": 7}), ("call.hold", {}), ("call.unhold", {})], (None, {"7"})),
    ([("queue.joined", {"queue_name": "a"}), ("call.answered", {"agent_id": "7"}), ("call.ended", {})], ("a", {"7"})),
    ([("queue.joined", {"queue_name": "a"}), ("queue.joined", {"queue_name": "b"}), ("call.ended", {})], ("b", set())),
    ([("queue.joined", {"queue_name": "b"}), ("queue.left", {"queue_name": "a"})], ("a", set())),
    ([("queue.joined", {"queue_name": "b"}), ("queue.left", {"queue_name": "a"}), ("call.ended", {})], ("b", set())),
    ([("queue.left", {"queue_name": "a"}), ("call.ended", {})], ("a", set())),
    # Ringing at several: each sees its own ringing, all see how it went on, then only who answered.
    ([("call.ringing", {"agent_id": "7"}), ("call.ringing", {"agent_id": "8"})], (None, {"8"})),
    (
        [("call.ringing", {"agent_id": "7"}), ("call.ringing", {"agent_id": "8"}), ("call.ended", {})],
        (None, {"7", "8"}),
    ),
    ([("call.ringing", {"agent_id": "7"}), ("call.answered", {"agent_id": "8"})], (None, {"7", "8"})),
    ([("call.ringing", {"agent_id": "7"}), ("call.answered", {"agent_id": "8"}), ("call.hold", {})], (None, {"8"})),
    # Missed.
    ([("call.ringing", {"agent_id": "7"}), ("call.missed", {"agent_id": "7"})], (None, {"7"})),
    ([("call.ringing", {"agent_id": "7"}), ("call.missed", {})], (None, {"7"})),
    ([("call.ringing", {"agent_id": "7"}), ("call.missed", {"agent_id": "7"}), ("call.ended", {})], (None, set())),
    (
        [("call.ringing", {"agent_id": "7"}), ("call.ringing", {"agent_id": "8"}), ("call.missed", {"agent_id": "7"}),
         ("call.abandoned", {})],
        ("sales", {"8"}),
    ),
    # Transferred: whoever had it sees where it goes, whoever gets it sees what follows.
    ([("call.answered", {"agent_id": "7"}), ("call.transferred", {"to_agent_id": "8"})], (None, {"7", "8"})),
    (
        [("call.answered", {"agent_id": "7"}), ("call.transferred", {"to_agent_id": "8"}), ("call.ended", {})],
        (None, {"7", "8"}),
    ),
    (
        [("call.answered", {"agent_id": "7"}), ("call.transferred", {"to_agent_id": "8"}),
         ("call.answered", {"agent_id": "8"}), ("call.ended", {"agent_id": "8"})],
        (None, {"8"}),
    ),
    # Over.
    ([("call.answered", {"agent_id": "7", "queue_name": "a"}), ("call.ended", {}), ("call.hold", {})], (None, set())),
    ([("call.ringing", {"agent_id": "7"}), ("call.abandoned", {}), ("call.hold", {})], (None, set())),
    # Another call.
    ([("call.answered", {"agent_id": "7"}), ("call.hold", {"call_id": "d"})], (None, set())),
    ([("call.answered", {"agent_id": "7"}), ("call.hold", {"unique_id": "another leg"})], (None, {"7"})),
    ([("call.answered", {"call_id": None, "unique_id": 5}), ("call.hold", {"call_id": "5"})], (None, {"7"})),
]  # fmt: skip


@pytest.mark.parametrize(("story", "last"), STORIES)
def test_an_event_is_told_what_its_call_is(story: list[tuple[str, dict[str, Any]]], last: Facets) -> None:
    table = CallTable()
    assert [facets(told(table, type_, **payload)) for type_, payload in story][-1] == last


def test_the_payload_is_left_alone() -> None:
    table = CallTable()
    told(table, "call.answered", queue_name="a")
    plain = event("call.hold", {"call_id": "c"}).payload
    assert told(table, "call.hold").payload == plain


def test_what_one_user_is_told_tells_nothing_about_the_call() -> None:
    table = CallTable()
    told(table, "call.answered", agent_id="9", user_id="9", queue_name="x")
    assert facets(told(table, "call.hold")) == (None, set())
    told(table, "call.answered", agent_id="7", queue_name="a")
    told(table, "call.ended", user_id="7")
    assert facets(told(table, "call.hold")) == ("a", {"7"})


@pytest.mark.parametrize("type_", ["agent.login", "queue.stats", "chat.message", "alert", "chat.transferred"])
def test_what_is_no_call_is_left_alone(type_: str) -> None:
    table = CallTable()
    told(table, "call.answered", queue_name="a")
    said, plain = event(type_, REQUIRED[type_]), event(type_, REQUIRED[type_])
    table.complete(said)
    assert (said.queue_name, said.agents) == (plain.queue_name, plain.agents)
    assert len(table) == 1


class TestBounds:
    def test_the_call_longest_silent_is_forgotten_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(calls_module, "MAX_CALLS", 2)
        table = CallTable()
        for call in "abac":
            told(table, "call.answered", call_id=call)
        assert len(table) == 2
        assert [facets(told(table, "call.ended", call_id=call))[1] for call in "abc"] == [{"7"}, set(), {"7"}]
        assert len(table) == 0

    def test_a_call_that_nobody_ended_is_forgotten_after_a_day(self) -> None:
        table = CallTable()
        told(table, "call.answered", at=0.0)
        assert facets(told(table, "call.hold", at=CALL_LIFETIME))[1] == {"7"}
        assert facets(told(table, "call.hold", at=2 * CALL_LIFETIME + 1))[1] == set()
        assert len(table) == 0

    def test_a_call_that_rings_everywhere(self) -> None:
        table = CallTable()
        for agent in range(MAX_AGENTS + 50):
            told(table, "call.ringing", agent_id=agent)
        assert facets(told(table, "call.hold"))[1] == {str(agent) for agent in range(50, MAX_AGENTS + 50)}

    def test_a_call_of_which_nothing_is_known_takes_no_room(self) -> None:
        table = CallTable()
        told(table, "call.hold")
        assert len(table) == 0
