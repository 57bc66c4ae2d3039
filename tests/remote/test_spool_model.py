"""Whatever happens to a spool, it holds what was not acknowledged, in order."""

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

MOST_EVENTS = 8
MOST_BYTES = 2_000_000
LARGE = b'"' + b"x" * 300_000 + b'"'


def event_of(number: int, tenant_id: str = "acme") -> PendingEvent:
    fields = {
        "tenant_id": tenant_id,
        "type": "alert",
        "event_id": str(number),
        "timestamp": f"at {number}",
        "persist": False,
    }
    return PendingEvent.of(fields, LARGE if tenant_id == "large" else b"{}")


def number_of(event: PendingEvent) -> int:
    return int(event.fields["event_id"])


class HeldThread:
    """Does what it is called for when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...], Deferred[Any]]] = []

    def start(self) -> None: ...

    def stop(self) -> None:
        assert not self.calls

    def call(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        called: Deferred[Any] = Deferred()
        self.calls.append((function, args, called))
        return called

    def work(self) -> None:
        function, args, called = self.calls.pop(0)
        called.callback(function(*args))

    def fail(self) -> None:
        _, _, called = self.calls.pop(0)
        called.errback(sqlite3.OperationalError("database or disk is full"))


class SpoolMachine(RuleBasedStateMachine):
    """A daemon on a spool, whose disk works or fails, and which stops or is killed.

    Attributes:
        unacknowledged: numbers of the events that the daemon has to send, in order.
        answered: those that it need not send again, but may.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "events.spool"
        self.numbers = 0
        self.unacknowledged: list[int] = []
        self.answered: set[int] = set()

    @initialize(when_full=st.sampled_from(["refuse_newest", "refuse_oldest"]))
    def begin(self, when_full: WhenFull) -> None:
        self.when_full = when_full
        assert self.start() == []

    def start(self) -> list[int]:
        self.clock = Clock()
        self.thread = HeldThread()
        self.spool = Spool(self.path, self.clock, self.thread, lambda: None)
        self.buffer = Buffer(MOST_EVENTS, MOST_BYTES, self.spool, self.when_full)
        self.batch: list[PendingEvent] = []
        left = self.buffer.open()
        for event in left:
            event.answer.addErrback(self.refused, event)
        return [number_of(event) for event in left]

    def refused(self, failure: Any, event: PendingEvent) -> None:
        failure.trap(Refusal)
        if failure.value.code is ErrorCode.OVERLOADED:
            assert event not in self.batch
            self.settled(event)

    def settled(self, event: PendingEvent) -> None:
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
                assert len(self.unacknowledged) >= MOST_EVENTS or tenant_id == "large"
            else:
                self.unacknowledged.append(self.numbers)

    @precondition(lambda self: not self.batch)
    @rule()
    def take(self) -> None:
        self.batch = self.buffer.take()
        stored = set(self.stored())
        if not self.spool._is_failing:
            assert {number_of(event) for event in self.batch} <= stored
        assert [number_of(event) for event in self.batch] == self.unacknowledged[: len(self.batch)]

    @precondition(lambda self: self.batch)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        published, invalid = PublishResult("e", 1, "id"), Refusal(ErrorCode.INVALID_EVENT)
        batch, self.batch = self.batch, []
        outcomes = [data.draw(st.sampled_from([published, published, invalid, None])) for _ in batch]
        self.buffer.settle(batch, outcomes)
        for event, outcome in zip(batch, outcomes, strict=True):
            if outcome is not None:
                self.settled(event)

    @rule(works=st.booleans())
    def write(self, works: bool) -> None:
        """The disk does one thing, or fails at it."""
        self.clock.advance(60)
        if self.thread.calls:
            if works:
                self.thread.work()
            else:
                self.thread.fail()

    def drive(self, done: Deferred[None], *, disk_works: bool = True) -> None:
        fired: list[None] = []
        done.addCallback(fired.append)
        for _ in range(100):
            self.clock.advance(0)
            while self.thread.calls:
                # Closing works even on a full disk.
                is_closing = self.thread.calls[0][0].__name__ == "close"
                if disk_works or is_closing:
                    self.thread.work()
                else:
                    self.thread.fail()
        assert fired

    @rule(how=st.sampled_from(["stop", "stop on a full disk", "kill", "kill just after the disk worked"]))
    def end(self, how: str) -> None:
        if how == "stop":
            self.restart()
        elif how == "stop on a full disk":
            self.drive(Deferred.fromCoroutine(self.spool.flush()), disk_works=False)
            self.come_back(lambda: self.drive(Deferred.fromCoroutine(self.spool.close())))
        else:
            if how != "kill" and self.thread.calls:
                function, args, _ = self.thread.calls[0]
                function(*args)
            assert self.spool._file is not None
            self.come_back(self.spool._file.close)

    def restart(self) -> None:
        self.drive(Deferred.fromCoroutine(self.spool.flush()))
        assert self.stored() == self.unacknowledged
        assert self.buffer.mortal == 0
        self.buffer.give_up()
        self.drive(Deferred.fromCoroutine(self.spool.close()))
        assert self.start() == self.unacknowledged

    def come_back(self, end: Callable[[], None]) -> None:
        """All that was on disk is still to be sent, and nothing that never was to be."""
        safe = [number for number, event in self.kept() if self.spool.survives(event)]
        end()
        left = self.start()
        assert left == sorted(left)
        assert set(safe) <= set(left) <= {*self.unacknowledged, *self.answered}
        # What was answered, and is there nevertheless, has to be sent again; what was in memory alone is lost.
        self.unacknowledged = left

    def kept(self) -> list[tuple[int, PendingEvent]]:
        events = [*self.buffer._taken, *self.buffer._waiting]
        return [(number_of(event), event) for event in events]

    @invariant()
    def memory_has_it_in_order(self) -> None:
        assert [number for number, _ in self.kept()] == self.unacknowledged

    @invariant()
    def all_is_bounded(self) -> None:
        assert len(self.buffer) <= MOST_EVENTS
        assert sum(event.size for _, event in self.kept()) <= MOST_BYTES
        assert self.buffer._bytes == sum(event.size for _, event in self.kept())
        if self.path.exists():
            stored = self.stored()
            assert stored == sorted(stored)
            assert len(stored) <= MOST_EVENTS
            assert len(self.spool._gone) <= MOST_EVENTS
            assert {number for number, event in self.kept() if self.spool.survives(event)} <= set(stored)

    def teardown(self) -> None:
        self.restart()
        assert self.spool._file is not None
        self.spool._file.close()
        self.folder.cleanup()


@pytest.mark.logs_errors
class TestSpool(SpoolMachine.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=100, stateful_step_count=30)


class Stage:
    """A spool of its own, whose disk does what the test says."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.thread = HeldThread()
        self.spool = Spool(path, self.clock, self.thread, lambda: None)
        self.spool.open()

    def next_write(self) -> tuple[list[int], list[int]]:
        """Keys of the rows that are written, and of those that are deleted."""
        self.clock.advance(60)
        _, (rows, gone), _ = self.thread.calls[0]
        return [row[0] for row in rows], gone

    def close(self) -> None:
        closed = Deferred.fromCoroutine(self.spool.close())
        self.thread.work()
        assert closed.called


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "events.spool")


@pytest.mark.logs_errors
def test_what_comes_and_goes_while_the_disk_fails_leaves_nothing_behind(stage: Stage) -> None:
    for number in range(10):
        before, during = event_of(number), event_of(number)
        stage.spool.add(before)
        stage.spool.add(during)
        rows, gone = stage.next_write()
        assert (len(rows), gone) == (2, [])
        stage.spool.remove([during])
        stage.thread.fail()
        stage.spool.remove([before])
    last = event_of(10)
    stage.spool.add(last)
    assert stage.next_write() == ([last.key], [])
    stage.thread.work()
    stage.close()


def test_what_comes_together_is_written_together_within_limits(stage: Stage) -> None:
    for number in range(1_000):
        stage.spool.add(event_of(number))
    for number in range(14):
        stage.spool.add(event_of(number, "large"))
    sizes = []
    for _ in range(3):
        rows, _ = stage.next_write()
        sizes.append(len(rows))
        stage.thread.work()
    assert sizes == [512, 1_014 - 512 - 1, 1]
    stage.close()


@pytest.mark.logs_errors
def test_after_an_outage_it_begins_anew(stage: Stage) -> None:
    stage.spool.add(event_of(1))
    stage.next_write()
    stage.thread.fail()
    stage.close()
    assert stage.clock.getDelayedCalls() == []
    stage.spool.open()
    event = event_of(2)
    stage.spool.add(event)
    assert not stage.spool.may_send(event)
    stage.clock.advance(0)
    stage.thread.work()
    assert stage.spool.survives(event)
    stage.close()
