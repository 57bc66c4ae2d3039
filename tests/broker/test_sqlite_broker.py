"""SqliteBroker: the tests of every broker, and those of its own behaviour."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from broker_contract import (
    DEADLINE,
    A,
    B,
    BrokerContract,
    CountersContract,
    DurableContract,
    MailContract,
    SourceContract,
    payload_of,
    positions,
)
from chat_contract import ChatContract, DurableChatContract
from command_store_contract import CommandContract, DurableCommandContract
from figure_store_contract import ConditionContract, DurableFigureContract, FigureContract, HoldContract
from reconciliation_contract import DurableReconciliationContract, ReconciliationContract
from sqlite_bench import SqliteBench
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults

from callcenter_ws.broker import submission
from callcenter_ws.broker.mailboxes import LIFETIME
from callcenter_ws.broker.sqlite import cache, expiry, group_commit, maintenance, restore, tenant, transaction
from callcenter_ws.broker.sqlite.check import check
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Event, Origin
from callcenter_ws.interfaces import REVOCATION_LIFETIME_SECONDS, MailboxGap, PresenceRecord, PublishResult, Revocation

OUTAGE = "the store cannot be written: it broke (OperationalError)"


@pytest_twisted.async_yield_fixture
async def bench(tmp_path: Path) -> AsyncIterator[SqliteBench]:
    bench = SqliteBench(tmp_path / "events.sqlite")
    await bench.open()
    yield bench
    await bench.close()


class TestSqliteBroker(
    BrokerContract,
    MailContract,
    CountersContract,
    SourceContract,
    DurableContract,
    ChatContract,
    DurableChatContract,
    ReconciliationContract,
    DurableReconciliationContract,
    FigureContract,
    ConditionContract,
    HoldContract,
    DurableFigureContract,
    CommandContract,
    DurableCommandContract,
):
    """The tests of every broker."""


class Gate:
    """Replaces a function that a thread of the store calls by one that waits for ``open`` first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        self._call = getattr(module, name)
        self._open = threading.Event()
        self.calls: list[tuple[Any, ...]] = []
        monkeypatch.setattr(module, name, self._pass)

    def _pass(self, *arguments: Any) -> Any:
        self.calls.append(arguments)
        assert self._open.wait(30)
        return self._call(*arguments)

    def open(self) -> None:
        self._open.set()


def breaking(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Return a function that makes writes fail (True) or succeed (False)."""
    real = group_commit.write
    is_broken = False

    def write(*arguments: Any) -> None:
        if is_broken:
            raise sqlite3.OperationalError("it broke")
        real(*arguments)

    def switch(to: bool) -> None:
        nonlocal is_broken
        is_broken = to

    monkeypatch.setattr(group_commit, "write", write)
    return switch


def unreadable(*arguments: Any) -> None:
    """Replaces ``restore_tenant``: the file cannot be read."""
    raise sqlite3.DatabaseError("it broke")


class TestTransactions:
    """Events submitted while a transaction is written go into the next."""

    @pytest_twisted.ensureDeferred
    async def test_one_transaction_for_all_events_submitted_meanwhile(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate = Gate(monkeypatch, group_commit, "write")
        first = bench.broker.publish([bench.event()])
        await bench.until(lambda: len(gate.calls) == 1)
        more = [bench.broker.publish([bench.event()]) for _ in range(100)]
        await bench.until(lambda: True)
        assert bench.delivered == []
        gate.open()
        await DeferredList([first, *more])
        assert [written.event_count for _, written in gate.calls] == [1, 100]
        assert bench.seqs() == list(range(1, 102))

    @pytest_twisted.ensureDeferred
    async def test_nothing_is_acknowledged_or_delivered_before_it_is_written(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await bench.alerts(1)
        gate = Gate(monkeypatch, group_commit, "write")
        login = bench.event("agent.login", payload_of("agent.login"))
        answers: list[Any] = []
        bench.broker.publish([login]).addBoth(answers.append)
        await bench.until(lambda: gate.calls)
        assert (await bench.broker.position(A)).seq == 1
        assert (await bench.broker.read(A, 0, 10)).head == 1
        assert await bench.state() == []
        assert (answers, len(bench.delivered)) == ([], 1)
        gate.open()
        await bench.until(lambda: answers)
        assert await bench.state() == [2]

    @pytest_twisted.ensureDeferred
    async def test_tenants_take_turns(self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch) -> None:
        # Both tenants are in memory; otherwise the second would also wait until it is loaded.
        await bench.alerts(1, B)
        gate = Gate(monkeypatch, group_commit, "write")
        first = bench.broker.publish([bench.event()])
        await bench.until(lambda: gate.calls)
        flood = bench.broker.publish([bench.event() for _ in range(5 * group_commit.TRANSACTION_EVENTS)])
        other = bench.broker.publish([bench.event(tenant_id=B)])
        gate.open()
        await gatherResults([first, other])
        assert len(bench.seqs()) < 5 * group_commit.TRANSACTION_EVENTS
        await flood
        assert bench.seqs() == list(range(1, 5 * group_commit.TRANSACTION_EVENTS + 2))

    @pytest_twisted.ensureDeferred
    async def test_waiting_events_are_limited(self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(submission, "MAX_WAITING_EVENTS", 10)
        gate = Gate(monkeypatch, group_commit, "write")
        first = bench.broker.publish([bench.event()])
        await bench.until(lambda: gate.calls)
        waiting = bench.broker.publish([bench.event() for _ in range(10)])
        outcomes = await bench.broker.publish([bench.event(), bench.event(tenant_id=B)])
        assert [outcome.code for outcome in outcomes if isinstance(outcome, Refusal)] == [ErrorCode.OVERLOADED] * 2
        gate.open()
        assert len(await waiting) == 10
        await first
        assert await bench.alerts(1) == [12]

    @pytest_twisted.ensureDeferred
    async def test_a_repetition_within_a_transaction(self, bench: SqliteBench) -> None:
        calls = [bench.broker.publish([bench.event(event_id="x")]) for _ in range(3)]
        outcomes = [outcome for call in calls for outcome in await call]
        assert [(result.seq, result.duplicate) for result in outcomes if isinstance(result, PublishResult)] == [
            (1, False),
            (1, True),
            (1, True),
        ]


class TestMailMarks:
    @pytest_twisted.ensureDeferred
    async def test_a_read_has_the_marks_that_are_being_written(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        notification = {"type": "x", "title": "t", "message": "m"}
        await bench.publish(*[bench.event("notification", notification, user_id="7", event_id=id_) for id_ in "abc"])
        gate = Gate(monkeypatch, group_commit, "write")
        bench.broker.mark_mail_sent(A, "7", ["a"])
        await bench.until(lambda: gate.calls)
        bench.broker.mark_mail_sent(A, "7", ["b"])
        page = await bench.broker.read_mailbox(A, "7", 0, 10)
        assert [(item.publication.event.event_id, item.sent) for item in page.items] == [
            ("a", True),
            ("b", True),
            ("c", False),
        ]
        gate.open()


class TestMailExpiry:
    @pytest_twisted.ensureDeferred
    async def test_the_gap_of_items_that_were_read_between_expiry_and_removal(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate = Gate(monkeypatch, maintenance, "remove_expired_mail")
        notification = {"type": "x", "title": "t", "message": "m"}
        await bench.publish(bench.event("notification", notification, user_id="7"))
        bench.clock.advance(LIFETIME + 61)
        await bench.until(lambda: gate.calls)
        page = await bench.broker.read_mailbox(A, "7", 0, 10)
        assert (page.items, page.gap) == ([], None)
        gate.open()
        deadline = reactor.seconds() + DEADLINE
        while (page := await bench.broker.read_mailbox(A, "7", 0, 10)).gap is None:
            assert reactor.seconds() < deadline, "the gap is not reported"
            bench.clock.advance(60)
        assert page.gap == MailboxGap(1, 1)


@pytest.mark.logs_errors
class TestOutage:
    """The file is not writable: publishing is refused at once, everything else continues."""

    @pytest_twisted.ensureDeferred
    async def test_publishing_is_refused_and_resumes(self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = breaking(monkeypatch)
        await bench.alerts(3)
        broken(True)
        for _ in range(2):
            (outcome,) = await bench.broker.publish([bench.event()])
            assert isinstance(outcome, Refusal)
            assert (outcome.code, outcome.message) == (ErrorCode.UNAVAILABLE, OUTAGE)
            assert outcome.retry_after == group_commit.RETRY_SECONDS
        assert bench.broker.not_ready() == OUTAGE
        assert positions((await bench.broker.read(A, 0, 10)).publications) == [1, 2, 3]
        broken(False)
        bench.clock.advance(group_commit.RETRY_SECONDS)
        await bench.until(lambda: bench.broker.not_ready() is None)
        assert await bench.alerts(2) == [4, 5]
        assert bench.seqs() == [1, 2, 3, 4, 5]

    @pytest_twisted.ensureDeferred
    async def test_waiting_events_are_refused_too(self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = breaking(monkeypatch)
        broken(True)
        calls = [bench.broker.publish([bench.event(tenant_id=tenant_id)]) for tenant_id in (A, B, A)]
        for outcomes in await gatherResults(calls):
            assert isinstance(outcomes[0], Refusal)
        broken(False)

    @pytest_twisted.ensureDeferred
    async def test_writing_is_retried_until_it_succeeds(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = breaking(monkeypatch)
        broken(True)
        await bench.broker.publish([bench.event()])
        for _ in range(3):
            bench.clock.advance(group_commit.RETRY_SECONDS)
            await bench.until(lambda: bench.store._open.group_commit._retry is not None)  # type: ignore[union-attr]
            assert bench.broker.not_ready() == OUTAGE
        broken(False)
        bench.clock.advance(group_commit.RETRY_SECONDS)
        await bench.until(lambda: bench.broker.not_ready() is None)

    @pytest_twisted.ensureDeferred
    async def test_pending_writes_are_not_lost(self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch) -> None:
        await MailContract.notify(bench, "a", "b")
        broken = breaking(monkeypatch)
        broken(True)
        bench.broker.acknowledge_mail(A, "7", ["a"])
        bench.store.save_presence(PresenceRecord(A, "7", False, 5.0, 6.0))
        await bench.until(lambda: bench.broker.not_ready())
        assert await MailContract.waiting(bench) == ["b"]
        broken(False)
        bench.clock.advance(group_commit.RETRY_SECONDS)
        await bench.until(lambda: bench.broker.not_ready() is None)
        await bench.open()
        assert await MailContract.waiting(bench) == ["b"]
        assert [known.user_id for known in bench.store.load_presence()] == ["7"]

    @pytest_twisted.ensureDeferred
    async def test_a_commit_whose_write_failed(self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch) -> None:
        """The repeated event has the first position; it is delivered once."""
        await bench.alerts(1)
        real = group_commit.write

        def write(*arguments: Any) -> None:
            real(*arguments)
            raise sqlite3.OperationalError("it broke")

        monkeypatch.setattr(group_commit, "write", write)
        (outcome,) = await bench.broker.publish([bench.event(event_id="x")])
        assert isinstance(outcome, Refusal)
        monkeypatch.setattr(group_commit, "write", real)
        bench.clock.advance(group_commit.RETRY_SECONDS)
        await bench.until(lambda: bench.broker.not_ready() is None and len(bench.delivered) == 2)
        (again,) = await bench.publish(bench.event(event_id="x"))
        assert (again.seq, again.duplicate) == (2, True)
        assert await bench.alerts(1) == [3]
        assert bench.seqs() == [1, 2, 3]

    @pytest_twisted.ensureDeferred
    async def test_a_bug_is_an_outage_with_a_traceback_in_the_log(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def write(*arguments: Any) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr(group_commit, "write", write)
            (outcome,) = await bench.broker.publish([bench.event()])
        assert isinstance(outcome, Refusal)
        assert outcome.message == "the store cannot be written: internal error"
        bench.clock.advance(group_commit.RETRY_SECONDS)
        await bench.until(lambda: bench.broker.not_ready() is None)
        assert await bench.alerts(1) == [1]

    @pytest_twisted.ensureDeferred
    async def test_the_store_stops_although_it_cannot_write(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = breaking(monkeypatch)
        broken(True)
        await bench.broker.publish([bench.event()])
        await bench.broker.stop()
        broken(False)
        await bench.open()
        assert await bench.alerts(1) == [1]

    @pytest_twisted.ensureDeferred
    async def test_a_tenant_that_cannot_be_loaded(self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch) -> None:
        await bench.alerts(1)
        await bench.open()

        with monkeypatch.context() as patch:
            patch.setattr(cache, "restore_tenant", unreadable)
            (outcome,) = await bench.broker.publish([bench.event()])
            assert isinstance(outcome, Refusal)
            assert outcome.message == "the store cannot be read: it broke (DatabaseError)"
            with pytest.raises(Refusal, match="cannot be read"):
                await bench.broker.position(A)
        assert await bench.alerts(1) == [2]

    @pytest_twisted.ensureDeferred
    async def test_a_tenant_that_another_caller_is_loading(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All callers that wait for the tenant are refused, and the store can be stopped."""
        await bench.alerts(1)
        await bench.open()

        monkeypatch.setattr(cache, "restore_tenant", unreadable)
        gate = Gate(monkeypatch, cache, "restore_tenant")
        querying = Deferred.fromCoroutine(bench.store.position(A))
        publishing = bench.broker.publish([bench.event()])
        await bench.until(lambda: not bench.store._open.queue._ready)  # type: ignore[union-attr]
        gate.open()
        (outcome,) = await publishing
        assert isinstance(outcome, Refusal)
        with pytest.raises(Refusal, match="cannot be read"):
            await querying
        await bench.broker.stop()
        monkeypatch.undo()
        await bench.open()

    @pytest_twisted.ensureDeferred
    async def test_a_store_that_cannot_be_read_is_not_ready(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await bench.alerts(1)
        await bench.open()

        with monkeypatch.context() as patch:
            patch.setattr(cache, "restore_tenant", unreadable)
            with pytest.raises(Refusal):
                await bench.broker.position(A)
        assert bench.broker.not_ready() == "the store cannot be read: it broke (DatabaseError)"
        await bench.broker.position(A)
        assert bench.broker.not_ready() is None

    @pytest_twisted.ensureDeferred
    async def test_loading_is_retried_without_a_request(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await bench.alerts(1)
        await bench.open()
        with monkeypatch.context() as patch:
            patch.setattr(cache, "restore_tenant", unreadable)
            with pytest.raises(Refusal):
                await bench.broker.position(A)
        bench.clock.advance(60)
        await bench.until(lambda: bench.broker.not_ready() is None)


class TestFile:
    """What is on disk, and what is in memory."""

    @pytest_twisted.ensureDeferred
    async def test_events_no_longer_in_memory_are_read_from_the_file(self, bench: SqliteBench) -> None:
        bench.options = {"memory_events": 10}
        await bench.open()
        await bench.alerts(100)
        assert positions((await bench.broker.read(A, 5, 20)).publications) == list(range(6, 26))
        assert positions((await bench.broker.read(A, 85, 50)).publications) == list(range(86, 101))

    @pytest_twisted.ensureDeferred
    async def test_a_page_of_large_events_is_short(self, bench: SqliteBench) -> None:
        bench.options = {"memory_events": 1}
        await bench.open()
        large = {"title": "t", "message": "m" * 100_000}
        await bench.publish(*[bench.event("alert", large) for _ in range(10)])
        found = []
        while len(found) < 9:
            page = positions((await bench.broker.read(A, len(found), 9 - len(found))).publications)
            assert 1 <= len(page) <= 3
            found += page
        assert found == list(range(1, 10))

    @pytest_twisted.ensureDeferred
    async def test_tenants_without_clients_are_evicted_first(self, bench: SqliteBench) -> None:
        bench.options = {"memory_bytes": 200_000}
        broker = await bench.open()
        broker.attach(A)
        for _ in range(20):
            await bench.alerts(10)
            await bench.alerts(10, B)
            assert broker.state()["memory_bytes"] <= 200_000
        assert bench.store._open is not None
        assert bench.store._open.cache.peek(A) is not None
        for tenant_id in (A, B):
            assert positions((await broker.read(tenant_id, 0, 500)).publications)[:3] == [1, 2, 3]
            assert (await broker.position(tenant_id)).seq == 200

    @pytest_twisted.ensureDeferred
    async def test_a_tenant_in_use_is_not_reloaded_for_each_event(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.options = {"memory_bytes": 20_000}
        await bench.open()
        loads = []
        real = cache.restore_tenant

        def load(*arguments: Any) -> Any:
            loads.append(arguments)
            return real(*arguments)

        monkeypatch.setattr(cache, "restore_tenant", load)
        for _ in range(50):
            await bench.alerts(10)
        assert len(loads) == 1
        assert bench.broker.state()["memory_bytes"] <= 20_000
        bench.clock.advance(cache.IN_USE_SECONDS + 1)
        await bench.alerts(100, B)
        assert bench.store._open is not None
        assert bench.store._open.cache.peek(A) is None

    @pytest_twisted.ensureDeferred
    async def test_large_events_cause_a_checkpoint_sooner(self, bench: SqliteBench) -> None:
        large = {"title": "t", "message": "m" * 400_000}
        await bench.publish(bench.event("agent.login", payload_of("agent.login")))
        for _ in range(30):
            await bench.publish(bench.event("alert", large))
        await bench.until(lambda: check(bench.path).state == 1)

    @pytest.mark.parametrize("name", ["_MARK_SENT", "_ACKNOWLEDGE", "_REMOVE_EXCESS"])
    @pytest_twisted.ensureDeferred
    async def test_statements_about_mail_use_the_index(self, bench: SqliteBench, name: str) -> None:
        assert bench.store._open is not None
        db = bench.store._open.file.writer
        arguments = ("[]", 1_000) if name == "_REMOVE_EXCESS" else ("[]",)
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {getattr(transaction, name)}", arguments)]
        searches = [step for step in plan if step.startswith("SEARCH") and "mail_" in step]
        assert searches
        assert all("tenant=? AND user_id=?" in step for step in searches)
        assert not [step for step in plan if step.startswith("SCAN") and "VIRTUAL" not in step]

    @pytest_twisted.ensureDeferred
    async def test_an_unused_tenant_is_evicted(self, bench: SqliteBench) -> None:
        await bench.alerts(1)
        assert bench.broker.state()["tenants"] == 1
        for _ in range(10):
            bench.clock.advance(60)
        assert bench.broker.state()["tenants"] == 0
        assert await bench.alerts(1) == [2]

    @pytest_twisted.ensureDeferred
    async def test_the_history_is_trimmed_on_disk(self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tenant, "CHECKPOINT_EVENTS", 50)
        monkeypatch.setattr(expiry, "BATCH_ROWS", 7)
        await bench.open(history_events=20)
        await bench.publish(bench.event("agent.login", payload_of("agent.login")))
        for _ in range(10):
            await bench.alerts(30)
            bench.clock.advance(301)
        await bench.until(lambda: check(bench.path).events <= 20 + 50 + 30)
        report = check(bench.path)
        assert (report.problems, report.state) == ([], 1)
        assert await bench.state() == [1]
        await bench.open(history_events=20)
        assert await bench.state() == [1]

    @pytest_twisted.ensureDeferred
    async def test_identifiers_of_trimmed_events_survive_a_restart(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tenant, "CHECKPOINT_EVENTS", 50)
        await bench.open(history_events=20)
        await bench.publish(bench.event(event_id="x"), bench.event(event_id="y", origin=Origin.CLIENT))
        for _ in range(10):
            await bench.alerts(30)
        await bench.until(lambda: check(bench.path).events <= 20 + 50 + 30)
        assert not (await bench.broker.read(A, 0, 1)).reachable
        for _ in range(2):
            bench.clock.advance(140)
            await bench.open(history_events=20)
            again = await bench.publish(bench.event(event_id="x"), bench.event(event_id="y", origin=Origin.CLIENT))
            assert [(result.seq, result.duplicate) for result in again] == [(1, True), (2, True)]
        bench.clock.advance(30)
        (fresh,) = await bench.publish(bench.event(event_id="x"))
        assert fresh.duplicate is False

    @pytest_twisted.ensureDeferred
    async def test_the_file_of_a_large_history_stays_small(self, bench: SqliteBench) -> None:
        await bench.open(history_bytes=2_097_152)
        large = {"title": "t", "message": "x" * 500_000}
        for _ in range(40):
            await bench.publish(*[bench.event("alert", large) for _ in range(4)])
        bench.clock.advance(60)
        await bench.until(lambda: check(bench.path).events <= 20)
        assert bench.path.stat().st_size < 45_000_000
        before = await bench.broker.position(A)
        await bench.open(history_bytes=2_097_152)
        assert await bench.broker.position(A) == before
        assert check(bench.path).problems == []

    @pytest_twisted.ensureDeferred
    async def test_the_history_of_a_tenant_that_is_not_in_memory_is_trimmed(self, bench: SqliteBench) -> None:
        await bench.open(history_seconds=1_000)
        await bench.alerts(50)
        await bench.alerts(50, B)
        await bench.open(history_seconds=1_000)

        def is_trimmed() -> bool:
            bench.clock.advance(60)
            return check(bench.path).events == 0

        await bench.until(is_trimmed)
        assert check(bench.path).problems == []
        assert await bench.alerts(1) == [51]
        assert await bench.alerts(1, B) == [51]

    @pytest_twisted.ensureDeferred
    async def test_the_statistics(self, bench: SqliteBench) -> None:
        await bench.alerts(1)
        state = bench.broker.state()
        assert (state["kind"], state["ready"], state["tenants"]) == ("sqlite", True, 1)
        assert state["file_bytes"] > 0
        await bench.broker.stop()
        assert bench.broker.state() == {"kind": "sqlite", "ready": False, "synchronous": "normal"}
        assert bench.broker.not_ready() == "the store is closed"


class TestPresence:
    """Presence records over a restart (``interfaces.PresenceStore``)."""

    @pytest_twisted.ensureDeferred
    async def test_the_latest_record_of_each_user(self, bench: SqliteBench) -> None:
        assert list(bench.store.load_presence()) == []
        for record in (
            PresenceRecord(A, "7", False, 1.0, 2.0),
            PresenceRecord(A, "7", False, None, 9.0),
            PresenceRecord(A, "7", True, None, 3.0),
            PresenceRecord(B, "7", False, None, 4.0),
        ):
            bench.store.save_presence(record)
        await bench.open()
        assert [
            (known.tenant_id, known.visitor, known.since, known.last_seen) for known in bench.store.load_presence()
        ] == [
            (A, True, None, 3.0),
            (B, False, None, 4.0),
            (A, False, None, 9.0),
        ]

    @pytest_twisted.ensureDeferred
    async def test_a_user_online_at_the_stop_was_seen_until_then(self, bench: SqliteBench) -> None:
        arrived_at = bench.clock.time()
        bench.store.save_presence(PresenceRecord(A, "7", False, arrived_at, arrived_at))
        bench.clock.advance(600)
        await bench.open()
        (known,) = bench.store.load_presence()
        assert (known.since, known.last_seen) == (arrived_at, arrived_at + 600)

    @pytest_twisted.ensureDeferred
    async def test_a_user_online_at_a_crash_was_seen_until_the_last_write(
        self, bench: SqliteBench, tmp_path: Path
    ) -> None:
        arrived_at = bench.clock.time()
        bench.store.save_presence(PresenceRecord(A, "7", False, arrived_at, arrived_at))
        for _ in range(10):
            bench.clock.advance(60)
            await bench.alerts(1)
        copy = SqliteBench(tmp_path / "copy.sqlite")
        for suffix in ("", "-wal"):
            shutil.copy(f"{bench.path}{suffix}", f"{copy.path}{suffix}")
        await copy.open()
        (known,) = copy.store.load_presence()
        assert known.last_seen == arrived_at + 600
        await copy.close()

    @pytest_twisted.ensureDeferred
    async def test_whether_a_user_is_announced_follows_from_the_event(self, bench: SqliteBench) -> None:
        """Both are in one transaction: after a restart no announcement is missing or repeated."""
        for user_id in "789":
            bench.store.save_presence(PresenceRecord(A, user_id, False, 1.0, 1.0))
        bench.store.save_presence(PresenceRecord(A, "7", True, None, 1.0))

        def changed(user_id: Any, online: bool, origin: Origin = Origin.GATEWAY) -> Event:
            return bench.event("presence.changed", {"user_id": user_id, "online": online}, origin=origin)

        await bench.publish(
            changed("7", True), changed(8, True), changed("8", False), changed("9", True, Origin.PRODUCER)
        )
        bench.store.save_presence(PresenceRecord(A, "7", False, 1.0, 2.0))
        await bench.open()
        announced = {(known.user_id, known.visitor): known.announced for known in bench.store.load_presence()}
        assert announced == {("7", False): True, ("7", True): False, ("8", False): False, ("9", False): False}


class TestRevocations:
    """Revocations over a restart (``interfaces.PresenceStore``)."""

    @pytest_twisted.ensureDeferred
    async def test_old_ones_are_removed_if_there_are_many(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = bench.clock.time()
        for revocation in (
            Revocation(A, "old", None, now - REVOCATION_LIFETIME_SECONDS - 1),
            Revocation(A, "young", None, now - REVOCATION_LIFETIME_SECONDS + 3_600),
        ):
            bench.store.save_revocation(revocation)
        await bench.open()
        assert [known.jti for known in bench.store.load_revocations()] == ["old", "young"]
        monkeypatch.setattr(restore, "MANY_REVOCATIONS", 1)
        await bench.open()
        assert [known.jti for known in bench.store.load_revocations()] == ["young"]

    @pytest_twisted.ensureDeferred
    async def test_tokens_and_users(self, bench: SqliteBench) -> None:
        for revocation in (
            Revocation(A, "token-1", None, 1.0),
            Revocation(A, None, "7", 2.0),
            Revocation(A, None, "7", 3.0),
            Revocation("*", "token-2", "8", 4.0),
        ):
            bench.store.save_revocation(revocation)
        assert list(bench.store.load_revocations()) == []
        await bench.open()
        assert list(bench.store.load_revocations()) == [
            Revocation(A, "token-1", None, 1.0),
            Revocation(A, None, "7", 3.0),
            Revocation("*", "token-2", None, 4.0),
            Revocation("*", None, "8", 4.0),
        ]


class TestManyTenants:
    """Thousands of tenants that are new, or that have expired events: no turn of the event loop does all the work."""

    @pytest_twisted.ensureDeferred
    async def test_few_tenants_are_loaded_at_once_and_all_are_answered(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate = Gate(monkeypatch, cache, "restore_tenant")
        store = bench.store._open
        assert store is not None
        answers = bench.store.publish([bench.event("alert", tenant_id=f"t{number}") for number in range(600)])
        await bench.until(lambda: gate.calls)
        loading = [record for record in store.cache.records() if record.loading is not None]
        assert len(loading) == group_commit.MAX_LOADS
        gate.open()
        assert all(isinstance(outcome, PublishResult) for outcome in await answers)
        assert store.queue.waiting_events == 0

    @pytest_twisted.ensureDeferred
    async def test_expired_events_of_many_tenants_are_removed_in_several_turns(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = bench.store._open
        assert store is not None
        await bench.publish(*[bench.event("alert", tenant_id=f"t{number}") for number in range(20)])
        swept: list[object] = []
        forget = store.cache.forget_expired

        def slow(record: tenant.TenantRecord, received_after: float) -> None:
            swept.append(record)
            forget(record, received_after)
            bench.clock._now += 0.002

        monkeypatch.setattr(store.cache, "forget_expired", slow)
        store.maintenance._sweep(iter(store.cache.records()))
        assert 0 < len(swept) < 5
        for _ in range(10):
            bench.clock.advance(0.01)
        assert len(swept) == 20

    @pytest_twisted.ensureDeferred
    async def test_a_large_checkpoint_is_made_in_several_turns_and_is_that_of_one_position(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tenant, "CHECKPOINT_EVENTS", 40)
        monkeypatch.setattr(tenant, "CALLS_PER_STEP", 5)
        # No step ends within a turn's time.
        monkeypatch.setattr(group_commit, "SECONDS_PER_TURN", 0.0)
        for begin in range(0, 100, 20):
            calls = [{"unique_id": f"c{begin + n}", "caller_id": "5", "destination": "1"} for n in range(20)]
            await bench.publish(*[bench.event("call.incoming", call) for call in calls])
        await bench.alerts(100)
        store = bench.store._open
        assert store is not None
        await bench.until(lambda: store.cache.get(A).checkpoint >= 200)
        assert store.cache.get(A).delivered == 200
        state = await bench.state()
        assert len(state) == 100
        assert (await bench.alerts(1)) == [201]
        await bench.open()
        assert await bench.state() == state

    @pytest_twisted.ensureDeferred
    async def test_memory_of_many_tenants_is_freed_in_several_turns(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = bench.store._open
        assert store is not None
        await bench.publish(*[bench.event("alert", tenant_id=f"t{number}") for number in range(20)])
        bench.clock.advance(60)
        monkeypatch.setattr(cache, "SECONDS_PER_TURN", 0.0)
        monkeypatch.setattr(store.cache, "_memory_bytes", 0)
        store.cache.free_memory()
        assert len(store.cache) == 19
        store.cache.free_memory()
        assert len(store.cache) == 19
        for _ in range(30):
            bench.clock.advance(0.01)
        assert len(store.cache) == store.cache.bytes == 0
