"""The tests that every implementation of ``interfaces.AccountStore`` passes.

The test module of a store provides a fixture ``accounts``, an empty store that is open, and derives from
``AccountContract``. A store that survives its process also provides ``reopened``, which returns the store as another
process finds it, and derives from ``DurableAccountContract``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import pytest_twisted
from msgspec.structs import replace

from callcenter_ws.broker import account_table
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import AccountStore, Grant, PairingRecord, SessionRecord, UserRecord

NOW = 1_800_000_000.0
NAMES = ["anna", "Ünal", "a b", "a:b", "ä\"'%*?[{}", "😀", "x" * 255, "1", "01"]
"""Names that may be mistaken for something else in a store."""


def user(name: str = "anna", **changes: Any) -> UserRecord:
    """Return a user of the tenant acme."""
    given = {"tenant_id": "acme", "user_id": name, "role": "agent", "password": "scrypt$…", "changed_at": NOW}
    return UserRecord(name=name, **{**given, **changes})


def session(number: int = 1, name: str = "anna", **changes: Any) -> SessionRecord:
    """Return a session of a user; used later the higher its number."""
    given = {
        "id": f"{number:064x}",
        "public_id": f"{number:016x}",
        "kind": "person",
        "tenant_id": "acme",
        "user_id": name,
        "role": "agent",
        "display_name": "Anna Ä",
        "queues": ("sales", "ä"),
        "created_at": NOW,
        "used_at": NOW + number,
        "expires_at": NOW + 1_000,
    }
    return SessionRecord(name=name, **{**given, **changes})


def screen(number: int = 1, **changes: Any) -> SessionRecord:
    return session(number, "", kind="screen", user_id=f"screen-{number}", **changes)


def pairing(number: int = 1, expires_at: float = NOW + 600) -> PairingRecord:
    return PairingRecord(
        code=f"code-{number}", poll=f"poll-{number}", network=f"2001:db8:{number}::/64", expires_at=expires_at
    )


GRANT = Grant(tenant_id="acme", role="wallboard", queues=("sales",), display_name="Hall")


async def added(accounts: AccountStore, *sessions: SessionRecord) -> None:
    for one in sessions:
        assert await accounts.save_session(one, NOW, create=True)


async def public_ids(accounts: AccountStore, now: float = NOW, **wanted: str | None) -> list[int]:
    found = await accounts.sessions(wanted.get("tenant_id"), wanted.get("name"), "", 1_000, now)
    return [int(one.public_id, 16) for one in found]


class AccountContract:
    """What every store does."""

    @pytest_twisted.ensureDeferred
    async def test_users_are_created_once_and_replaced_only_if_they_exist(self, accounts: AccountStore) -> None:
        assert await accounts.user("anna") is None
        assert not await accounts.save_user(user(), create=False)
        assert await accounts.user("anna") is None
        assert await accounts.save_user(user(), create=True)
        assert not await accounts.save_user(user(role="admin"), create=True)
        assert await accounts.user("anna") == user()
        changed = user(role="admin", queues=(), display_name="Ä\n", changed_at=NOW + 0.125)
        assert await accounts.save_user(changed, create=False)
        assert await accounts.user("anna") == changed
        assert await accounts.user("ANNA") is None

    @pytest_twisted.ensureDeferred
    async def test_users_are_listed_by_name(self, accounts: AccountStore) -> None:
        for name in NAMES:
            assert await accounts.save_user(user(name, tenant_id="globex" if name == "1" else "acme"), create=True)
        assert [one.name for one in await accounts.users(None, "", 100)] == sorted(NAMES)
        assert [one.name for one in await accounts.users("globex", "", 100)] == ["1"]
        assert await accounts.users("other", "", 100) == []
        found: list[str] = []
        while page := [one.name for one in await accounts.users(None, found[-1] if found else "", 2)]:
            assert len(page) <= 2
            found += page
        assert found == sorted(NAMES)
        for name in NAMES:
            assert (await accounts.user(name)) is not None

    @pytest_twisted.ensureDeferred
    async def test_a_removed_user_has_no_sessions(self, accounts: AccountStore) -> None:
        await accounts.save_user(user(), create=True)
        await accounts.save_user(user("ben"), create=True)
        await added(accounts, session(1), session(2), session(3, "ben"), screen(4))
        assert await accounts.remove_user("anna") == user()
        assert await accounts.remove_user("anna") is None
        assert await accounts.user("anna") is None
        assert await public_ids(accounts) == [3, 4]
        assert await accounts.session(session(1).id, NOW) is None

    @pytest_twisted.ensureDeferred
    async def test_there_are_at_most_so_many_users(self, accounts: AccountStore, monkeypatch: Any) -> None:
        monkeypatch.setattr(account_table, "MAX_USERS", 2)
        await accounts.save_user(user("a"), create=True)
        await accounts.save_user(user("b"), create=True)
        with pytest.raises(Refusal) as refused:
            await accounts.save_user(user("c"), create=True)
        assert refused.value.code is ErrorCode.OVERLOADED
        assert await accounts.save_user(user("a", role="admin"), create=False)
        await accounts.remove_user("b")
        assert await accounts.save_user(user("c"), create=True)

    @pytest_twisted.ensureDeferred
    async def test_sessions_last_until_they_end(self, accounts: AccountStore) -> None:
        await added(accounts, session(1), screen(2, queues=None, expires_at=NOW + 5_000))
        assert await accounts.session(session(1).id, NOW + 999) == session(1)
        assert await accounts.session(session(1).id, NOW + 1_000) is None
        assert await accounts.session("unknown", NOW) is None
        assert await public_ids(accounts, NOW + 1_000) == [2]
        assert await accounts.session(screen(2).id, NOW + 1_000) == screen(2, queues=None, expires_at=NOW + 5_000)

    @pytest_twisted.ensureDeferred
    async def test_a_session_is_prolonged_but_never_revived(self, accounts: AccountStore) -> None:
        await added(accounts, session(1), session(2))
        longer = replace(session(1), used_at=NOW + 500, expires_at=NOW + 1_500)
        assert await accounts.save_session(longer, NOW + 500, create=False)
        assert await accounts.session(longer.id, NOW + 1_400) == longer
        late = replace(session(2), expires_at=NOW + 9_000)
        assert not await accounts.save_session(late, NOW + 1_000, create=False)
        assert await accounts.session(late.id, NOW + 1_000) is None
        await accounts.end_sessions(NOW, public_id=longer.public_id)
        assert not await accounts.save_session(longer, NOW, create=False)
        assert await accounts.session(longer.id, NOW) is None

    @pytest_twisted.ensureDeferred
    async def test_the_least_used_session_of_a_user_ends_when_there_are_many(
        self, accounts: AccountStore, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(account_table, "MAX_SESSIONS_PER_USER", 3)
        await added(accounts, session(3), session(1), session(2), session(9, "ben"), screen(10), screen(11))
        used = replace(session(1), used_at=NOW + 50)
        assert await accounts.save_session(used, NOW, create=False)
        await added(accounts, session(4), screen(12), screen(13))
        assert await public_ids(accounts) == [1, 3, 4, 9, 10, 11, 12, 13]
        demo = [session(20 + n, "", kind="demo", user_id="agent") for n in range(4)]
        await added(accounts, *demo, session(30, "", kind="demo", user_id="supervisor"))
        assert await public_ids(accounts) == [1, 3, 4, 9, 10, 11, 12, 13, 21, 22, 23, 30]

    @pytest_twisted.ensureDeferred
    async def test_sessions_are_listed_and_ended(self, accounts: AccountStore) -> None:
        await added(accounts, session(1), session(2), session(3, "ben", tenant_id="globex"), screen(4))
        assert await public_ids(accounts) == [1, 2, 3, 4]
        assert await public_ids(accounts, name="anna") == [1, 2]
        assert await public_ids(accounts, tenant_id="globex") == [3]
        assert await public_ids(accounts, name="anna", tenant_id="globex") == []
        assert await public_ids(accounts, name="unknown") == []
        page = await accounts.sessions(None, None, session(1).public_id, 2, NOW)
        assert [one.public_id for one in page] == [session(2).public_id, session(3).public_id]
        assert list(await accounts.end_sessions(NOW, public_id=screen(4).public_id)) == [screen(4)]
        assert list(await accounts.end_sessions(NOW, public_id="unknown")) == []
        assert list(await accounts.end_sessions(NOW, name="anna")) == [session(1), session(2)]
        assert list(await accounts.end_sessions(NOW, name="anna")) == []
        assert await public_ids(accounts) == [3]

    @pytest_twisted.ensureDeferred
    async def test_a_screen_is_paired_once(self, accounts: AccountStore) -> None:
        assert await accounts.save_pairing(pairing(), NOW)
        assert await accounts.claim_pairing("poll-1", NOW) == "waiting"
        assert not await accounts.approve_pairing("other", GRANT, NOW)
        assert await accounts.approve_pairing("code-1", GRANT, NOW) == "2001:db8:1::/64"
        assert not await accounts.approve_pairing("code-1", replace(GRANT, role="supervisor"), NOW)
        assert await accounts.claim_pairing("code-1", NOW) is None
        assert await accounts.claim_pairing("poll-1", NOW) == GRANT
        assert await accounts.claim_pairing("poll-1", NOW) is None
        assert not await accounts.approve_pairing("code-1", GRANT, NOW)

    @pytest_twisted.ensureDeferred
    async def test_a_screen_waits_for_a_limited_time(self, accounts: AccountStore) -> None:
        await accounts.save_pairing(pairing(1), NOW)
        await accounts.save_pairing(pairing(2), NOW)
        assert await accounts.approve_pairing("code-2", GRANT, NOW + 599)
        assert not await accounts.approve_pairing("code-1", GRANT, NOW + 600)
        assert await accounts.claim_pairing("poll-1", NOW + 600) is None
        assert await accounts.claim_pairing("poll-2", NOW + 600) is None

    @pytest_twisted.ensureDeferred
    async def test_a_code_in_use_is_not_given_again(self, accounts: AccountStore) -> None:
        assert await accounts.save_pairing(pairing(), NOW)
        assert not await accounts.save_pairing(replace(pairing(), poll="p"), NOW)
        assert await accounts.claim_pairing("p", NOW) is None
        assert await accounts.save_pairing(replace(pairing(), poll="p", expires_at=NOW + 900), NOW + 600)
        assert await accounts.claim_pairing("p", NOW + 600) == "waiting"

    @pytest_twisted.ensureDeferred
    async def test_there_are_at_most_so_many_waiting_screens(self, accounts: AccountStore, monkeypatch: Any) -> None:
        monkeypatch.setattr(account_table, "MAX_PAIRINGS", 2)
        assert await accounts.save_pairing(pairing(1), NOW)
        assert await accounts.save_pairing(pairing(2, NOW + 900), NOW)
        assert not await accounts.save_pairing(pairing(3), NOW)
        assert await accounts.save_pairing(pairing(3, NOW + 900), NOW + 600)
        assert not await accounts.save_pairing(pairing(4, NOW + 900), NOW + 601)


class DurableAccountContract:
    """What a store does that survives its process."""

    @pytest_twisted.ensureDeferred
    async def test_another_process_finds_everything(
        self, accounts: AccountStore, reopened: Callable[[], Awaitable[AccountStore]]
    ) -> None:
        users = [user(name, queues=None if name == "1" else ("a", "ä")) for name in sorted(NAMES)]
        for one in users:
            await accounts.save_user(one, create=True)
        await accounts.save_user(replace(users[0], role="admin"), create=False)
        await accounts.remove_user(users[1].name)
        await added(accounts, session(1), session(2), screen(3, queues=None))
        await accounts.end_sessions(NOW, public_id=session(2).public_id)
        await accounts.save_pairing(pairing(1), NOW)
        await accounts.save_pairing(pairing(2), NOW)
        await accounts.approve_pairing("code-2", GRANT, NOW)
        other = await reopened()
        left: Sequence[UserRecord] = [replace(users[0], role="admin"), *users[2:]]
        assert list(await other.users(None, "", 100)) == left
        assert await other.session(session(1).id, NOW) == session(1)
        assert await public_ids(other) == [1, 3]
        assert await public_ids(other, name="anna") == [1]
        assert await other.claim_pairing("poll-1", NOW) == "waiting"
        assert await other.claim_pairing("poll-2", NOW) == GRANT
        third = await reopened()
        assert await third.claim_pairing("poll-2", NOW) is None
