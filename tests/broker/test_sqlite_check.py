"""Looking at a store from outside, and copying it, while it is used."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from broker_contract import A, B
from sqlite_bench import SqliteBench

from callcenter_ws.broker.sqlite.check import back_up, check
from callcenter_ws.broker.sqlite.file import StoreUnusable


@pytest_twisted.async_yield_fixture
async def bench(tmp_path: Path) -> AsyncIterator[SqliteBench]:
    bench = SqliteBench(tmp_path / "events.sqlite")
    await bench.open()
    yield bench
    await bench.close()


@pytest_twisted.ensureDeferred
async def test_a_whole_store_in_use(bench: SqliteBench) -> None:
    await bench.alerts(300)
    await bench.alerts(20, B)
    note = {"type": "x", "title": "t", "message": "m"}
    await bench.publish(bench.event("notification", note, user_id="7"))
    findings = check(bench.path)
    assert findings.problems == []
    assert (findings.tenants, findings.events, findings.mail) == (2, 321, 1)
    assert findings.epoch == (await bench.broker.position(A)).epoch
    assert findings.file_bytes > 4_096


@pytest_twisted.ensureDeferred
async def test_events_that_are_missing(bench: SqliteBench) -> None:
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
    middle = len(content) // 2 // 4096 * 4096
    content[middle : middle + 8192] = b"\x55" * 8192
    bench.path.write_bytes(content)
    assert check(bench.path).problems
    bench.path.unlink()
    await bench.open()


@pytest.mark.parametrize("content", [None, "", "a text\n"])
def test_what_is_no_store(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "x"
    if content is not None:
        path.write_text(content)
    for look in (lambda: check(path), lambda: back_up(path, tmp_path / "copy", lambda: "new")):
        with pytest.raises(StoreUnusable, match=str(path)):
            look()
    assert not (tmp_path / "copy").exists()
    assert not (tmp_path / "copy.part").exists()


@pytest_twisted.ensureDeferred
async def test_a_backup_is_a_store_with_an_epoch_of_its_own(bench: SqliteBench, tmp_path: Path) -> None:
    await bench.alerts(50)
    copy = tmp_path / "copy.sqlite"
    back_up(bench.path, copy, lambda: "restored")
    await bench.alerts(1)
    assert copy.stat().st_mode & 0o777 == 0o600
    findings = check(copy)
    assert (findings.events, findings.epoch, findings.problems) == (50, "restored", [])
    restored = SqliteBench(copy)
    await restored.open()
    position = await restored.broker.position(A)
    assert (position.epoch, position.seq) == ("restored", 50)
    await restored.close()
    assert (await bench.broker.position(A)).seq == 51


@pytest_twisted.ensureDeferred
async def test_a_backup_replaces_nothing(bench: SqliteBench, tmp_path: Path) -> None:
    copy = tmp_path / "copy.sqlite"
    copy.write_text("precious")
    with pytest.raises(StoreUnusable, match="there already"):
        back_up(bench.path, copy, lambda: "new")
    assert copy.read_text() == "precious"
    with pytest.raises(StoreUnusable, match="No such file"):
        back_up(bench.path, tmp_path / "missing" / "copy", lambda: "new")
