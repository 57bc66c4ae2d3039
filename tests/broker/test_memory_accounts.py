"""Users, sessions and waiting screens in memory."""

from __future__ import annotations

import pytest
from account_store_contract import NOW, AccountContract, pairing, session, user
from msgspec.structs import replace

from callcenter_ws.broker import account_table
from callcenter_ws.broker.account_table import AccountTable
from callcenter_ws.broker.memory_accounts import MemoryAccounts
from callcenter_ws.errors import ErrorCode, Refusal


@pytest.fixture
def accounts() -> MemoryAccounts:
    return MemoryAccounts()


class TestMemoryAccounts(AccountContract):
    """The tests of every store."""


def test_there_are_at_most_so_many_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_table, "MAX_SESSIONS", 2)
    table = AccountTable()
    table.save_session(session(1, "a"), NOW, create=True)
    table.save_session(session(2, "b", expires_at=NOW + 5_000), NOW, create=True)
    with pytest.raises(Refusal) as refused:
        table.save_session(session(3, "c"), NOW, create=True)
    assert refused.value.code is ErrorCode.OVERLOADED
    # What has ended makes room at once.
    assert table.save_session(session(3, "c", expires_at=NOW + 5_000), NOW + 1_000, create=True)
    assert len(table.sessions(None, None, "", 10, NOW + 1_000)) == 2


def test_what_has_ended_is_forgotten() -> None:
    table = AccountTable()
    for number in range(100):
        table.save_session(session(number, f"user-{number}"), NOW, create=True)
        table.save_pairing(pairing(number), NOW)
    table.forget_ended(NOW + 1_000)
    assert not table._sessions
    assert not table._pairings
    assert not table._by_owner
    assert not table._by_public_id
    assert not table._by_poll


def test_much_that_has_ended_is_forgotten_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_table, "MAX_FORGOTTEN", 3)
    table = AccountTable()
    for number in range(4):
        table.save_session(session(number, f"user-{number}"), NOW, create=True)
        table.save_pairing(pairing(number), NOW)
    table.take_changes()
    left = []
    for _ in range(3):
        table.forget_ended(NOW + 100_000)
        left.append(len(table.take_changes()))
    assert left == [6, 2, 0]


def test_changes_are_undone() -> None:
    table = AccountTable()
    table.save_user(user("a"), create=True)
    table.save_session(session(1, "a"), NOW, create=True)
    table.save_pairing(pairing(1), NOW)
    table.take_changes()
    table.save_user(user("b"), create=True)
    table.save_user(user("a", role="admin"), create=False)
    table.remove_user("a")
    table.save_session(session(2, "b"), NOW, create=True)
    table.save_pairing(pairing(2), NOW)
    table.undo(table.take_changes())
    assert table.users(None, "", 10) == [user("a")]
    assert table.sessions(None, "a", "", 10, NOW) == [session(1, "a")]
    assert table.sessions(None, None, "", 10, NOW) == [session(1, "a")]
    assert table.claim_pairing("poll-1", NOW) == "waiting"
    assert table.claim_pairing("poll-2", NOW) is None


def test_a_later_change_is_not_undone_with_an_earlier_one() -> None:
    table = AccountTable()
    table.save_user(user("a"), create=True)
    table.save_session(session(1, "a"), NOW, create=True)
    failed = table.take_changes()
    table.save_user(user("a", role="admin"), create=False)
    table.save_session(replace(session(1, "a"), used_at=NOW + 9), NOW, create=False)
    table.undo(failed)
    assert table.user("a") == user("a", role="admin")
    assert table.session(session(1).id, NOW) == replace(session(1, "a"), used_at=NOW + 9)
