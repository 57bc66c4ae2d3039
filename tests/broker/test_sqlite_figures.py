"""The rows of folds in a file: when they are written, what is read meanwhile, and what a kill leaves."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import figure_writer
import pytest
import pytest_twisted
from broker_contract import A, B
from figure_store_contract import CALL, DAY, FOLD, Writer, day_of, days, stored
from sqlite_bench import SqliteBench
from twisted.internet.defer import ensureDeferred

from callcenter_ws.broker.sqlite import expiry, figure_rows, figures, group_commit, maintenance, queries, transaction
from callcenter_ws.broker.sqlite import file as file_module
from callcenter_ws.broker.sqlite.backup import back_up
from callcenter_ws.broker.sqlite.check import check
from callcenter_ws.broker.sqlite.schema import APPLICATION_ID, MIGRATIONS, VERSION, place_of
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.statistics.checkpoint import NO_DAY, RowKey
from callcenter_ws.statistics.store import FigurePosition, LiveFigure


@pytest_twisted.async_yield_fixture
async def bench(tmp_path: Path) -> AsyncIterator[SqliteBench]:
    bench = SqliteBench(tmp_path / "events.sqlite")
    await bench.open()
    yield bench
    await bench.close()


def in_file(bench: SqliteBench) -> dict[str, Any]:
    """Return what is committed: names and values of rows, and the position of each tenant."""
    with sqlite3.connect(f"file:{bench.path}?mode=ro", uri=True) as db:
        rows = dict(db.execute("SELECT kind || ':' || name, value FROM figure"))
        return rows | dict(db.execute("SELECT tenant_id, seq FROM figure_fold"))


class Gate:
    """Lets a function that a thread of the store calls begin when it is opened."""

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


def counted(monkeypatch: pytest.MonkeyPatch) -> list[transaction.Transaction]:
    """Return a list to which every transaction is added that is written from now on."""
    written: list[transaction.Transaction] = []
    real = group_commit.write

    def write(file: Any, one: transaction.Transaction) -> None:
        written.append(one)
        real(file, one)

    monkeypatch.setattr(group_commit, "write", write)
    return written


class TestWhenRowsAreWritten:
    """With the next events, or alone after a second."""

    @pytest_twisted.ensureDeferred
    async def test_they_ride_in_the_next_transaction_of_events(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await bench.alerts(1)
        written = counted(monkeypatch)
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"1"})
        await writer.write({FOLD: b"2", CALL: b"c"})
        await stored(bench)
        assert in_file(bench) == {}
        assert written == []
        await bench.alerts(1)
        assert in_file(bench) == {"fold:": b"2", "call:c-1": b"c", A: 1}
        assert [(one.event_count, len(one.figures)) for one in written] == [(1, 1)]

    @pytest_twisted.ensureDeferred
    async def test_alone_after_a_second(self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch) -> None:
        written = counted(monkeypatch)
        writer, other = await Writer.of(bench), await Writer.of(bench, B)
        await writer.write({FOLD: b"1"})
        bench.clock.advance(figures.WRITE_SECONDS - 0.1)
        await other.write({FOLD: b"other"})
        assert in_file(bench) == {}
        bench.clock.advance(0.1)
        await bench.until(lambda: in_file(bench).get(B) == 0)
        assert [len(one.figures) for one in written] == [2]
        # Nothing is pending, so nothing more is written.
        bench.clock.advance(10)
        await bench.alerts(1)
        assert [len(one.figures) for one in written] == [2, 0]

    @pytest_twisted.ensureDeferred
    async def test_many_rows_do_not_wait(self, bench: SqliteBench) -> None:
        writer = await Writer.of(bench)
        await writer.write({RowKey("call", str(number), NO_DAY): b"c" for number in range(figures.EARLY_ROWS)})
        await bench.until(lambda: len(in_file(bench)) == figures.EARLY_ROWS + 1)

    @pytest_twisted.ensureDeferred
    async def test_a_writer_waits_for_the_file_if_too_many_rows_are_pending(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(figures, "MAX_PENDING_ROWS", 10)
        writer = await Writer.of(bench)
        gate = Gate(monkeypatch, group_commit, "write")
        await writer.write({FOLD: b"1"})
        rows = {RowKey("call", str(number), NO_DAY): b"c" for number in range(10)}
        write = ensureDeferred(writer.write(rows))
        await bench.until(lambda: gate.calls)
        assert not write.called
        gate.open()
        await write
        assert len(in_file(bench)) == 12
        await writer.write({FOLD: b"2"})
        assert in_file(bench)["fold:"] == b"1"

    @pytest_twisted.ensureDeferred
    async def test_live_figures_cost_no_transaction_and_end_with_the_process(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"1"}, live=[LiveFigure("queue.stats:a", b"a message")])
        await bench.alerts(1)
        files = [path.read_bytes() for path in bench.path.parent.iterdir()]
        assert not any(b"a message" in content for content in files)
        await bench.open()
        assert await bench.figures.live(A) == []

    @pytest_twisted.ensureDeferred
    async def test_a_closed_store_refuses(self, bench: SqliteBench) -> None:
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"1"})
        store = bench.figures
        await bench.close()
        calls: list[Callable[[], Any]] = [
            lambda: store.claim(A),
            lambda: store.load(A, 0),
            lambda: store.live(A),
            lambda: store.tenants(),
            lambda: store.forget_days(A, DAY),
            lambda: store.read_log(A, 0, 1),
            lambda: store.oldest_in_log(A),
            lambda: writer.write({}, seq=0),
        ]
        for call in calls:
            with pytest.raises(Refusal) as refused:
                await call()
            assert refused.value.code is ErrorCode.UNAVAILABLE
        await bench.open()


class TestWhatIsRead:
    """Readers see each write from the moment that it is taken, with the position that belongs to it."""

    @pytest_twisted.ensureDeferred
    async def test_rows_of_a_transaction_that_is_being_written(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await bench.alerts(2)
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"1", CALL: b"1", day_of("a"): b"1"}, seq=1)
        gate = Gate(monkeypatch, group_commit, "write")
        await self._begin_transaction(bench, gate)
        assert in_file(bench) == {}
        assert await stored(bench) == {FOLD: b"1", CALL: b"1", day_of("a"): b"1"}
        await writer.write({FOLD: b"2", CALL: None, day_of("b"): b"2"}, seq=2)
        expected = {FOLD: b"2", day_of("a"): b"1", day_of("b"): b"2"}
        assert await stored(bench) == expected
        assert await days(bench, "queue-day", None, DAY, DAY) == {day_of("a"): b"1", day_of("b"): b"2"}
        gate.open()
        await bench.until(lambda: A in in_file(bench))
        assert await stored(bench) == expected
        await bench.alerts(1)
        assert await stored(bench) == expected
        assert in_file(bench)[A] == 2

    async def _begin_transaction(self, bench: SqliteBench, gate: Gate) -> None:
        bench.clock.advance(figures.WRITE_SECONDS)
        await bench.until(lambda: gate.calls)

    @pytest_twisted.ensureDeferred
    async def test_what_is_written_during_a_read_does_not_mix_with_older_rows(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await bench.alerts(2)
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"1", CALL: b"1"}, seq=1)
        reading = Gate(monkeypatch, figures, "read_rows")
        found = ensureDeferred(bench.figures.load(A, 0))  # type: ignore[arg-type]
        await bench.until(lambda: reading.calls)
        # While the reader waits, both the rows that were pending and newer ones are committed.
        await writer.write({FOLD: b"2", CALL: None}, seq=2)
        await bench.alerts(1)
        assert in_file(bench) == {"fold:": b"2", A: 2}
        reading.open()
        checkpoint = await found
        assert checkpoint is not None
        assert (checkpoint.position.seq, dict(checkpoint.rows)) == (2, {FOLD: b"2"})

    @pytest_twisted.ensureDeferred
    async def test_what_is_pending_counts_for_the_limit(self, bench: SqliteBench) -> None:
        writer = await Writer.of(bench)
        await writer.write({day_of(str(number)): b"old" for number in range(10)})
        await bench.alerts(1)
        await writer.write({day_of("0"): None, day_of("1"): b"new", day_of("x"): b"new"})
        assert len(await days(bench, "queue-day", None, DAY, DAY, limit=10)) == 10
        with pytest.raises(Refusal):
            await days(bench, "queue-day", None, DAY, DAY, limit=9)
        await writer.write({day_of(str(number)): None for number in range(1, 6)})
        assert len(await days(bench, "queue-day", None, DAY, DAY, limit=5)) == 5

    @pytest_twisted.ensureDeferred
    async def test_the_log_ends_at_what_was_delivered(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.options = {"memory_events": 1}
        await bench.open()
        await bench.alerts(3)
        reading = Gate(monkeypatch, figures, "read_history")
        found = ensureDeferred(bench.figures.read_log(A, 1, 10))  # type: ignore[arg-type]
        await bench.until(lambda: reading.calls)
        await bench.alerts(2)
        reading.open()
        page = await found
        assert ([one.seq for one in page.publications], page.reachable, page.head) == ([2, 3], True, 3)

    @pytest_twisted.ensureDeferred
    async def test_many_names_and_days(self, bench: SqliteBench) -> None:
        writer = await Writer.of(bench)
        rows = {day_of(str(number), DAY - number % 40): b"%d" % number for number in range(1_300)}
        await writer.write(rows)
        await bench.alerts(1)
        names = [str(number) for number in range(1_300)]
        assert await days(bench, "queue-day", names, 0, DAY, limit=1_300) == rows
        assert await days(bench, "queue-day", names[7:9], 0, DAY) == {
            day_of("7", DAY - 7): b"7",
            day_of("8", DAY - 8): b"8",
        }


class TestOutages:
    """A file that cannot be written or read."""

    @pytest.mark.logs_errors
    @pytest_twisted.ensureDeferred
    async def test_rows_of_a_transaction_that_failed_are_written_later(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await bench.alerts(3)
        writer = await Writer.of(bench)
        with monkeypatch.context() as patch:
            self._break(patch)
            await writer.write({FOLD: b"1", CALL: b"1", day_of("a"): b"1"}, seq=1)
            bench.clock.advance(figures.WRITE_SECONDS)
            await bench.until(bench.broker.not_ready)
            await writer.write({FOLD: b"2", CALL: None}, seq=2)
            assert await stored(bench) == {FOLD: b"2", day_of("a"): b"1"}
            assert in_file(bench) == {}
        bench.clock.advance(group_commit.RETRY_SECONDS)
        await bench.until(lambda: bench.broker.not_ready() is None)
        assert in_file(bench) == {"fold:": b"2", "queue-day:a": b"1", A: 2}
        assert await stored(bench) == {FOLD: b"2", day_of("a"): b"1"}

    @pytest.mark.logs_errors
    @pytest_twisted.ensureDeferred
    async def test_newer_rows_are_kept_when_older_ones_are_put_back(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await bench.alerts(3)
        writer = await Writer.of(bench)
        with monkeypatch.context() as patch:
            self._break(patch)
            gate = Gate(patch, group_commit, "write")
            await writer.write({FOLD: b"1", CALL: b"1", day_of("a"): b"1"}, seq=1)
            bench.clock.advance(figures.WRITE_SECONDS)
            await bench.until(lambda: gate.calls)
            await writer.write({FOLD: b"2", CALL: None}, seq=2)
            gate.open()
            await bench.until(bench.broker.not_ready)
            assert await stored(bench) == {FOLD: b"2", day_of("a"): b"1"}
        bench.clock.advance(group_commit.RETRY_SECONDS)
        await bench.until(lambda: bench.broker.not_ready() is None)
        assert in_file(bench) == {"fold:": b"2", "queue-day:a": b"1", A: 2}

    @pytest.mark.logs_errors
    @pytest_twisted.ensureDeferred
    async def test_a_writer_does_not_wait_for_a_file_that_cannot_be_written(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(figures, "MAX_PENDING_ROWS", 2)
        writer = await Writer.of(bench)
        with monkeypatch.context() as patch:
            self._break(patch)
            await writer.write({FOLD: b"1", CALL: b"1"})
            await writer.write({FOLD: b"2", CALL: b"2"})
            with pytest.raises(Refusal) as refused:
                await bench.figures.forget_days(A, DAY)
            assert refused.value.code is ErrorCode.UNAVAILABLE
            assert await stored(bench) == {FOLD: b"2", CALL: b"2"}

    def _break(self, patch: pytest.MonkeyPatch) -> None:
        def fail(*arguments: Any) -> None:
            raise sqlite3.OperationalError("it broke")

        patch.setattr(transaction, "save_figures", fail)

    @pytest.mark.logs_errors
    @pytest_twisted.ensureDeferred
    async def test_what_fails_is_refused(self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*arguments: Any) -> None:
            raise sqlite3.OperationalError("it broke")

        writer = await Writer.of(bench)
        await writer.write({FOLD: b"1"})
        with monkeypatch.context() as patch:
            patch.setattr(figures, "read_rows", fail)
            with pytest.raises(Refusal, match="the store cannot be read: it broke"):
                await bench.figures.load(A, 0)
        with monkeypatch.context() as patch:
            patch.setattr(figures, "remove_old_days", fail)
            with pytest.raises(Refusal, match="the store cannot be written: it broke"):
                await bench.figures.forget_days(A, DAY)
        assert await stored(bench) == {FOLD: b"1"}


async def trimmed(bench: SqliteBench, request: expiry.TrimRequest) -> int:
    """Trim in the writing thread, as maintenance does; return up to which position."""
    store = bench.store._open
    assert store is not None
    result = await store.threads.write(expiry.trim_history, store.file, request)
    return result.floor


class TestTrim:
    """The hold that counts is that in the file: a fold continues from there after a kill."""

    @pytest_twisted.ensureDeferred
    async def test_a_hold_that_is_pending_does_not_count_yet(self, bench: SqliteBench) -> None:
        await bench.alerts(20)
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"1"}, seq=5)
        await bench.alerts(1)
        await writer.write({FOLD: b"2"}, seq=20)
        request = expiry.TrimRequest(1, 0, by_count=15, by_age=0.0, max_seq=18, excess_bytes=0, ids_since=2e9)
        assert await trimmed(bench, request) == 5
        await bench.alerts(1)
        assert await trimmed(bench, request) == 15

    @pytest.mark.parametrize(
        ("limits", "floor"),
        [({}, 5), ({"held_from": 9}, 9), ({"held_from": 99}, 15), ({"held_excess_bytes": 7 * 27 - 1}, 7)],
    )
    @pytest_twisted.ensureDeferred
    async def test_a_log_that_is_held_too_long_is_trimmed(
        self, bench: SqliteBench, limits: dict[str, int], floor: int
    ) -> None:
        await bench.alerts(20)
        assert {len(publication.event.payload) for publication in bench.delivered} == {27}
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"1"}, seq=5)
        await bench.alerts(1)
        request = expiry.TrimRequest(1, 0, 15, 0.0, 18, 0, 2e9, **limits)
        assert await trimmed(bench, request) == floor

    @pytest_twisted.ensureDeferred
    async def test_a_log_that_is_held_causes_no_work_each_minute(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await bench.open(history_seconds=600)
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"0"}, seq=0)
        await bench.alerts(10)
        bench.clock.advance(3_600)
        await bench.alerts(1)
        written = counted(monkeypatch)
        file = bench.store._open.file  # type: ignore[union-attr]
        for _ in range(3):
            bench.clock.advance(maintenance.INTERVAL_SECONDS)
            await bench.alerts(1)
        assert not any(one.checkpoints for one in written)
        assert queries.tenants_with_old_events(file, bench.clock.time() - 600, 10) == []
        await bench.figures.remove_live(A)
        await bench.alerts(1)
        assert queries.tenants_with_old_events(file, bench.clock.time() - 600, 10) == [A]


class TestFiles:
    """Kills, copies, older versions, damage."""

    def test_a_kill_at_any_moment_leaves_rows_of_their_position(self, tmp_path: Path) -> None:
        path = tmp_path / "events.sqlite"
        command = [sys.executable, figure_writer.__file__, str(path)]
        acknowledged = 0
        for batches in (1, 17, 30):
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                for _ in range(batches):
                    acknowledged = int(process.stdout.readline())
                process.send_signal(signal.SIGKILL)
                rest = process.stdout.read().splitlines()
            acknowledged = max(acknowledged, *[int(line) for line in rest[:-1]], 0)
            floor = self._floor_of_checked(path, acknowledged)
        # The log was trimmed in between, or the test would show less.
        assert floor > 0

    @staticmethod
    def _floor_of_checked(path: Path, acknowledged: int) -> int:
        """Check what a kill has left; return up to where the log was trimmed."""
        report = check(path)
        assert report.problems == []
        with sqlite3.connect(path) as db:
            head = db.execute("SELECT max(place) FROM event").fetchone()[0] - place_of(1, 0)
            [(floor,)] = db.execute("SELECT floor FROM tenant").fetchall()
            found = db.execute("SELECT seq, hold FROM figure_fold").fetchall()
            rows = {RowKey(*row[:3]): row[3] for row in db.execute("SELECT kind, name, day, value FROM figure")}
        assert head >= acknowledged
        if found:
            [(seq, hold)] = found
            assert rows == figure_writer.rows_at(seq)
            assert floor <= hold <= seq <= head
        else:
            assert floor == 0
        return int(floor)

    @pytest_twisted.ensureDeferred
    async def test_a_restored_backup_continues_under_its_new_epoch(self, bench: SqliteBench, tmp_path: Path) -> None:
        await bench.alerts(3)
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"3", day_of("a"): b"a"})
        await bench.alerts(1)
        back_up(bench.path, tmp_path / "copy", lambda: "restored")
        await writer.write({FOLD: b"4"})
        copy = SqliteBench(tmp_path / "copy")
        await copy.open()
        found = await copy.figures.load(A, 0)
        assert found is not None
        assert (found.position, dict(found.rows)) == (FigurePosition("restored", 3), {FOLD: b"3", day_of("a"): b"a"})
        assert (await copy.figures.read_log(A, 3, 10)).publications[0].seq == 4
        await (await Writer.of(copy)).write({FOLD: b"4"})
        await copy.close()

    @pytest_twisted.ensureDeferred
    async def test_a_copy_of_a_running_store_is_one_that_was_killed(self, bench: SqliteBench, tmp_path: Path) -> None:
        await bench.alerts(3)
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"3"})
        await bench.alerts(1)
        await writer.write({FOLD: b"4"})
        for suffix in ("", "-wal"):
            shutil.copy(f"{bench.path}{suffix}", f"{tmp_path / 'copy'}{suffix}")
        copy = SqliteBench(tmp_path / "copy")
        await copy.open()
        found = await copy.figures.load(A, 0)
        assert found is not None
        assert (found.position.seq, dict(found.rows)) == (3, {FOLD: b"3"})
        await copy.close()

    @pytest_twisted.ensureDeferred
    async def test_the_check_counts_rows_and_finds_damage(self, bench: SqliteBench) -> None:
        await bench.alerts(3)
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"3", CALL: b"c"})
        await (await Writer.of(bench, B)).write({FOLD: b"0"}, seq=0)
        await bench.alerts(1)
        report = check(bench.path)
        assert (report.figures, report.problems) == (3, [])
        await bench.close()
        with sqlite3.connect(bench.path) as db:
            db.execute("UPDATE figure_fold SET seq = 5")
            db.execute("UPDATE figure SET tenant = 9 WHERE kind = 'call'")
        db.close()
        assert check(bench.path).problems == [
            "tenant 'acme': the statistics are of position 5, and the events end at 4",
            "tenant 'globex': the statistics are of position 5, and the events end at 0",
            "1 rows of statistics belong to no tenant",
        ]
        await bench.open()

    @pytest_twisted.ensureDeferred
    async def test_a_file_of_version_4_is_migrated_and_folded_from_its_oldest_event(self, tmp_path: Path) -> None:
        bench = SqliteBench(tmp_path / "old.sqlite")
        self._make_version_4(bench)
        assert (check(bench.path).version, check(bench.path).figures) == (4, 0)
        back_up(bench.path, tmp_path / "copy", lambda: "new")
        await bench.open()
        report = check(bench.path)
        assert (report.version, report.has_current_version, report.problems) == (VERSION, True, [])
        assert await bench.figures.load(A, 0) is None
        assert await bench.figures.oldest_in_log(A) == 2
        page = await bench.figures.read_log(A, 2, 10)
        # Times of earlier releases have more than three decimals.
        assert [(one.seq, one.event.received_ms) for one in page.publications] == [
            (3, 1_799_999_999_457),
            (4, 1_799_999_999_457),
        ]
        assert await bench.alerts(1) == [5]
        writer = await Writer.of(bench)
        await writer.write({FOLD: b"5"})
        await bench.open()
        assert await stored(bench) == {FOLD: b"5"}
        await bench.close()

    @staticmethod
    def _make_version_4(bench: SqliteBench) -> None:
        with sqlite3.connect(bench.path) as db:
            for script in MIGRATIONS[:4]:
                for statement in script.split(";"):
                    db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute("PRAGMA user_version = 4")
            db.execute(
                "INSERT INTO tenant (id, name, floor, checkpoint, oldest) VALUES (1, ?, 2, 2, 1799999999.4567)", (A,)
            )
            payload = b'{"title":"t","message":"m"}'
            for seq in (3, 4):
                row = (place_of(1, seq), f"e{seq}", "alert", "t", None, 0, "producer", 1_799_999_999.4567)
                db.execute(f"INSERT INTO event VALUES ({','.join('?' * 12)})", (*row, None, None, payload, None))  # noqa: S608 - names of this test
        db.close()

    def test_a_release_before_refuses_the_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "events.sqlite"
        file_module.StoreFile(path, "normal", lambda: "epoch").close()
        monkeypatch.setattr(file_module, "VERSION", 4)
        with pytest.raises(file_module.StoreUnusable, match=f"has schema version {VERSION}, this release knows 4"):
            file_module.StoreFile(path, "normal", lambda: "epoch")

    @pytest_twisted.ensureDeferred
    async def test_old_days_are_removed_in_steps(self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch) -> None:
        calls: list[int] = []
        real = figures.remove_old_days

        def remove(*arguments: Any) -> int:
            calls.append(real(*arguments))
            return calls[-1]

        monkeypatch.setattr(figures, "remove_old_days", remove)
        writer = await Writer.of(bench)
        await writer.write({day_of(str(number), DAY - 9): b"old" for number in range(figure_rows.STEP_ROWS + 7)})
        await bench.figures.forget_days(A, DAY)
        assert calls == [figure_rows.STEP_ROWS, 7]
        assert await stored(bench) == {}
