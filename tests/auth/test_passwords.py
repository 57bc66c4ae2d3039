"""Passwords: their records, and how they are checked one after the other."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.threads import deferToThreadPool

from callcenter_ws.auth.passwords import (
    PasswordChecks,
    hash_password,
    is_password_record,
    matches,
    password_problem,
)
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime.threads import DedicatedThreadPool
from callcenter_ws.testing import FakeClock

RIGHT = "correct horse"
COST = 4


@pytest.fixture(scope="module")
def record() -> str:
    return hash_password(RIGHT, log2_n=COST)


def test_a_record_is_that_of_its_password_only(record: str) -> None:
    assert matches(RIGHT, record)
    for other in ("", "correct hors", "correct horse ", "Correct horse", "x" * 2_000, "correct horse\ud800"):
        assert not matches(other, record)
    assert RIGHT not in record


def test_a_long_password_is_refused_before_it_is_normalized(record: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes the square of its length, in a call that keeps the events of the call center waiting."""
    monkeypatch.setattr("callcenter_ws.auth.passwords._normal", fail)
    long = "\u0301\u0316" * 600
    assert not matches(long, record)
    assert password_problem("anna", long) == "a password has at most 1024 bytes"


def fail(*_: object) -> str:
    raise AssertionError("not to be called")


def test_equal_passwords_have_different_records(record: str) -> None:
    assert hash_password(RIGHT, log2_n=COST) != record


def test_the_cost_is_one_that_owasp_recommends() -> None:
    assert hash_password(RIGHT).startswith("scrypt$15$8$3$")


def test_a_letter_may_be_typed_in_two_ways() -> None:
    assert matches("geheimnis-a\u0308", hash_password("geheimnis-ä", log2_n=COST))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text + "$",
        lambda text: text.replace("scrypt", "bcrypt"),
        lambda text: text.replace("$4$", "$18$"),
        lambda text: text.replace("$4$", "$0$"),
        lambda text: text.replace("$4$", "$-4$"),
        lambda text: text.replace("$8$3$", "$9$3$"),
        lambda text: text.replace("$8$3$", "$8$9$"),
        lambda text: text.replace("$8$3$", "$8$²$"),
        lambda text: text[:-4],
        lambda text: text + "A",
        lambda text: text.rpartition("$")[0] + "$äöü",
    ],
)
def test_a_record_that_cannot_be_checked_within_bounds_is_none(record: str, change: Callable[[str], str]) -> None:
    assert is_password_record(record)
    assert not is_password_record(change(record))
    assert not matches(RIGHT, change(record))


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        ("123456789", "at least 10 characters"),
        ("ä" * 513, "at most 1024 bytes"),
        ("Anna.Schmidt", "is not the name"),
        ("anna.schmidt1", "is not the name"),
        ("ä" * 512, None),
        ("correct horse", None),
        ("anna.schmidt likes tea", None),
    ],
)
def test_passwords_that_are_easily_guessed_are_refused(password: str, problem: str | None) -> None:
    found = password_problem("anna.schmidt", password)
    assert (problem is None and found is None) or (problem or "?") in (found or "")


class Thread:
    """Runs calls when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[[], bool], Deferred[bool]]] = []

    def __call__(self, call: Callable[[], bool]) -> Deferred[bool]:
        result: Deferred[bool] = Deferred()
        self.calls.append((call, result))
        return result

    def step(self) -> None:
        call, result = self.calls.pop(0)
        result.callback(call())


def asked(checks: PasswordChecks, record: str, network: str, done: list[str], *, is_known: bool = False) -> None:
    checking = ensureDeferred(checks.check(RIGHT, record, network, is_known=is_known))
    checking.addCallback(lambda is_right: done.append(f"{network} {is_right}"))
    checking.addErrback(lambda failure: done.append(f"{network} {failure.value.code} {failure.value.retry_after:g}"))


def test_one_is_checked_at_a_time_and_networks_take_turns(record: str) -> None:
    thread, done = Thread(), list[str]()
    checks = PasswordChecks(thread, log2_n=COST)
    for network in ("a", "a", "a", "b", "a", "c", "b"):
        asked(checks, record, network, done)
    for _ in range(7):
        assert len(thread.calls) == 1
        thread.step()
    assert not thread.calls
    assert done == ["a True", "a True", "b True", "c True", "a True", "b True", "a True"]
    asked(checks, record, "d", done)
    thread.step()
    assert done[-1] == "d True"


def test_so_many_wait_at_most(record: str) -> None:
    thread, done = Thread(), list[str]()
    checks = PasswordChecks(thread, max_waiting=2, log2_n=COST)
    for network in "abcd":
        asked(checks, record, network, done)
    assert done == ["d try_later 1"]
    thread.step()
    asked(checks, record, "e", done)
    while thread.calls:
        thread.step()
    assert done == ["d try_later 1", "a True", "b True", "c True", "e True"]


def test_no_network_takes_all_places(record: str) -> None:
    thread, done = Thread(), list[str]()
    checks = PasswordChecks(thread, max_waiting=4, log2_n=COST)
    for network in ("a", "a", "a", "a", "a", "b", "c", "b", "a"):
        asked(checks, record, network, done)
    # The first is being checked. The last of "a" gave way to "b" and "c", until none had two more than another.
    assert done == ["a try_later 1", "a try_later 1", "b try_later 1", "a try_later 1"]
    done.clear()
    while thread.calls:
        thread.step()
    assert done == ["a True", "a True", "b True", "c True", "a True"]


def test_unknown_networks_give_way_to_known_ones(record: str) -> None:
    thread, done = Thread(), list[str]()
    checks = PasswordChecks(thread, max_waiting=3, log2_n=COST)
    for network in "abcd":
        asked(checks, record, network, done)
    for _ in range(3):
        asked(checks, record, "office", done, is_known=True)
    assert done == ["b try_later 1", "c try_later 1", "d try_later 1"]
    done.clear()
    asked(checks, record, "e", done)
    asked(checks, record, "home", done, is_known=True)
    assert done == ["e try_later 1", "office try_later 1"]
    done.clear()
    while thread.calls:
        thread.step()
    assert done == ["a True", "office True", "home True", "office True"]
    # It is forgotten who was known.
    assert not checks._known
    assert not checks._waiting


def test_a_known_network_is_next_after_each_unknown_one(record: str) -> None:
    thread, done = Thread(), list[str]()
    checks = PasswordChecks(thread, log2_n=COST)
    for network in "abcde":
        asked(checks, record, network, done)
    for network in ("office", "office", "home"):
        asked(checks, record, network, done, is_known=True)
    while thread.calls:
        thread.step()
    order = ["a", "office", "b", "home", "c", "office", "d", "e"]
    assert done == [f"{network} True" for network in order]


def test_no_password_waits_until_a_proxy_gives_up(record: str) -> None:
    thread, done, clock = Thread(), list[str](), FakeClock()
    checks = PasswordChecks(thread, monotonic=clock.monotonic, log2_n=COST)
    asked(checks, record, "a", done)
    for network in ("b", "c", "c"):
        asked(checks, record, network, done)
    clock.advance(15)
    asked(checks, record, "c", done)
    clock.advance(6)
    thread.step()
    assert done == ["b try_later 8", "c try_later 8", "c try_later 8", "a True"]
    thread.step()
    assert done[-1] == "c True"
    asked(checks, record, "b", done)
    thread.step()
    assert done[-1] == "b True"


def test_a_check_that_fails_does_not_stop_the_others(record: str) -> None:
    thread, done = Thread(), list[str]()
    checks = PasswordChecks(thread, log2_n=COST)
    failing = ensureDeferred(checks.check(RIGHT, record, "a"))
    failing.addErrback(lambda failure: done.append(str(failure.value)))
    asked(checks, record, "b", done)
    thread.calls.pop(0)[1].errback(ValueError("memory"))
    thread.step()
    assert done == ["memory", "b True"]


@pytest_twisted.ensureDeferred
async def test_the_reactor_does_not_wait(record: str) -> None:
    pool = DedicatedThreadPool(1, "passwords")
    pool.start()
    threads: list[tuple[int, int]] = []

    async def run(call: Callable[[], bool]) -> bool:
        def noted() -> bool:
            result = call()
            threads.append((threading.get_ident(), os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
            return result

        return await deferToThreadPool(reactor, pool, noted)

    try:
        assert await PasswordChecks(run, log2_n=COST).check(RIGHT, record, "a")
    finally:
        pool.stop()
    [(ident, priority)] = threads
    assert ident != threading.get_ident()
    assert priority >= os.getpriority(os.PRIO_PROCESS, 0)
    assert priority >= 10


def test_the_dummy_has_no_password(record: str) -> None:
    assert is_password_record(PasswordChecks(Thread(), log2_n=COST).dummy)


def test_too_many_is_an_expected_failure(record: str) -> None:
    checks = PasswordChecks(Thread(), max_waiting=0, log2_n=COST)
    ensureDeferred(checks.check(RIGHT, record, "a"))
    with pytest.raises(Refusal) as refused:
        checks.check(RIGHT, record, "a").send(None)
    assert refused.value.code is ErrorCode.TRY_LATER
