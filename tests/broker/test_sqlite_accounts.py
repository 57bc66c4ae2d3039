"""Users, sessions and waiting screens in a file: after a restart, and while the disk is full."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from account_store_contract import (
    GRANT,
    NOW,
    AccountContract,
    DurableAccountContract,
    added,
    pairing,
    screen,
    session,
    user,
)
from msgspec.structs import replace
from sqlite_bench import SqliteBench

from callcenter_ws.broker.sqlite import group_commit
from callcenter_ws.broker.sqlite.account_rows import remove_ended_accounts
from callcenter_ws.broker.sqlite.backup import back_up
from callcenter_ws.broker.sqlite.check import check
from callcenter_ws.broker.sqlite.schema import VERSION
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import AccountStore


@pytest_twisted.async_yield_fixture
async def bench(tmp_path: Path) -> AsyncIterator[SqliteBench]:
    bench = SqliteBench(tmp_path / "events.sqlite")
    await bench.open()
    yield bench
    await bench.close()


@pytest.fixture
def accounts(bench: SqliteBench) -> AccountStore:
    return bench.store.accounts


@pytest.fixture
def reopened(bench: SqliteBench) -> Callable[[], Awaitable[AccountStore]]:
    async def reopen() -> AccountStore:
        await bench.open()
        return bench.store.accounts

    return reopen


class TestSqliteAccounts(AccountContract, DurableAccountContract):
    """The tests of every store."""


def in_file(bench: SqliteBench) -> dict[str, int]:
    with sqlite3.connect(f"file:{bench.path}?mode=ro", uri=True) as db:
        tables = ("account", "account_session", "pairing")
        return {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}  # noqa: S608 - names of this test


@pytest_twisted.ensureDeferred
async def test_what_is_answered_is_in_the_file(bench: SqliteBench, accounts: AccountStore) -> None:
    await accounts.save_user(user(), create=True)
    await accounts.save_session(session(), NOW, create=True)
    await accounts.save_pairing(pairing(), NOW)
    assert in_file(bench) == {"account": 1, "account_session": 1, "pairing": 1}
    await accounts.remove_user("anna")
    await accounts.approve_pairing("code-1", GRANT, NOW)
    await accounts.claim_pairing("poll-1", NOW)
    assert in_file(bench) == {"account": 0, "account_session": 0, "pairing": 0}


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_a_change_that_cannot_be_written_is_undone(
    bench: SqliteBench, accounts: AccountStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accounts.save_user(user(), create=True)
    await accounts.save_session(session(), NOW, create=True)
    is_broken = True
    real = group_commit.write

    def write(*arguments: Any) -> None:
        if is_broken:
            raise sqlite3.OperationalError("it broke")
        real(*arguments)

    monkeypatch.setattr(group_commit, "write", write)
    for call in (
        accounts.save_user(user("ben"), create=True),
        accounts.save_user(user(role="admin"), create=False),
        accounts.remove_user("anna"),
        accounts.save_session(session(2), NOW, create=True),
        accounts.end_sessions(NOW, name="anna"),
        accounts.save_pairing(pairing(), NOW),
    ):
        with pytest.raises(Refusal) as refused:
            await call
        assert refused.value.code is ErrorCode.UNAVAILABLE
    assert list(await accounts.users(None, "", 9)) == [user()]
    assert list(await accounts.sessions(None, None, "", 9, NOW)) == [session()]
    assert await accounts.claim_pairing("poll-1", NOW) is None
    is_broken = False
    # What was refused is not written later either.
    await bench.open()
    other = bench.store.accounts
    assert list(await other.users(None, "", 9)) == [user()]
    assert list(await other.sessions(None, None, "", 9, NOW)) == [session()]
    assert in_file(bench) == {"account": 1, "account_session": 1, "pairing": 0}


@pytest_twisted.ensureDeferred
async def test_a_closed_store_accepts_nothing(bench: SqliteBench, accounts: AccountStore) -> None:
    await bench.close()
    with pytest.raises(Refusal) as refused:
        await accounts.save_user(user(), create=True)
    assert refused.value.code is ErrorCode.UNAVAILABLE
    assert await accounts.user("anna") is None


@pytest_twisted.ensureDeferred
async def test_what_has_ended_is_removed_from_the_file(bench: SqliteBench, accounts: AccountStore) -> None:
    await accounts.save_session(session(1), NOW, create=True)
    await accounts.save_session(screen(2, expires_at=NOW + 2_000), NOW, create=True)
    await accounts.save_pairing(pairing(), NOW)
    longer = replace(session(1), expires_at=NOW + 3_000)
    await accounts.save_session(longer, NOW, create=False)
    opened = bench.store._open
    assert opened is not None
    await opened.threads.write(remove_ended_accounts, opened.file, NOW + 2_000)
    assert in_file(bench) == {"account": 0, "account_session": 1, "pairing": 0}
    await bench.open()
    assert await bench.store.accounts.session(longer.id, NOW + 2_000) == longer


@pytest_twisted.ensureDeferred
async def test_a_file_of_the_former_version_is_migrated(bench: SqliteBench, tmp_path: Path) -> None:
    await bench.alerts(3)
    await bench.close()
    with sqlite3.connect(bench.path) as db:
        for table in ("account", "account_session", "pairing", "command"):
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version = 5")
    assert check(bench.path).version == 5
    await bench.open()
    await bench.store.accounts.save_user(user(), create=True)
    report = check(bench.path)
    assert (report.version, report.users, report.sessions, report.events) == (VERSION, 1, 0, 3)
    assert not report.problems


@pytest_twisted.ensureDeferred
async def test_a_backup_signs_nobody_in_again(bench: SqliteBench, accounts: AccountStore, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    await accounts.save_user(user(), create=True)
    await added(accounts, session(1), screen(2), session(3, "", kind="demo", user_id="agent"))
    await accounts.save_pairing(pairing(), NOW)
    back_up(bench.path, copy, lambda: "new epoch")
    report = check(copy)
    assert (report.users, report.sessions, report.problems) == (1, 1, [])
    assert copy.stat().st_mode & 0o777 == bench.path.stat().st_mode & 0o777 == 0o600
    await bench.close()
    copy.replace(bench.path)
    await bench.open()
    restored = bench.store.accounts
    assert await restored.user("anna") == user()
    assert await restored.session(screen(2).id, NOW) == screen(2)
    assert list(await restored.sessions(None, None, "", 9, NOW)) == [screen(2)]
    assert await restored.claim_pairing("poll-1", NOW) is None


@pytest_twisted.ensureDeferred
async def test_a_file_without_users_is_backed_up(bench: SqliteBench, tmp_path: Path) -> None:
    await bench.close()
    with sqlite3.connect(bench.path) as db:
        for table in ("account", "account_session", "pairing"):
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version = 5")
    back_up(bench.path, tmp_path / "copy.sqlite", lambda: "new epoch")
    assert check(tmp_path / "copy.sqlite").version == 5
