"""The check and the backup of a store that is in use."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from broker_contract import A, B
from sqlite_bench import SqliteBench

from callcenter_ws.broker.sqlite.backup import back_up
from callcenter_ws.broker.sqlite.check import check
from callcenter_ws.broker.sqlite.file import StoreUnusable


@pytest_twisted.async_yield_fixture
async def bench(tmp_path: Path) -> AsyncIterator[SqliteBench]:
    bench = SqliteBench(tmp_path / "events.sqlite")
    await bench.open()
    yield bench
    await bench.close()


@pytest_twisted.ensureDeferred
async def test_a_complete_store_in_use(bench: SqliteBench) -> None:
    await bench.alerts(300)
    await bench.alerts(20, B)
    notification = {"type": "x", "title": "t", "message": "m"}
    await bench.publish(bench.event("notification", notification, user_id="7"))
    report = check(bench.path)
    assert report.problems == []
    assert (report.tenants, report.events, report.mail) == (2, 321, 1)
    assert report.epoch == (await bench.broker.position(A)).epoch
    assert report.file_bytes > 4_096


@pytest_twisted.ensureDeferred
async def test_missing_events(bench: SqliteBench) -> None:
    await bench.alerts(10)
    await bench.close()
    db = sqlite3.connect(bench.path)
    db.execute("DELETE FROM event WHERE event_id = 'event-5'")
    db.execute("UPDATE event SET place = 1 << 60 WHERE event_id = 'event-10'")
    db.commit()
    db.close()
    assert check(bench.path).problems == [
        "tenant 'acme': 8 events after 0 and up to 9, so some are missing",
        "1 events belong to no tenant",
    ]
    await bench.open()


@pytest_twisted.ensureDeferred
async def test_damaged_pages(bench: SqliteBench) -> None:
    await bench.alerts(500)
    await bench.close()
    content = bytearray(bench.path.read_bytes())
    # The pages of events follow those of the schema, without which nothing can be read.
    start = len(content) * 3 // 4 // 4096 * 4096
    content[start : start + 8192] = b"\x55" * 8192
    bench.path.write_bytes(content)
    assert check(bench.path).problems
    bench.path.unlink()
    await bench.open()


@pytest.mark.parametrize("content", [None, "", "a text\n"])
def test_a_file_that_is_no_store(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "x"
    if content is not None:
        path.write_text(content)
    for command in (lambda: check(path), lambda: back_up(path, tmp_path / "copy", lambda: "new")):
        with pytest.raises(StoreUnusable, match=str(path)):
            command()
    assert not (tmp_path / "copy").exists()
    assert not (tmp_path / "copy.part").exists()


@pytest_twisted.ensureDeferred
async def test_a_backup_is_a_store_with_a_new_epoch(bench: SqliteBench, tmp_path: Path) -> None:
    await bench.alerts(50)
    copy = tmp_path / "copy.sqlite"
    back_up(bench.path, copy, lambda: "restored")
    await bench.alerts(1)
    assert copy.stat().st_mode & 0o777 == 0o600
    report = check(copy)
    assert (report.events, report.epoch, report.problems) == (50, "restored", [])
    restored = SqliteBench(copy)
    await restored.open()
    position = await restored.broker.position(A)
    assert (position.epoch, position.seq) == ("restored", 50)
    await restored.close()
    assert (await bench.broker.position(A)).seq == 51


def test_a_store_that_cannot_be_reached(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300) / "events.sqlite"
    with pytest.raises(StoreUnusable, match="cannot be reached: File name too long"):
        check(path)
    with pytest.raises(StoreUnusable, match="cannot be reached: File name too long"):
        back_up(path, tmp_path / "copy", lambda: "new")


@pytest_twisted.ensureDeferred
async def test_a_backup_replaces_no_file(bench: SqliteBench, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    copy.write_text("precious")
    with pytest.raises(StoreUnusable, match="exists already"):
        back_up(bench.path, copy, lambda: "new")
    assert copy.read_text() == "precious"
    with pytest.raises(StoreUnusable, match="No such file"):
        back_up(bench.path, tmp_path / "missing" / "copy", lambda: "new")
