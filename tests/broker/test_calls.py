"""CallTable: the queue and the agents of a call, by which its later events are visible."""

from __future__ import annotations

from typing import Any

import pytest
from sample_events import REQUIRED, event

from callcenter_ws.broker import calls as calls_module
from callcenter_ws.broker.calls import CALL_LIFETIME, MAX_AGENTS, CallTable
from callcenter_ws.events.event import Event

Facets = tuple[str | None, set[str]]


def complete(table: CallTable, type_: str, *, at: float = 0.0, user_id: str | None = None, **payload: Any) -> Event:
    """Return an event that the table completed, of the call ``c`` unless the payload has another ``call_id``."""
    completed = event(type_, {"call_id": "c", **payload}, received_at=at, user_id=user_id)
    table.complete(completed)
    return completed


def facets(completed: Event) -> Facets:
    assert len(completed.agents) == len(set(completed.agents))
    return completed.queue_name, set(completed.agents)


# Events, and the queue and the agents that the last of them is completed with.
SEQUENCES: list[tuple[list[tuple[str, dict[str, Any]]], Facets]] = [
    ([("call.hold", {})], (None, set())),
    ([("call.answered", {"agent_id": 7, "queue_name": "a"}), ("call.hold", {})], ("a", {"7"})),
    ([("call.answered", {"agent_id": 7}), ("call.hold", {}), ("call.unhold", {})], (None, {"7"})),
    ([("queue.joined", {"queue_name": "a"}), ("call.answered", {"agent_id": "7"}), ("call.ended", {})], ("a", {"7"})),
    ([("queue.joined", {"queue_name": "a"}), ("queue.joined", {"queue_name": "b"}), ("call.ended", {})], ("b", set())),
    ([("queue.joined", {"queue_name": "b"}), ("queue.left", {"queue_name": "a"})], ("a", set())),
    ([("queue.joined", {"queue_name": "b"}), ("queue.left", {"queue_name": "a"}), ("call.ended", {})], ("b", set())),
    ([("queue.left", {"queue_name": "a"}), ("call.ended", {})], ("a", set())),
    # Ringing at several agents: each sees its own ringing, all see the answer; later events only the one that answered.
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
    # Transferred: both agents see the transfer and later events, until another agent answers.
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
    # Ended.
    ([("call.answered", {"agent_id": "7", "queue_name": "a"}), ("call.ended", {}), ("call.hold", {})], (None, set())),
    ([("call.ringing", {"agent_id": "7"}), ("call.abandoned", {}), ("call.hold", {})], (None, set())),
    # A disposition: of a call that goes on, of one that has ended, and of another queue than the one it is in.
    ([("call.answered", {"agent_id": "7", "queue_name": "a"}), ("call.disposition", {})], ("a", {"7"})),
    (
        [("call.answered", {"agent_id": "7", "queue_name": "a"}),
         ("call.disposition", {"agent_id": "8", "queue_name": "b"})],
        ("b", {"7", "8"}),
    ),
    (
        [("call.answered", {"agent_id": "7", "queue_name": "a"}),
         ("call.disposition", {"agent_id": "8", "queue_name": "b"}), ("call.hold", {})],
        ("a", {"7"}),
    ),
    ([("call.answered", {"agent_id": "7"}), ("call.ended", {}), ("call.disposition", {})], (None, set())),
    (
        [("call.answered", {"agent_id": "7"}), ("call.ended", {}),
         ("call.disposition", {"agent_id": "7", "queue_name": "a"})],
        ("a", {"7"}),
    ),
    (
        [("call.answered", {"agent_id": "7"}), ("call.ended", {}),
         ("call.disposition", {"agent_id": "7", "queue_name": "a"}), ("call.hold", {})],
        (None, set()),
    ),
    # Another call.
    ([("call.answered", {"agent_id": "7"}), ("call.hold", {"call_id": "d"})], (None, set())),
    ([("call.answered", {"agent_id": "7"}), ("call.hold", {"unique_id": "another leg"})], (None, {"7"})),
    ([("call.answered", {"call_id": None, "unique_id": 5}), ("call.hold", {"call_id": "5"})], (None, {"7"})),
]  # fmt: skip


@pytest.mark.parametrize(("events", "last"), SEQUENCES)
def test_an_event_is_completed_with_the_queue_and_the_agents_of_its_call(
    events: list[tuple[str, dict[str, Any]]], last: Facets
) -> None:
    table = CallTable()
    assert [facets(complete(table, type_, **payload)) for type_, payload in events][-1] == last


def test_the_payload_is_unchanged() -> None:
    table = CallTable()
    complete(table, "call.answered", queue_name="a")
    plain = event("call.hold", {"call_id": "c"}).payload
    assert complete(table, "call.hold").payload == plain


def test_events_for_one_user_do_not_change_the_table() -> None:
    table = CallTable()
    complete(table, "call.answered", agent_id="9", user_id="9", queue_name="x")
    assert facets(complete(table, "call.hold")) == (None, set())
    complete(table, "call.answered", agent_id="7", queue_name="a")
    complete(table, "call.ended", user_id="7")
    assert facets(complete(table, "call.hold")) == ("a", {"7"})


@pytest.mark.parametrize("type_", ["agent.login", "queue.stats", "chat.message", "alert", "chat.transferred"])
def test_events_without_a_call_are_unchanged(type_: str) -> None:
    table = CallTable()
    complete(table, "call.answered", queue_name="a")
    completed, plain = event(type_, REQUIRED[type_]), event(type_, REQUIRED[type_])
    table.complete(completed)
    assert (completed.queue_name, completed.agents) == (plain.queue_name, plain.agents)
    assert len(table) == 1


class TestBounds:
    def test_the_call_with_the_oldest_last_event_is_removed_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(calls_module, "MAX_CALLS", 2)
        table = CallTable()
        for call in "abac":
            complete(table, "call.answered", call_id=call)
        assert len(table) == 2
        assert [facets(complete(table, "call.ended", call_id=call))[1] for call in "abc"] == [{"7"}, set(), {"7"}]
        assert len(table) == 0

    def test_a_call_without_an_end_is_removed_after_its_lifetime(self) -> None:
        table = CallTable()
        complete(table, "call.answered", at=0.0)
        assert facets(complete(table, "call.hold", at=CALL_LIFETIME))[1] == {"7"}
        assert facets(complete(table, "call.hold", at=2 * CALL_LIFETIME + 1))[1] == set()
        assert len(table) == 0

    def test_the_agents_of_a_call_are_limited(self) -> None:
        table = CallTable()
        for agent in range(MAX_AGENTS + 50):
            complete(table, "call.ringing", agent_id=agent)
        assert facets(complete(table, "call.hold"))[1] == {str(agent) for agent in range(50, MAX_AGENTS + 50)}

    def test_a_call_without_queue_and_agents_is_not_remembered(self) -> None:
        table = CallTable()
        complete(table, "call.hold")
        assert len(table) == 0
