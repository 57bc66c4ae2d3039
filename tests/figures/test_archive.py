"""The archive of a tenant, over a store in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.events.publication import Publication
from callcenter_ws.figures import archive as archive_module
from callcenter_ws.figures.archive import APPEND_SECONDS, TenantArchive
from callcenter_ws.figures.archive_files import DIGESTS, read_lines
from callcenter_ws.figures.archive_thread import ArchiveThread, T
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.json import decode_json
from callcenter_ws.statistics.checkpoint import RowKey
from callcenter_ws.statistics.counters import ArchiveCounters
from callcenter_ws.statistics.store import FigurePosition, FigureWrite
from callcenter_ws.testing import FakeClock, run


class Thread(ArchiveThread):
    """Runs calls at once; fails with ``error``, or keeps them while ``hangs``."""

    def __init__(self) -> None:
        self.error: OSError | None = None
        self.hangs = False
        self.hanging: list[Callable[[], None]] = []

    def call(self, call: Callable[[], T]) -> Awaitable[T]:
        if self.error is not None:
            raise self.error
        if not self.hangs:
            return succeed(call())
        waiting: Deferred[T] = Deferred()
        self.hanging.append(lambda: waiting.callback(call()))
        return waiting


class Bench:
    """A stream, the rows that the store has, and the archive of one process after another."""

    def __init__(self, folder: Path, memory_events: int = 1_000) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.broker = MemoryBroker(self.clock, memory_events=memory_events)
        self.broadcaster = EventBroadcaster(self.broker, self.clock)
        self.figures = self.broker.figures
        self.counters = ArchiveCounters()
        self.thread = Thread()
        self.seq = 0
        self.after: FigurePosition | None = None
        self.days = 365
        self.archive: Any = None
        run(self.broker.start(self._deliver))
        self.begin()

    def _deliver(self, publications: Any) -> None:
        for publication in publications:
            self.seq = publication.seq
            self.archive.apply(publication)

    def begin(self, process: str = "node") -> None:
        """Begin with what the store has, as a process that has taken the tenant; the one before was killed."""
        if self.archive is not None:
            self.archive._is_started = False
            self.archive._appending.stop()
        archive = self.archive = TenantArchive(
            "acme", self.figures, self.folder, process, lambda: self.days, self.clock, spawn, self.thread, self.counters
        )
        checkpoint = run(self.figures.load("acme", 0))
        rows = {} if checkpoint is None else dict(checkpoint.rows)
        archive.load({key: value for key, value in rows.items() if key.kind in archive.kinds})
        archive.start(0)
        self.clock.advance(0)

    def publish(self, count: int = 1, **fields: Any) -> None:
        for _ in range(count):
            payload = {"title": "t", "message": "m"}
            run(self.broadcaster.publish("acme", "alert", payload, **fields))

    def record(self) -> None:
        """Write the rows, as the process that folds does each second."""
        position = FigurePosition(run(self.broker.position("acme")).epoch, self.seq)
        rows = self.archive.take_changes()
        write = FigureWrite(0, self.after, position, min(self.archive.hold(), self.seq), rows)
        assert run(self.figures.write("acme", write))
        self.after = position

    def append(self) -> None:
        self.clock.advance(APPEND_SECONDS)

    def archived(self) -> list[int]:
        """Return the positions in all files, in the order of their names."""
        found = []
        for path in sorted(self.folder.glob("acme/*.jsonl.gz")):
            with path.open("rb") as file:
                found += [decode_json(line)["seq"] for line in read_lines(file)]
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "archive")


def test_events_are_appended_each_minute_with_what_a_fold_needs(bench: Bench) -> None:
    bench.publish(3, event_id=None)
    assert bench.archived() == []
    bench.append()
    assert bench.archived() == [1, 2, 3]
    (path,) = bench.folder.glob("acme/*.gz")
    with path.open("rb") as file:
        line = decode_json(next(read_lines(file)))
    received = line.pop("received_at")
    assert received == "2027-01-15T08:00:00.000Z"
    assert line.pop("epoch") == run(bench.broker.position("acme")).epoch
    assert line.pop("source") is None
    assert set(line) == {"type", "tenant_id", "id", "seq", "timestamp", "payload"}
    bench.publish(2)
    bench.append()
    assert bench.archived() == [1, 2, 3, 4, 5]
    assert (bench.counters.events, bench.counters.failures, bench.counters.lost) == (5, 0, 0)


def test_many_bytes_are_appended_without_waiting(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "APPEND_BYTES", 1_000)
    bench.publish(4)
    bench.clock.advance(0)
    assert bench.archived() == [1, 2, 3, 4][: len(bench.archived())]
    assert len(bench.archived()) >= 3


def test_a_process_that_ends_before_the_place_is_recorded_repeats_nothing(bench: Bench) -> None:
    bench.publish(2)
    bench.append()
    bench.record()
    bench.publish(2)
    # On disk, but not recorded.
    bench.append()
    assert bench.archived() == [1, 2, 3, 4]
    bench.begin()
    bench.publish()
    bench.append()
    assert bench.archived() == [1, 2, 3, 4, 5]


def test_a_store_that_goes_on_in_another_epoch_cuts_no_file(bench: Bench) -> None:
    bench.publish(2)
    bench.append()
    bench.record()
    # These follow the place that a backup has.
    bench.publish(2)
    bench.append()
    (before,) = bench.folder.glob("acme/*.gz")
    content = before.read_bytes()
    bench.broker._epoch = bench.figures._epoch = "later"
    bench.begin()
    bench.append()
    assert before.read_bytes() == content
    assert bench.archived() == [1, 2, 3, 4, 1, 2, 3, 4]
    assert before.name in (before.parent / DIGESTS).read_text()


def test_what_was_published_before_the_process_began_is_read_from_the_store(bench: Bench) -> None:
    bench.publish(250)
    bench.record()
    bench.begin()
    assert bench.archived() == list(range(1, 251))
    bench.publish()
    bench.append()
    assert bench.archived() == list(range(1, 252))


def test_another_process_writes_a_file_of_its_own(bench: Bench) -> None:
    bench.publish(2)
    bench.append()
    bench.record()
    bench.publish(1)
    bench.append()
    bench.begin("other")
    bench.publish(1)
    bench.append()
    bench.record()
    # The first has 3 too, but has not recorded it; what is appended again is removed when it returns.
    assert bench.archived() == [1, 2, 3, 3, 4]
    bench.begin("node")
    bench.publish(1)
    bench.append()
    assert bench.archived() == [1, 2, 5, 3, 4]


def test_a_disk_that_fails_delays_only_the_archive(bench: Bench, tmp_path: Path) -> None:
    bench.thread.error = OSError(28, "No space left on device")
    bench.publish(3)
    bench.append()
    bench.clock.advance(5)
    assert bench.counters.failures >= 2
    bench.publish(2)
    bench.record()
    assert bench.archive.hold() == 0
    bench.thread.error = None
    bench.append()
    assert bench.archived() == [1, 2, 3, 4, 5]
    assert bench.archive.hold() == 5


def test_a_disk_that_hangs_makes_nothing_grow(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "MAX_GATHERED", 10)
    bench.publish(1)
    bench.thread.hangs = True
    bench.append()
    for _ in range(50):
        bench.publish(1)
        assert len(bench.archive._gathered) <= 10
    bench.thread.hangs = False
    for call in bench.thread.hanging:
        call()
    bench.append()
    assert bench.archived() == list(range(1, 52))


def test_what_all_tenants_gather_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.publish(2)
    monkeypatch.setattr(archive_module, "MAX_GATHERED_BYTES_OF_ALL", 2 * bench.counters.gathered)
    # Of other tenants.
    bench.counters.gathered *= 2
    others = bench.counters.gathered // 2
    bench.publish(1)
    assert not bench.archive._gathered
    assert bench.counters.gathered == others
    bench.counters.gathered = 0
    bench.publish(3)
    bench.append()
    assert bench.archived() == [1, 2, 3, 4, 5, 6]
    assert bench.counters.gathered == 0


def test_a_process_does_not_wait_long_for_a_disk_that_hangs(bench: Bench) -> None:
    bench.publish(1)
    bench.thread.hangs = True
    bench.append()
    stopped = Deferred.fromCoroutine(bench.archive.stop())
    assert not stopped.called
    bench.clock.advance(5)
    assert stopped.called
    # What the call does later is not recorded by a process that has stopped.
    bench.thread.hangs = False
    bench.thread.hanging.pop()()
    bench.begin()
    assert bench.archived() == [1]


@pytest.mark.logs_errors
def test_events_that_the_store_had_to_trim_are_counted(tmp_path: Path) -> None:
    bench = Bench(tmp_path, memory_events=10)
    bench.publish(2)
    bench.append()
    bench.thread.error = OSError(5, "Input/output error")
    bench.publish(30)
    bench.append()
    bench.thread.error = None
    bench.append()
    assert bench.archived() == [1, 2, *range(23, 33)]
    assert bench.counters.lost == 20


def test_a_day_ends_with_its_first_later_event_or_a_while_after_midnight(bench: Bench) -> None:
    bench.publish(1)
    bench.append()
    bench.clock.advance(86_400)
    bench.publish(1)
    bench.append()
    names = sorted(path.name for path in bench.folder.glob("acme/*.gz"))
    assert names == ["2027-01-15.node.jsonl.gz", "2027-01-16.node.jsonl.gz"]
    sums = bench.folder / "acme" / DIGESTS
    assert [line[66:] for line in sums.read_text().splitlines()] == names[:1]
    # No event comes any more.
    bench.clock.advance(86_400)
    bench.append()
    assert [line[66:] for line in sums.read_text().splitlines()] == names
    bench.days = 1
    bench.clock.advance(86_400)
    bench.publish(1)
    bench.append()
    assert [path.name for path in bench.folder.glob("acme/*.gz")] == ["2027-01-18.node.jsonl.gz"]
    assert sums.read_text() == ""


def test_rows_are_those_of_its_kind(bench: Bench) -> None:
    bench.publish(1)
    bench.append()
    (key,) = bench.archive.take_changes()
    assert key == RowKey("archive", "", 0)
    assert bench.archive.take_changes() == {}


def test_a_repeated_or_missing_publication_does_not_confuse_it(bench: Bench) -> None:
    bench.publish(2)
    page = run(bench.figures.read_log("acme", 0, 10))
    again: Publication = page.publications[0]
    bench.archive.apply(again)
    bench.append()
    assert bench.archived() == [1, 2]
