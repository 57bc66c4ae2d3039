"""Users, sessions and waiting screens in Redis: on a real server, and at several nodes."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_twisted
from account_store_contract import (
    GRANT,
    NOW,
    AccountContract,
    DurableAccountContract,
    added,
    pairing,
    public_ids,
    screen,
    session,
    user,
)
from msgspec.structs import replace
from redis_bench import RedisBench
from redis_server import RedisServer
from twisted.internet.defer import Deferred, gatherResults, succeed

from callcenter_ws.broker import account_table
from callcenter_ws.broker.redis import accounts as redis_accounts
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import AccountStore

_prefixes = (f"accounts-{number}" for number in itertools.count())


@pytest_twisted.async_yield_fixture
async def bench(server: RedisServer) -> AsyncIterator[RedisBench]:
    bench = RedisBench(server.url, next(_prefixes))
    await bench.open()
    yield bench
    await bench.close()


@pytest.fixture
def accounts(bench: RedisBench) -> AccountStore:
    return bench.store.accounts


@pytest.fixture
def reopened(bench: RedisBench) -> Callable[[], Awaitable[AccountStore]]:
    async def reopen() -> AccountStore:
        await bench.open()
        return bench.store.accounts

    return reopen


class TestRedisAccounts(AccountContract, DurableAccountContract):
    """The tests of every store."""


async def other_node(bench: RedisBench) -> RedisBench:
    other = RedisBench(bench.url, bench.prefix)
    await other.open()
    return other


@pytest_twisted.ensureDeferred
async def test_of_two_nodes_one_succeeds(bench: RedisBench, accounts: AccountStore) -> None:
    other = await other_node(bench)
    both = (accounts, other.store.accounts)

    async def of_both(call: Callable[[AccountStore], Awaitable[object]]) -> list[object]:
        return list(await gatherResults([Deferred.fromCoroutine(_awaited(call(one))) for one in both]))

    try:
        assert sorted(await of_both(lambda store: store.save_user(user(), create=True))) == [False, True]
        await accounts.save_pairing(pairing(), NOW)
        approved = await of_both(lambda store: store.approve_pairing("code-1", GRANT, NOW))
        assert sorted(map(bool, approved)) == [False, True]
        claimed = await of_both(lambda store: store.claim_pairing("poll-1", NOW))
        assert GRANT in claimed
        assert None in claimed
        await added(accounts, session())
        ended = await of_both(lambda store: store.end_sessions(NOW, name="anna"))
        assert sorted(map(len, ended)) == [0, 1]
    finally:
        await other.close()


async def _awaited(call: Awaitable[object]) -> object:
    return await call


@pytest_twisted.ensureDeferred
async def test_a_session_lasts_as_long_whatever_the_clocks_of_nodes_are(
    bench: RedisBench, accounts: AccountStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = await other_node(bench)
    try:
        # The clock of the other node is an hour behind.
        monkeypatch.setattr(type(other.store.redis), "_compare_clocks", lambda self, connection: succeed(None))
        other.store.redis.clock_error, bench.store.redis.clock_error = 3_600.0, 0.0
        there, behind = other.store.accounts, NOW - 3_600
        await added(accounts, session())
        seen = await there.session(session().id, behind)
        assert seen is not None
        assert (seen.created_at, seen.expires_at) == (behind, behind + 1_000)
        assert [one.public_id for one in await there.sessions(None, "anna", "", 9, behind)] == [session().public_id]
        assert await there.session(session().id, behind + 1_000) is None
        longer = replace(seen, expires_at=behind + 2_000)
        assert await there.save_session(longer, behind + 999, create=False)
        assert await accounts.session(session().id, NOW + 1_999) == session(expires_at=NOW + 2_000)
        assert await accounts.session(session().id, NOW + 2_000) is None
        await there.save_pairing(pairing(expires_at=behind + 600), behind)
        assert not await accounts.approve_pairing("code-1", GRANT, NOW + 600)
        assert await accounts.approve_pairing("code-1", GRANT, NOW + 599)
        assert await there.claim_pairing("poll-1", behind + 599) == GRANT
    finally:
        await other.close()


@pytest_twisted.ensureDeferred
async def test_there_are_at_most_so_many_sessions(
    bench: RedisBench, accounts: AccountStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_table, "MAX_SESSIONS", 2)
    await added(accounts, session(1, "a"), session(2, "b", expires_at=NOW + 5_000))
    with pytest.raises(Refusal) as refused:
        await added(accounts, session(3, "c"))
    assert refused.value.code is ErrorCode.OVERLOADED
    # What has ended makes room.
    assert await accounts.save_session(session(3, "c", expires_at=NOW + 5_000), NOW + 1_000, create=True)
    assert await public_ids(accounts, NOW + 1_000) == [2, 3]


@pytest_twisted.ensureDeferred
async def test_long_lists_are_read_in_parts(accounts: AccountStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_accounts, "PAGE", 3)
    for number in range(20):
        await accounts.save_user(user(f"{number:02}", tenant_id="acme" if number % 7 else "globex"), create=True)
        await added(accounts, session(number, f"{number:02}", tenant_id="acme" if number % 7 else "globex"))
    assert [one.name for one in await accounts.users("globex", "", 9)] == ["00", "07", "14"]
    assert [one.name for one in await accounts.users("acme", "07", 4)] == ["08", "09", "10", "11"]
    assert await public_ids(accounts) == list(range(20))
    assert await public_ids(accounts, tenant_id="globex") == [0, 7, 14]


@pytest_twisted.ensureDeferred
async def test_the_keys_are_in_one_slot_and_end_with_what_they_hold(
    bench: RedisBench, accounts: AccountStore, server: RedisServer
) -> None:
    names = bench.store.keys.account("")
    # A tenant of the same name has other keys.
    assert not bench.store.keys.of("accounts", "users").startswith(names)
    assert names.count("{") == 1
    await accounts.save_user(user(), create=True)
    await added(accounts, session(1), session(2, expires_at=NOW + 3_000), screen(3))
    await added(accounts, session(4, "", kind="demo", user_id="agent"))
    await accounts.save_pairing(pairing(), NOW)
    await accounts.approve_pairing("code-1", GRANT, NOW)
    left = {name.removeprefix(names): server.ask("TTL", name) for name in server.all_keys(f"{bench.prefix}:pages:*")}
    lasting = {"users": -1, "usernames": -1}
    own = {"of:person:anna", "of:demo:agent"}
    assert left.keys() == {*lasting, *own, "sessions", "ends", "listed", "waiting", "codes", "grants", "waitends"}
    assert {name: seconds for name, seconds in left.items() if seconds < 0} == lasting
    for name in ("sessions", "ends", "listed", "of:person:anna"):
        assert 2_900 < left[name] <= 3_000
    for name in ("waiting", "codes", "grants", "waitends"):
        assert 500 < left[name] <= 600
    # Nothing is left of what was removed.
    await accounts.remove_user("anna")
    for one in (screen(3), session(4)):
        await accounts.end_sessions(NOW, public_id=one.public_id)
    await accounts.claim_pairing("poll-1", NOW)
    assert server.all_keys(f"{bench.prefix}:pages:*") == set()


@pytest_twisted.ensureDeferred
async def test_what_has_ended_is_removed_by_later_changes(
    bench: RedisBench, accounts: AccountStore, server: RedisServer
) -> None:
    for number in range(120):
        await added(accounts, session(number, f"user-{number}"))
        await accounts.save_pairing(pairing(number), NOW)
    # One call removes a hundred; what is left has ended as well.
    assert not await accounts.save_session(session(119, "user-119"), NOW + 2_000, create=False)
    assert await accounts.session(session(119).id, NOW + 2_000) is None
    for number in range(120, 122):
        assert await accounts.save_session(session(number, expires_at=NOW + 9_000), NOW + 2_000, create=True)
        assert await accounts.save_pairing(pairing(number, NOW + 9_000), NOW + 2_000)
    for name, count in (("sessions", 2), ("waiting", 2), ("codes", 2)):
        assert server.ask("HLEN", bench.store.keys.account(name)) == count
    for name in ("ends", "listed", "waitends"):
        assert server.ask("ZCARD", bench.store.keys.account(name)) == 2


@pytest_twisted.ensureDeferred
async def test_without_redis_nothing_is_answered(bench: RedisBench, accounts: AccountStore) -> None:
    await bench.close()
    calls: list[Awaitable[object]] = [
        accounts.user("anna"),
        accounts.users(None, "", 9),
        accounts.save_user(user(), create=True),
        accounts.remove_user("anna"),
        accounts.session("id", NOW),
        accounts.save_session(session(), NOW, create=True),
        accounts.sessions(None, None, "", 9, NOW),
        accounts.end_sessions(NOW, name="anna"),
        accounts.save_pairing(pairing(), NOW),
        accounts.approve_pairing("code-1", GRANT, NOW),
        accounts.claim_pairing("poll-1", NOW),
    ]
    for call in calls:
        with pytest.raises(Refusal) as refused:
            await call
        assert refused.value.code is ErrorCode.UNAVAILABLE
