"""Model-based test of Spool and Buffer: after any failure, the file holds the unacknowledged events in order."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.remote.buffer import Buffer, WhenFull
from callcenter_ws.remote.pending_event import PendingEvent
from callcenter_ws.remote.spool import Spool
from callcenter_ws.runtime.clock import ReactorClock

MAX_EVENTS = 8
MAX_BYTES = 2_000_000
LARGE = b'"' + b"x" * 300_000 + b'"'


def event_of(number: int, tenant_id: str = "acme") -> PendingEvent:
    fields = {
        "tenant_id": tenant_id,
        "type": "alert",
        "event_id": str(number),
        "timestamp": f"at {number}",
        "persist": False,
    }
    return PendingEvent.create(fields, LARGE if tenant_id == "large" else b"{}")


def number_of(event: PendingEvent) -> int:
    return int(event.fields["event_id"])


class ManualExecutor:
    """A SerialExecutor that makes its calls when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...], Deferred[Any]]] = []

    def start(self) -> None: ...

    def stop(self) -> None:
        assert not self.calls

    def call(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        called: Deferred[Any] = Deferred()
        self.calls.append((function, args, called))
        return called

    def make_call(self) -> None:
        function, args, called = self.calls.pop(0)
        called.callback(function(*args))

    def fail_call(self) -> None:
        _, _, called = self.calls.pop(0)
        called.errback(sqlite3.OperationalError("database or disk is full"))


class SpoolMachine(RuleBasedStateMachine):
    """A daemon with a spool: its disk works or fails, and the daemon stops or is killed.

    Attributes:
        unacknowledged: numbers of the events that the daemon still has to send, in order.
        answered: numbers of the events that it may send again, but need not.
        unit_events: numbers of the events of units.
        history: the records after each unit.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "events.spool"
        self.numbers = 0
        self.unacknowledged: list[int] = []
        self.answered: set[int] = set()
        self.unit_events: set[int] = set()
        self.history: list[dict[str, bytes]] = [{}]

    @initialize(when_full=st.sampled_from(["refuse_newest", "refuse_oldest"]))
    def begin(self, when_full: WhenFull) -> None:
        self.when_full = when_full
        assert self.start() == []

    def start(self) -> list[int]:
        self.clock = Clock()
        self.executor = ManualExecutor()
        self.spool = Spool(self.path, ReactorClock(self.clock), self.executor, lambda: None)
        self.buffer = Buffer(MAX_EVENTS, MAX_BYTES, self.spool, self.when_full)
        self.batch: list[PendingEvent] = []
        recovered = self.buffer.open()
        for event in recovered:
            event.answer.addErrback(self.refused, event)
        return [number_of(event) for event in recovered]

    def refused(self, failure: Any, event: PendingEvent) -> None:
        failure.trap(Refusal)
        if failure.value.code is ErrorCode.OVERLOADED:
            assert event not in self.batch
            self.answered_event(event)

    def answered_event(self, event: PendingEvent) -> None:
        self.unacknowledged.remove(number_of(event))
        self.answered.add(number_of(event))

    def stored(self) -> list[int]:
        db = sqlite3.connect(self.path)
        try:
            found = db.execute("SELECT event_id, tenant_id, timestamp, payload FROM event ORDER BY key").fetchall()
        finally:
            db.close()
        for event_id, tenant_id, timestamp, payload in found:
            assert timestamp == f"at {event_id}"
            assert (payload == LARGE) == (tenant_id == "large")
        return [int(event_id) for event_id, *_ in found]

    @rule(tenant_ids=st.lists(st.sampled_from(["acme", "acme", "globex", "large"]), min_size=1, max_size=4))
    def publish(self, tenant_ids: list[str]) -> None:
        for tenant_id in tenant_ids:
            self.numbers += 1
            event = event_of(self.numbers, tenant_id)
            event.answer.addErrback(self.refused, event)
            try:
                self.buffer.append(event)
            except Refusal as refusal:
                assert refusal.code is ErrorCode.OVERLOADED
                assert len(self.unacknowledged) >= MAX_EVENTS or tenant_id == "large"
            else:
                self.unacknowledged.append(self.numbers)

    def records(self) -> dict[str, bytes]:
        """Return the records in the file."""
        db = sqlite3.connect(self.path)
        try:
            return dict(db.execute("SELECT key, value FROM record").fetchall())
        finally:
            db.close()

    @precondition(lambda self: self.when_full == "refuse_newest")
    @rule(
        count=st.integers(0, 4),
        changes=st.dictionaries(st.sampled_from("abc"), st.sampled_from([None, b"", b"1", b"2"]), max_size=3),
    )
    def publish_unit(self, count: int, changes: dict[str, bytes | None]) -> None:
        """Publish a unit whose record "last" has the number of its last event; an event refused now is given again."""
        numbers = [self.numbers + 1 + index for index in range(count)]
        events = [event_of(number) for number in numbers]
        for event in events:
            event.answer.addErrback(self.refused, event)
        changes = {**changes, "last": str(self.numbers + count).encode()}
        before = dict(self.buffer.records.values)
        try:
            self.buffer.append_unit(events, changes)
        except Refusal as refusal:
            assert refusal.code is ErrorCode.OVERLOADED
            assert len(self.unacknowledged) + count > MAX_EVENTS or len(self.unacknowledged) >= 5
            assert self.buffer.records.values == before
        else:
            self.numbers += count
            self.unacknowledged += numbers
            self.unit_events |= set(numbers)
            self.history.append(dict(self.buffer.records.values))

    @precondition(lambda self: not self.batch)
    @rule()
    def next_batch(self) -> None:
        self.batch = self.buffer.next_batch()
        stored = set(self.stored())
        if not self.spool._is_failing:
            assert {number_of(event) for event in self.batch} <= stored
        assert [number_of(event) for event in self.batch] == self.unacknowledged[: len(self.batch)]

    @precondition(lambda self: self.batch)
    @rule(data=st.data())
    def answer_batch(self, data: st.DataObject) -> None:
        published, invalid = PublishResult("e", 1, "id"), Refusal(ErrorCode.INVALID_EVENT)
        batch, self.batch = self.batch, []
        outcomes = [data.draw(st.sampled_from([published, published, invalid, None])) for _ in batch]
        self.buffer.finish_batch(batch, outcomes)
        for event, outcome in zip(batch, outcomes, strict=True):
            if outcome is not None:
                self.answered_event(event)

    @rule(works=st.booleans())
    def write(self, works: bool) -> None:
        """Make one call of the executor, or let it fail."""
        self.clock.advance(60)
        if self.executor.calls:
            if works:
                self.executor.make_call()
            else:
                self.executor.fail_call()

    def run_until(self, done: Deferred[None], *, disk_works: bool = True) -> None:
        fired: list[None] = []
        done.addCallback(fired.append)
        for _ in range(100):
            self.clock.advance(0)
            while self.executor.calls:
                # Closing succeeds even on a full disk.
                is_closing = self.executor.calls[0][0].__name__ == "close"
                if disk_works or is_closing:
                    self.executor.make_call()
                else:
                    self.executor.fail_call()
        assert fired

    @rule(how=st.sampled_from(["stop", "stop on a full disk", "kill", "kill just after the disk worked"]))
    def end(self, how: str) -> None:
        if how == "stop":
            self.restart()
        elif how == "stop on a full disk":
            self.run_until(Deferred.fromCoroutine(self.spool.flush()), disk_works=False)
            self.restart_after(lambda: self.run_until(Deferred.fromCoroutine(self.spool.close())))
        else:
            if how != "kill" and self.executor.calls:
                function, args, _ = self.executor.calls[0]
                function(*args)
            assert self.spool._file is not None
            self.restart_after(self.spool._file.close)

    def restart(self) -> None:
        self.run_until(Deferred.fromCoroutine(self.spool.flush()))
        assert self.stored() == self.unacknowledged
        assert self.buffer.unspooled == 0
        assert self.records() == self.history[-1]
        self.buffer.refuse_all()
        self.run_until(Deferred.fromCoroutine(self.spool.close()))
        assert self.start() == self.unacknowledged

    def restart_after(self, end: Callable[[], None]) -> None:
        """End without flushing; every event on disk is recovered, and no other than those published."""
        durable = [number for number, event in self.events() if self.spool.is_durable(event)]
        end()
        before = self.buffer.records.values
        assert before == self.history[-1]
        recovered = self.start()
        assert recovered == sorted(recovered)
        self.check_units(recovered)
        assert set(durable) <= set(recovered) <= {*self.unacknowledged, *self.answered}
        # Answered events that are still in the file are sent again; events in memory only are lost.
        self.unacknowledged = recovered

    def check_units(self, recovered: list[int]) -> None:
        """The records are those after one of the units; its events, and those before, are kept or answered."""
        records = self.buffer.records.values
        assert records in self.history
        self.history = [dict(records)]
        last = int(records.get("last", b"0"))
        assert all(number <= last for number in recovered if number in self.unit_events)
        self.unit_events = {number for number in self.unit_events if number <= last}
        assert self.unit_events <= {*recovered, *self.answered}

    def events(self) -> list[tuple[int, PendingEvent]]:
        events = [*self.buffer._in_flight, *self.buffer._queue]
        return [(number_of(event), event) for event in events]

    @invariant()
    def buffer_is_in_order(self) -> None:
        assert [number for number, _ in self.events()] == self.unacknowledged

    @invariant()
    def limits_are_kept(self) -> None:
        assert len(self.buffer) <= MAX_EVENTS
        assert sum(event.size for _, event in self.events()) <= MAX_BYTES
        assert self.buffer._bytes == sum(event.size for _, event in self.events())
        if self.path.exists():
            stored = self.stored()
            assert stored == sorted(stored)
            assert len(stored) <= MAX_EVENTS
            assert len(self.spool._deleted_keys) <= MAX_EVENTS
            assert {number for number, event in self.events() if self.spool.is_durable(event)} <= set(stored)

    def teardown(self) -> None:
        self.restart()
        assert self.spool._file is not None
        self.spool._file.close()
        self.folder.cleanup()


@pytest.mark.logs_errors
class TestSpool(SpoolMachine.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=100, stateful_step_count=30)


class SpoolSetup:
    """A Spool with a ManualExecutor."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.executor = ManualExecutor()
        self.spool = Spool(path, ReactorClock(self.clock), self.executor, lambda: None)
        self.spool.open()

    def next_write(self) -> tuple[list[int], list[int]]:
        """Return the keys of the rows that are written next, and of those that are deleted."""
        self.clock.advance(60)
        _, (rows, deleted, _changes, _closed), _ = self.executor.calls[0]
        return [row[0] for row in rows], deleted

    def close(self) -> None:
        closed = Deferred.fromCoroutine(self.spool.close())
        self.executor.make_call()
        assert closed.called


@pytest.fixture
def spool_setup(tmp_path: Path) -> SpoolSetup:
    return SpoolSetup(tmp_path / "events.spool")


@pytest.mark.logs_errors
def test_events_added_and_removed_while_the_disk_fails_leave_no_keys(spool_setup: SpoolSetup) -> None:
    for number in range(10):
        before, during = event_of(number), event_of(number)
        spool_setup.spool.add(before)
        spool_setup.spool.add(during)
        rows, deleted = spool_setup.next_write()
        assert (len(rows), deleted) == (2, [])
        spool_setup.spool.remove([during])
        spool_setup.executor.fail_call()
        spool_setup.spool.remove([before])
    last = event_of(10)
    spool_setup.spool.add(last)
    assert spool_setup.next_write() == ([last.key], [])
    spool_setup.executor.make_call()
    spool_setup.close()


def test_events_of_one_turn_are_written_in_groups_within_limits(spool_setup: SpoolSetup) -> None:
    for number in range(1_000):
        spool_setup.spool.add(event_of(number))
    for number in range(14):
        spool_setup.spool.add(event_of(number, "large"))
    sizes = []
    for _ in range(3):
        rows, _ = spool_setup.next_write()
        sizes.append(len(rows))
        spool_setup.executor.make_call()
    assert sizes == [512, 1_014 - 512 - 1, 1]
    spool_setup.close()


@pytest.mark.logs_errors
def test_close_resets_a_failed_spool(spool_setup: SpoolSetup) -> None:
    spool_setup.spool.add(event_of(1))
    spool_setup.next_write()
    spool_setup.executor.fail_call()
    spool_setup.close()
    assert spool_setup.clock.getDelayedCalls() == []
    spool_setup.spool.open()
    event = event_of(2)
    spool_setup.spool.add(event)
    assert not spool_setup.spool.may_send(event)
    spool_setup.clock.advance(0)
    spool_setup.executor.make_call()
    assert spool_setup.spool.is_durable(event)
    spool_setup.close()
