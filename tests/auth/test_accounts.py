"""Signing in: passwords, sessions, their tokens, screens, and what operators do with them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from account_world import KEY, PASSWORD, RECORD, AccountWorld
from msgspec import structs

from callcenter_ws.auth.account_operations import UserChange
from callcenter_ws.auth.accounts import MAX_PERSON_SECONDS, PAIRING_SECONDS, SignedIn, Subject
from callcenter_ws.auth.jws import MAX_TOKEN_BYTES, parse
from callcenter_ws.auth.pairing_codes import ALPHABET, new_code, read_code
from callcenter_ws.auth.passwords import hash_password
from callcenter_ws.auth.sign_in_tries import (
    MAX_NAMES,
    MAX_OPEN_CODES,
    MAX_UNKNOWN_CODES,
    KnownNetworks,
    OpenCodes,
    SignInTries,
)
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import Grant, UserRecord
from callcenter_ws.testing import FakeClock, run

OTHER_RECORD = hash_password("another password", log2_n=4)
WALL = Grant(tenant_id="acme", role="wallboard", queues=("sales",), display_name="Hall")


@pytest.fixture
def world() -> AccountWorld:
    return AccountWorld()


def refused(call: Coroutine[Any, Any, object]) -> Refusal:
    with pytest.raises(Refusal) as found:
        run(call)
    return found.value


def code_of(call: Coroutine[Any, Any, object]) -> ErrorCode:
    return refused(call).code


def token(world: AccountWorld, cookie: str) -> SignedIn:
    return run(world.accounts.token(cookie))


# People


def test_a_user_signs_in_with_the_password(world: AccountWorld) -> None:
    world.add_user(role="supervisor", display_name="Anna", queues=("sales",), user_id="4711")
    session, cookie = world.sign_in()
    assert (session.kind, session.name, session.tenant_id, session.user_id) == ("person", "anna", "acme", "4711")
    signed = token(world, cookie)
    principal = world.tokens.verify_parsed(parse(signed.token))
    assert (principal.tenant_id, principal.user_id, principal.role) == ("acme", "4711", "supervisor")
    assert (principal.name, principal.queues) == ("Anna", frozenset({"sales"}))
    assert signed.expires_at == int(world.clock.time()) + 600


def test_the_store_has_nothing_that_signs_in(world: AccountWorld) -> None:
    world.add_user()
    _, cookie = world.sign_in()
    pairing = run(world.accounts.open_pairing("192.0.2.7"))
    kept = repr([structs.astuple(one) for one in run(world.store.users(None, "", 9))])
    kept += repr([structs.astuple(one) for one in world.store.table._sessions.values()])
    kept += repr([structs.astuple(one) for one in world.store.table._pairings.values()])
    for secret in (
        PASSWORD,
        cookie,
        pairing.code,
        pairing.code.replace("-", ""),
        pairing.poll,
        token(world, cookie).token,
    ):
        assert secret not in kept
    assert len(cookie) == 43
    assert RECORD not in repr(run(world.store.user("anna")))


@pytest.mark.parametrize(
    ("name", "password"), [("anna", "wrong password"), ("unknown", PASSWORD), ("Anna", PASSWORD), ("anna", "")]
)
def test_a_wrong_name_or_password_is_refused_alike(world: AccountWorld, name: str, password: str) -> None:
    world.add_user()
    refusal = refused(world.accounts.sign_in(name, password, "a"))
    assert (refusal.code, refusal.message) == (ErrorCode.WRONG_PASSWORD, "the name or the password is wrong")


def test_a_name_may_be_typed_in_two_ways(world: AccountWorld) -> None:
    world.add_user("J\u00f6rg")
    assert world.sign_in(" Jo\u0308rg ").session.name == "J\u00f6rg"
    assert code_of(world.accounts.sign_in("a\nb", PASSWORD, "a")) is ErrorCode.INVALID_MESSAGE


def test_a_long_name_is_refused_before_it_is_normalized(world: AccountWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes the square of its length."""

    def fail(*_: object) -> str:
        raise AssertionError("not to be called")

    monkeypatch.setattr("callcenter_ws.auth.account_rules.unicodedata", SimpleNamespace(normalize=fail))
    assert code_of(world.accounts.sign_in("\u0301\u0316" * 600, PASSWORD, "a")) is ErrorCode.INVALID_MESSAGE


def test_passwords_of_a_name_are_tried_a_limited_number_of_times(world: AccountWorld) -> None:
    world.add_user()
    world.add_user("ben")
    world.rules.failed_per_name = 3
    _, cookie = world.sign_in()
    for _ in range(3):
        assert code_of(world.accounts.sign_in("anna", "wrong password", "a")) is ErrorCode.WRONG_PASSWORD
    refusal = refused(world.accounts.sign_in("anna", PASSWORD, "b"))
    assert refusal.code is ErrorCode.RATE_LIMITED
    assert refusal.retry_after == pytest.approx(300)
    assert world.sign_in("ben")
    assert token(world, cookie)
    world.clock.advance(301)
    assert world.sign_in()
    assert world.sign_in()


def test_an_unknown_network_locks_no_user_out_of_a_known_one(world: AccountWorld) -> None:
    world.add_user()
    world.rules.failed_per_name = 3
    world.sign_in(network="office")
    # An attacker may have any number of networks.
    for number in range(3):
        assert code_of(world.accounts.sign_in("anna", "wrong password", f"n{number}")) is ErrorCode.WRONG_PASSWORD
    assert code_of(world.accounts.sign_in("anna", PASSWORD, "n3")) is ErrorCode.RATE_LIMITED
    assert world.sign_in(network="office")
    # Nor can passwords be guessed from the office, or the lock be avoided by signing in as another user.
    world.add_user("eve")
    for _ in range(3):
        assert code_of(world.accounts.sign_in("anna", "wrong password", "office")) is ErrorCode.WRONG_PASSWORD
        world.sign_in("eve", network="office")
    assert code_of(world.accounts.sign_in("anna", PASSWORD, "office")) is ErrorCode.RATE_LIMITED


def test_names_of_nobody_are_limited_too(world: AccountWorld) -> None:
    world.rules.failed_per_name = 1
    assert code_of(world.accounts.sign_in("unknown", "x", "a")) is ErrorCode.WRONG_PASSWORD
    assert code_of(world.accounts.sign_in("unknown", "x", "a")) is ErrorCode.RATE_LIMITED


def test_a_password_that_is_changed_while_it_is_checked_opens_no_session(world: AccountWorld) -> None:
    world.add_user()
    world.clock.advance(3_600)

    def change() -> None:
        # As at a node whose clock is behind.
        world.clock.advance(-60)
        run(world.operations.change_user("anna", UserChange(password=OTHER_RECORD)))
        world.clock.advance(60)

    world.before_check = change
    _, cookie = world.sign_in()
    assert code_of(world.accounts.token(cookie)) is ErrorCode.SIGNED_OUT


# Sessions


def test_a_session_lasts_while_it_is_used(world: AccountWorld) -> None:
    world.add_user()
    session, cookie = world.sign_in()
    for _ in range(10):
        world.clock.advance(world.rules.lifetime * 0.9)
        token(world, cookie)
    assert run(world.store.session(session.id, world.clock.time())).created_at == session.created_at
    world.clock.advance(world.rules.lifetime)
    assert code_of(world.accounts.token(cookie)) is ErrorCode.SIGNED_OUT


def test_a_person_signs_in_again_after_a_month(world: AccountWorld) -> None:
    world.add_user()
    session, cookie = world.sign_in()
    end = session.created_at + MAX_PERSON_SECONDS
    while world.clock.time() + world.rules.lifetime * 0.9 < end:
        world.clock.advance(world.rules.lifetime * 0.9)
        left = world.accounts.seconds_of(token(world, cookie).session)
        assert left == pytest.approx(min(world.rules.lifetime, end - world.clock.time()))
    world.clock.advance(end - world.clock.time())
    assert code_of(world.accounts.token(cookie)) is ErrorCode.SIGNED_OUT


def test_a_shorter_lifetime_ends_sessions_that_are_not_used(world: AccountWorld) -> None:
    world.add_user()
    (_, idle), (_, used) = world.sign_in(), world.sign_in()
    world.rules.lifetime = 1_000
    for _ in range(3):
        world.clock.advance(900)
        token(world, used)
    assert code_of(world.accounts.token(idle)) is ErrorCode.SIGNED_OUT


def test_its_use_is_stored_now_and_then(world: AccountWorld) -> None:
    world.add_user()
    session, cookie = world.sign_in()
    world.clock.advance(world.rules.lifetime / 20)
    token(world, cookie)
    assert run(world.store.session(session.id, world.clock.time())) == session
    world.clock.advance(1)
    token(world, cookie)
    assert run(world.store.session(session.id, world.clock.time())).used_at == world.clock.time()


def test_a_session_ends_at_once_when_it_is_signed_out(world: AccountWorld) -> None:
    world.add_user()
    (session, cookie), (_, other) = world.sign_in(), world.sign_in()
    ended = run(world.accounts.sign_out(cookie))
    assert ended is not None
    assert ended.id == session.id
    assert code_of(world.accounts.token(cookie)) is ErrorCode.SIGNED_OUT
    assert run(world.accounts.sign_out(cookie)) is None
    assert token(world, other)
    assert not world.closed


@pytest.mark.parametrize("cookie", ["", "x" * 43, "\ud800", "a" * 4_000])
def test_other_cookies_are_of_no_session(world: AccountWorld, cookie: str) -> None:
    assert code_of(world.accounts.token(cookie)) is ErrorCode.SIGNED_OUT
    assert run(world.accounts.sign_out(cookie)) is None


# What operators do


def end_by_removal(world: AccountWorld) -> object:
    return run(world.operations.remove_user("anna"))


def end_by_change(world: AccountWorld) -> object:
    return run(world.operations.change_user("anna", UserChange(role="supervisor")))


def end_by_password(world: AccountWorld) -> object:
    return run(world.operations.change_user("anna", UserChange(password=OTHER_RECORD)))


def end_by_operator(world: AccountWorld) -> object:
    return run(world.operations.end_sessions_of("anna"))


@pytest.mark.parametrize(
    ("end", "result"), [(end_by_removal, 2), (end_by_change, 2), (end_by_password, 2), (end_by_operator, (1, 2))]
)
def test_sessions_end_and_connections_are_closed(
    world: AccountWorld, end: Callable[[AccountWorld], object], result: object
) -> None:
    world.add_user(user_id="4711")
    world.add_user("ben")
    (_, cookie), (_, of_ben) = world.sign_in(), world.sign_in("ben")
    before = world.tokens.verify_parsed(parse(token(world, cookie).token))
    world.clock.advance(1)
    assert end(world) == result
    assert world.closed == [("acme", "4711")]
    with pytest.raises(Refusal, match="revoked"):
        world.revocations.check(before)
    assert code_of(world.accounts.token(cookie)) is ErrorCode.SIGNED_OUT
    assert token(world, of_ben)


def test_no_token_is_given_that_would_still_be_refused(world: AccountWorld) -> None:
    world.add_user()
    world.clock.advance(1)
    run(world.operations.change_user("anna", UserChange(password=OTHER_RECORD)))
    cookie = world.sign_in(password="another password").cookie
    refusal = refused(world.accounts.token(cookie))
    assert (refusal.code, refusal.retry_after) == (ErrorCode.TRY_LATER, 6)
    assert refusal.retry_after is not None
    world.clock.advance(refusal.retry_after)
    world.revocations.check(world.tokens.verify_parsed(parse(token(world, cookie).token)))


def test_a_token_has_the_present_rights(world: AccountWorld) -> None:
    """As after a change at another node, whose end of the sessions is on its way."""
    world.add_user()
    _, cookie = world.sign_in()
    user = run(world.store.user("anna"))
    run(world.store.save_user(structs.replace(user, role="supervisor", queues=("a",)), create=False))
    assert token(world, cookie).session.role == "supervisor"
    run(world.store.save_user(structs.replace(user, changed_at=world.clock.time() + 1), create=False))
    assert code_of(world.accounts.token(cookie)) is ErrorCode.SIGNED_OUT
    run(world.store.save_user(user, create=False))
    assert code_of(world.accounts.token(cookie)) is ErrorCode.SIGNED_OUT


def test_a_store_that_takes_no_changes_does_not_sign_out(world: AccountWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add_user()
    session, cookie = world.sign_in()

    async def refuse(*arguments: Any, **options: Any) -> bool:
        raise Refusal(ErrorCode.UNAVAILABLE)

    monkeypatch.setattr(world.store, "save_session", refuse)
    world.clock.advance(world.rules.lifetime / 2)
    assert token(world, cookie).session.public_id == session.public_id
    world.clock.advance(world.rules.lifetime / 2)
    assert code_of(world.accounts.token(cookie)) is ErrorCode.SIGNED_OUT


def test_one_session_is_ended(world: AccountWorld) -> None:
    world.add_user()
    (first, cookie), _ = world.sign_in(), world.sign_in()
    assert run(world.operations.end_session(first.public_id)) == (1, 2)
    assert run(world.operations.end_session(first.public_id)) == (0, 0)
    assert code_of(world.accounts.token(cookie)) is ErrorCode.SIGNED_OUT
    assert len(run(world.operations.sessions("acme", "anna", "", 9))) == 1
    assert run(world.operations.sessions("globex", "anna", "", 9)) == []


def test_what_is_not_changed_stays(world: AccountWorld) -> None:
    world.add_user(queues=("a",), display_name="Anna")
    run(world.operations.change_user("anna", UserChange(role="admin")))
    run(world.operations.change_user(" anna", UserChange(queues=None)))
    user = run(world.operations.user("anna"))
    assert (user.role, user.queues, user.display_name, user.password) == ("admin", None, "Anna", RECORD)
    # Two changes at one time are told apart.
    assert 0 < user.changed_at - world.clock.time() < 1e-6
    assert [one.name for one in run(world.operations.users("acme", "", 9))] == ["anna"]


def test_unknown_and_known_users(world: AccountWorld) -> None:
    record = world.add_user()
    assert code_of(world.operations.add_user(record)) is ErrorCode.USER_EXISTS
    for call in (
        world.operations.remove_user("ben"),
        world.operations.change_user("ben", UserChange()),
        world.operations.user("ben"),
        world.operations.sessions(None, "ben", "", 9),
        world.operations.end_sessions_of("ben"),
    ):
        assert code_of(call) is ErrorCode.UNKNOWN_USER


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant_id": "*"},
        {"tenant_id": ""},
        {"tenant_id": "a\nb"},
        {"role": "service"},
        {"role": "visitor", "tenant_id": "acme"},
        {"role": "root"},
        {"user_id": ""},
        {"user_id": "x" * 256},
        {"display_name": "a\x00"},
        {"display_name": "x" * 256},
        {"queues": ("",)},
        {"queues": tuple(f"queue {number}" for number in range(1_000))},
        {"password": "correct horse"},
        {"password": ""},
        {"name": ""},
        {"name": " "},
        {"name": "x" * 256},
    ],
)
def test_what_no_user_can_be(world: AccountWorld, changes: dict[str, Any]) -> None:
    fields = {"name": "anna", "tenant_id": "acme", "user_id": "anna", "role": "agent", "password": RECORD}
    record = UserRecord(changed_at=0.0, **{**fields, **changes})
    refusal = refused(world.operations.add_user(record))
    assert refusal.code is ErrorCode.INVALID_MESSAGE
    assert "correct horse" not in refusal.message
    if changes.keys() & {"role", "queues", "display_name", "password"} and "tenant_id" not in changes:
        world.add_user()
        assert code_of(world.operations.change_user("anna", UserChange(**changes))) is ErrorCode.INVALID_MESSAGE
        assert run(world.operations.user("anna")).role == "agent"


def test_the_largest_rights_fit_into_a_token(world: AccountWorld) -> None:
    queues = tuple("\u00e4" * 20 + str(number) for number in range(20))
    world.add_user("\u00e4" * 255, tenant_id="\u00e4" * 100, display_name="x" * 255, queues=queues)
    signed = token(world, world.sign_in("\u00e4" * 255).cookie)
    assert len(signed.token) <= MAX_TOKEN_BYTES
    world.tokens.verify_parsed(parse(signed.token))


# Screens


def test_a_screen_signs_in_when_its_code_is_approved(world: AccountWorld) -> None:
    code, poll, expires_at = run(world.accounts.open_pairing("a"))
    assert expires_at == world.clock.time() + PAIRING_SECONDS
    assert run(world.accounts.claim(poll)) is None
    assert run(world.operations.approve(code.lower().replace("-", " "), WALL)) == "a"
    opened = run(world.accounts.claim(poll))
    assert opened is not None
    session, cookie = opened
    assert (session.kind, session.name, session.role, session.queues) == ("screen", "", "wallboard", ("sales",))
    assert session.user_id.startswith("screen-")
    assert session.expires_at == world.clock.time() + world.rules.screen_lifetime
    assert world.accounts.seconds_of(session) == world.rules.screen_lifetime
    principal = world.tokens.verify_parsed(parse(token(world, cookie).token))
    assert (principal.tenant_id, principal.name, principal.user_id) == ("acme", "Hall", session.user_id)
    assert code_of(world.accounts.claim(poll)) is ErrorCode.UNKNOWN_CODE
    assert code_of(world.operations.approve(code, WALL)) is ErrorCode.UNKNOWN_CODE


def test_a_code_ends(world: AccountWorld) -> None:
    code, poll, _ = run(world.accounts.open_pairing("a"))
    world.clock.advance(PAIRING_SECONDS)
    assert code_of(world.operations.approve(code, WALL)) is ErrorCode.UNKNOWN_CODE
    assert code_of(world.accounts.claim(poll)) is ErrorCode.UNKNOWN_CODE


def test_a_code_outlasts_a_change_of_the_keys(world: AccountWorld) -> None:
    """As with two nodes, of which one has read the new file."""
    code, poll, _ = run(world.accounts.open_pairing("a"))
    world.tokens.replace_keys([b"another key, of thirty-two bytes", KEY])
    run(world.operations.approve(code, WALL))
    assert run(world.accounts.claim(poll)) is not None


@pytest.mark.parametrize("code", ["", "K7QX", "K7QX-2M4U", "K7QX-2M4P-1", "ä" * 8, "K7QX-2M4P"])
def test_other_codes_are_unknown(world: AccountWorld, code: str) -> None:
    assert code_of(world.operations.approve(code, WALL)) is ErrorCode.UNKNOWN_CODE


@pytest.mark.parametrize("changes", [{"role": "service"}, {"role": "visitor"}, {"tenant_id": "*"}])
def test_what_no_screen_can_be(world: AccountWorld, changes: dict[str, Any]) -> None:
    code, poll, _ = run(world.accounts.open_pairing("a"))
    assert code_of(world.operations.approve(code, structs.replace(WALL, **changes))) is ErrorCode.INVALID_MESSAGE
    assert run(world.accounts.claim(poll)) is None


def test_a_network_has_so_many_open_codes(world: AccountWorld) -> None:
    for _ in range(MAX_OPEN_CODES):
        run(world.accounts.open_pairing("a"))
    refusal = refused(world.accounts.open_pairing("a"))
    assert (refusal.code, refusal.retry_after) == (ErrorCode.RATE_LIMITED, PAIRING_SECONDS)
    run(world.accounts.open_pairing("b"))
    world.clock.advance(PAIRING_SECONDS)
    run(world.accounts.open_pairing("a"))


def test_codes_are_read_as_people_type_them() -> None:
    assert read_code("k7qx 2m4p") == read_code("K7QX2M4P") == read_code(" K7QX-2M4P\n") == "K7QX-2M4P"
    assert read_code("OIL0-1234") == "0110-1234"
    codes = {new_code() for _ in range(1_000)}
    assert len(codes) == 1_000
    assert all(read_code(code) == code for code in codes)
    assert set("".join(codes)) - {"-"} == set(ALPHABET)


# Switched off


def test_without_a_key_nobody_signs_in(world: AccountWorld) -> None:
    world.tokens.replace_keys([])
    off = world.accounts
    assert not off.is_on
    for call in (
        off.sign_in("anna", PASSWORD, "a"),
        off.token("cookie"),
        off.sign_out("cookie"),
        off.open_pairing("a"),
        off.claim("poll"),
        off.open_demo_session(Subject("demo", "a", "agent", "", None)),
    ):
        refusal = refused(call)
        assert refusal.code is ErrorCode.SIGNING_IN_OFF
        assert "session.key_file" in refusal.message


# Counts


def test_names_that_are_remembered_are_bounded() -> None:
    clock = FakeClock()
    known = KnownNetworks()
    tries = SignInTries(clock.monotonic, lambda: 2, known)
    for number in range(MAX_NAMES + 10):
        give_back = tries.take(f"name {number}", "a")
    assert len(tries._used) == MAX_NAMES
    give_back()
    assert len(tries._used) == MAX_NAMES - 1
    codes = OpenCodes(clock.monotonic, 600, known)
    for number in range(MAX_NAMES + 10):
        known.add(f"network {number}")
        codes.add(f"network {number}")
    assert len(codes._ends) == MAX_NAMES
    assert "network 9" not in known
    assert "network 10" in known


def test_unknown_networks_do_not_keep_known_ones_from_pairing() -> None:
    clock, known = FakeClock(), KnownNetworks()
    codes = OpenCodes(clock.monotonic, 600, known)
    known.add("office")
    for number in range(MAX_UNKNOWN_CODES):
        codes.add(f"network {number}")
    with pytest.raises(Refusal) as refused:
        codes.add("another")
    assert (refused.value.code, refused.value.retry_after) == (ErrorCode.RATE_LIMITED, 600)
    codes.add("office")
    clock.advance(600)
    codes.add("another")
    assert len(codes._unknown_ends) == 1
