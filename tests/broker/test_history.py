"""History and State: a tenant's recent publications, and the state compacted from them."""

from __future__ import annotations

from typing import Any

import pytest

from callcenter_ws.broker import state as state_module
from callcenter_ws.broker.history import History
from callcenter_ws.broker.state import State
from callcenter_ws.events.event import make_event
from callcenter_ws.events.frames import PLAIN
from callcenter_ws.events.principal import Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.redaction import View
from callcenter_ws.events.slot_table import ENTITY_LIFETIME


def publication(seq: int, type_: str = "alert", at: float = 0.0, **payload: Any) -> Publication:
    required = {"title": "t", "message": "m"} if type_ == "alert" else {}
    event = make_event(
        tenant_id="acme",
        type_=type_,
        payload={**required, **payload},
        event_id=str(seq),
        now=0.0,
        received_at=at,
    )
    return Publication(event, seq)


def stats(seq: int, queue: str) -> Publication:
    return publication(seq, "queue.stats", queue_name=queue, calls_waiting=0, available_agents=0, logged_in_agents=0)


def filled(count: int) -> History:
    history = History()
    for seq in range(1, count + 1):
        history.append(publication(seq, at=float(seq)))
    return history


def seqs(publications: Any) -> list[int]:
    return [each.seq for each in publications]


class TestHistory:
    def test_empty(self) -> None:
        history = History()
        assert (len(history), history.head, history.floor, history.bytes) == (0, 0, 0, 0)
        assert seqs(history.after(0, 10)) == []

    def test_a_position_is_an_index(self) -> None:
        history = filled(10)
        assert seqs(history.after(0, 100)) == list(range(1, 11))
        assert seqs(history.after(4, 3)) == [5, 6, 7]
        assert seqs(history.after(10, 3)) == []
        assert seqs(history.after(12, 3)) == []

    def test_trim_by_count(self) -> None:
        history = filled(10)
        history.trim(4, 0.0)
        assert (len(history), history.floor, history.head) == (4, 6, 10)
        assert seqs(history.after(6, 100)) == [7, 8, 9, 10]

    def test_trim_by_age(self) -> None:
        history = filled(10)
        history.trim(100, 8.0)
        assert seqs(history.after(history.floor, 100)) == [8, 9, 10]

    def test_the_head_stays_when_the_publications_are_removed(self) -> None:
        history = filled(3)
        history.trim(0, 0.0)
        assert (len(history), history.floor, history.head, history.bytes) == (0, 3, 3, 0)
        history.append(publication(4))
        assert seqs(history.after(3, 10)) == [4]

    def test_counts_its_bytes(self) -> None:
        history = filled(5)
        assert history.bytes == sum(each.memory for each in history.after(0, 5))
        history.trim(2, 0.0)
        assert history.bytes == sum(each.memory for each in history.after(3, 5))

    def test_the_newest_of_a_key_while_it_is_present(self) -> None:
        history = History()
        for seq, queue in enumerate(["sales", "support", "sales", "sales"], start=1):
            history.append(stats(seq, queue))
        sales, support = stats(0, "sales").event.conflation_key, stats(0, "support").event.conflation_key
        assert sales is not None
        assert support is not None
        assert (history.newest_of(sales), history.newest_of(support)) == (4, 2)
        history.trim(1, 0.0)
        assert (history.newest_of(sales), history.newest_of(support)) == (4, 0)
        history.trim(0, 0.0)
        assert history.newest_of(sales) == 0


class TestState:
    """The rules of each slot are tested by ``broker_contract.py``; these are the mechanisms."""

    def test_publications_are_ordered_by_position(self) -> None:
        state = State()
        for seq, (type_, call) in enumerate(
            [("call.incoming", "a"), ("call.incoming", "b"), ("call.hold", "b"), ("call.hold", "a")], start=1
        ):
            state.apply(publication(seq, type_, unique_id=call, caller_id="1", destination="2"))
        assert seqs(state.publications()) == [1, 2, 3, 4]

    def test_an_entity_is_removed_by_the_age_of_its_last_publication(self) -> None:
        state = State()
        state.apply(login(1, "a", 0.0))
        state.apply(login(2, "b", 10.0))
        state.forget_before(0.0)
        assert seqs(state.publications()) == [1, 2]
        state.forget_before(10.0)
        assert seqs(state.publications()) == [2]
        state.forget_before(10.1)
        assert seqs(state.publications()) == []

    def test_a_publication_that_only_empties_a_slot_counts(self) -> None:
        state = State()
        call = {"unique_id": "1", "caller_id": "1", "destination": "2", "queue_name": "q"}
        state.apply(publication(1, "call.incoming", at=0.0, **call))
        state.apply(login(2, "a", 5.0))
        state.apply(publication(3, "queue.left", at=10.0, **call))
        state.forget_before(6.0)
        assert seqs(state.publications()) == [1]
        state.forget_before(11.0)
        assert seqs(state.publications()) == []

    def test_a_publication_after_a_day_finds_no_entity(self) -> None:
        state = State()
        state.apply(publication(1, "call.hold", at=0.0, unique_id="1"))
        state.apply(publication(2, "call.ringing", at=ENTITY_LIFETIME + 1, unique_id="1", agent_id="7"))
        assert seqs(state.publications()) == [2]

    def test_the_number_of_publications_is_limited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(state_module, "MAX_SLOTS", 3)
        state = State()
        for seq, name in enumerate("abcad", start=1):
            state.apply(login(seq, name, 0.0))
        assert seqs(state.publications()) == [3, 4, 5]

    def test_the_slots_of_users_are_limited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(state_module, "MAX_SLOTS", 3)
        state = State()
        for seq in range(1, 11):
            state.apply(login(seq, "a", 0.0, user_id=str(seq)))
            assert len(state) == len(state.publications()) <= 3
        state.apply(login(11, "b", 0.0))
        assert state.publications()[-1].seq == 11

    def test_counts_its_bytes(self) -> None:
        state = State()
        call = {"unique_id": "1", "caller_id": "1", "destination": "2", "queue_name": "q"}
        types = ["call.incoming", "queue.joined", "call.incoming", "queue.left", "queue.joined", "call.ended"]
        for seq, type_ in enumerate(types, start=1):
            state.apply(publication(seq, type_, **call, x="x" * seq, duration=1))
            state.apply(login(100 + seq, str(seq % 2), seq))
            assert state.bytes == sum(each.memory for each in state.publications())
            assert len(state) == len(state.publications())
        state.forget_oldest()
        assert state.bytes == sum(each.memory for each in state.publications()) > 0
        state.forget_before(1_000.0)
        assert (state.bytes, len(state)) == (0, 0)

    def test_ended_entities_are_removed(self) -> None:
        state = State()
        for seq in range(1, 1001, 2):
            state.apply(publication(seq, "call.hold", unique_id=str(seq)))
            state.apply(publication(seq + 1, "call.ended", unique_id=str(seq), duration=1))
        assert state._entities == {}


@pytest.mark.parametrize("type_", ["alert", "call.hold", "chat.message"])
def test_a_publication_needs_no_more_memory_than_was_counted(type_: str) -> None:
    payload = {"unique_id": "1", "session_id": "s", "message_id": "m", "sender_id": "v", "sender_type": "visitor"}
    big = publication(1, type_, **payload, body="b", x="x" * 100_000)
    role_views = [view for role, view in VIEWS.items() if role in big.event.type.audience]
    frames = {id(frame): len(frame) for frame in [big.frame(PLAIN[view]) for view in role_views]}
    assert big.memory >= len(big.event.payload) + sum(frames.values())


VIEWS = {Role.ADMIN: View.FULL, Role.WALLBOARD: View.WALLBOARD, Role.VISITOR: View.VISITOR}


def login(seq: int, name: str, at: float, user_id: str | None = None) -> Publication:
    event = make_event(
        tenant_id="acme",
        type_="agent.login",
        payload={"user_id": name, "username": "n"},
        event_id=str(seq),
        user_id=user_id,
        now=0.0,
        received_at=at,
    )
    return Publication(event, seq)
