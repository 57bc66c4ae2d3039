"""The file of a store: whether it may be used, and which history it holds."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from callcenter_ws.broker.sqlite import file as file_module
from callcenter_ws.broker.sqlite.file import StoreFile, StoreUnusable
from callcenter_ws.broker.sqlite.queries import read_history, read_mailbox
from callcenter_ws.broker.sqlite.restore import restore_tenant
from callcenter_ws.broker.sqlite.schema import APPLICATION_ID, SEQ_BITS, VERSION, place_of, seq_of
from callcenter_ws.broker.sqlite.transaction import Checkpoint, Transaction, write
from callcenter_ws.interfaces import PresenceRecord
from callcenter_ws.runtime.sqlite import connect, sqlite_reason


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.sqlite"


@pytest.fixture
def boots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the replacement of the file that identifies the current boot of the machine."""
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("monday\n")
    monkeypatch.setattr(file_module, "_BOOT_ID", boot_id)
    return boot_id


EPOCHS = itertools.count(1)


def opened(path: Path, synchronous: file_module.Synchronous = "normal") -> StoreFile:
    return StoreFile(path, synchronous, lambda: f"epoch {next(EPOCHS)}")


def epoch_after(path: Path, synchronous: file_module.Synchronous = "normal") -> str:
    file = opened(path, synchronous)
    file.close()
    return file.epoch


def killed(file: StoreFile) -> None:
    """Release a file as the kernel does when its process is killed."""
    file.writer.close()
    file._release()


# Opening


def test_a_new_file_is_accessible_to_its_owner_only(path: Path) -> None:
    opened(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_its_log_is_accessible_to_its_owner_only(path: Path) -> None:
    file = opened(path)
    write(file, Transaction(metadata={"x": 1}))
    assert path.with_name(path.name + "-wal").stat().st_mode & 0o777 == 0o600
    file.close()


def test_after_close_there_is_one_file(path: Path) -> None:
    file = opened(path)
    write(file, Transaction(metadata={"x": 1}))
    file.close()
    assert sorted(found.name for found in path.parent.iterdir()) == [path.name, path.name + "-lock"]


def test_a_second_gateway_is_refused(path: Path) -> None:
    file = opened(path)
    with pytest.raises(StoreUnusable, match=r"events\.sqlite is in use by another gateway"):
        opened(path)
    file.close()
    opened(path).close()


def test_a_failed_start_releases_the_lock(path: Path) -> None:
    path.write_text("this is no database, but a text")
    for _ in range(2):
        with pytest.raises(StoreUnusable, match="not a SQLite file"):
            opened(path)
    path.unlink()
    opened(path).close()


@pytest.mark.parametrize("place", ["missing/events.sqlite", "file/events.sqlite"])
def test_a_missing_directory(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnusable, match=r"cannot create the lock file events\.sqlite-lock"):
        opened(tmp_path / place)


def test_a_directory_instead_of_the_file(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreUnusable, match="cannot be written: Is a directory"):
        opened(path)


def test_another_programs_file(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreUnusable, match="is a SQLite file of another program"):
        opened(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM theirs").fetchone() == (0,)


def test_a_newer_version(path: Path) -> None:
    opened(path).close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()
    with pytest.raises(StoreUnusable, match=f"schema version {VERSION + 1}, this release knows {VERSION}"):
        opened(path)


def test_an_older_version_is_migrated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = opened(path)
    write(before, Transaction(begun_histories=[(1, "acme", 1.0)]))
    before.close()
    monkeypatch.setattr(
        file_module, "MIGRATIONS", (*file_module.MIGRATIONS, "CREATE TABLE more (x); ALTER TABLE tenant ADD y")
    )
    monkeypatch.setattr(file_module, "VERSION", VERSION + 1)
    for _ in range(2):
        after = opened(path)
        assert after.writer.execute("PRAGMA user_version").fetchone() == (VERSION + 1,)
        assert after.writer.execute("SELECT name, y FROM tenant").fetchall() == [("acme", None)]
        assert after.epoch == before.epoch
        after.close()


def test_a_file_of_version_1_keeps_its_events(path: Path) -> None:
    """Events, state and mail have no source; the positions of the columns differ from those of a new file."""
    db = sqlite3.connect(path)
    for statement in file_module.MIGRATIONS[0].split(";"):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute("PRAGMA user_version = 1")
    db.execute("INSERT INTO tenant (id, name, oldest, checkpoint) VALUES (1, 'acme', 1.0, 1)")
    old = "place, event_id, type, timestamp, user_id, persist, origin, received_at, queue_name, agents, payload"
    call = b'{"unique_id":"1.1","caller_id":"5","destination":"6"}'
    row = (place_of(1, 1), "e1", "call.incoming", "t", None, 0, "producer", 1.0, "sales", '["7"]', call)
    for table in ("event", "state"):
        db.execute(f"INSERT INTO {table} ({old}) VALUES ({','.join('?' * 11)})", row)  # noqa: S608 - names of this test
    mail = (place_of(1, 2), "e2", "notification", "t", "7", 1, "producer", 2.0, None, None, b"{}")
    db.execute(f"INSERT INTO event ({old}) VALUES ({','.join('?' * 11)})", mail)  # noqa: S608 - names of this test
    db.execute(f"INSERT INTO mail ({old}, tenant, ends_at) VALUES ({','.join('?' * 13)})", (*mail, 1, 9e9))  # noqa: S608 - names of this test
    db.commit()
    db.close()
    file = opened(path)
    found = read_history(file, "acme", 1, 0, 10, 0.0)
    assert [(one.seq, one.event.event_id, one.event.source) for one in found] == [(1, "e1", None), (2, "e2", None)]
    assert (found[0].event.queue_name, found[0].event.agents, found[0].event.payload) == ("sales", ("7",), call)
    restored = restore_tenant(file, "acme", 0.0, 0.0, 50)
    assert [one.seq for one in restored.stream.state.publications()] == [1]
    assert (restored.checkpoint_bytes, restored.bytes_since_checkpoint) == (len(call), len(b"{}"))
    page, has_rows = read_mailbox(file, "acme", 1, "7", 0, 10, 0.0, 0.0)
    assert [item.publication.seq for item in page.items] == [2] and has_rows
    # A checkpoint copies events of the old and of the new format.
    values = [place_of(1, 3), "e3", "call.incoming", "t", None, 0, "producer", 3.0, None, None, call, "pbx1"]
    write(file, Transaction(event_count=1, event_values=values, checkpoints=[Checkpoint(1, 3, 0, [3], [1], [], 0.0)]))
    assert file.writer.execute("SELECT event_id, source FROM state").fetchall() == [("e3", "pbx1")]
    file.close()


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(path).close()
    with monkeypatch.context() as patch:
        patch.setattr(file_module, "MIGRATIONS", (*file_module.MIGRATIONS, "CREATE TABLE more (x); nonsense"))
        patch.setattr(file_module, "VERSION", VERSION + 1)
        with pytest.raises(StoreUnusable, match="syntax error"):
            opened(path)
    file = opened(path)
    assert file.writer.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'more'").fetchone() == (0,)
    file.close()


def test_a_damaged_schema(path: Path) -> None:
    opened(path).close()
    content = bytearray(path.read_bytes())
    content[100:2000] = bytes(1900)
    path.write_bytes(content)
    with pytest.raises(StoreUnusable, match="damaged"):
        opened(path)


def test_a_truncated_file(path: Path) -> None:
    file = opened(path)
    rows = [
        (place_of(1, seq), f"e{seq}", "alert", "t", None, False, "producer", 1.0, None, None, b"{}" * 100, None)
        for seq in range(1, 500)
    ]
    values = [value for row in rows for value in row]
    write(file, Transaction(begun_histories=[(1, "acme", 1.0)], event_count=len(rows), event_values=values))
    file.close()
    path.write_bytes(path.read_bytes()[:8192])
    with pytest.raises(StoreUnusable, match="damaged"):
        opened(path)


def test_an_old_sqlite(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    with pytest.raises(StoreUnusable, match=r"3\.38 or later is required"):
        opened(path)


def test_reading_connections_cannot_write(path: Path) -> None:
    file = opened(path)
    with pytest.raises(sqlite3.OperationalError):
        file.reader().execute("DELETE FROM tenant")
    file.close()


# Which history it holds


def test_the_epoch_is_kept(path: Path, boots: Path) -> None:
    assert epoch_after(path) == epoch_after(path) == epoch_after(path, "full")


def test_the_epoch_is_kept_when_the_process_is_killed(path: Path, boots: Path) -> None:
    file = opened(path)
    killed(file)
    assert epoch_after(path) == file.epoch


def test_the_epoch_is_kept_over_a_clean_reboot(path: Path, boots: Path) -> None:
    epoch = epoch_after(path)
    boots.write_text("tuesday")
    assert epoch_after(path) == epoch


def test_a_crash_of_the_machine_causes_a_new_epoch(path: Path, boots: Path) -> None:
    """The last transactions may be missing, and their positions will be given to other events."""
    file = opened(path)
    killed(file)
    boots.write_text("tuesday")
    after = epoch_after(path)
    assert after != file.epoch
    assert epoch_after(path) == after


def test_with_full_the_epoch_is_kept_over_a_crash(path: Path, boots: Path) -> None:
    file = opened(path, "full")
    killed(file)
    boots.write_text("tuesday")
    assert epoch_after(path, "full") == file.epoch


def test_the_mode_of_the_crashed_process_is_decisive(path: Path, boots: Path) -> None:
    file = opened(path, "normal")
    killed(file)
    boots.write_text("tuesday")
    assert epoch_after(path, "full") != file.epoch


def test_without_a_boot_id_a_crash_is_assumed(path: Path, boots: Path) -> None:
    boots.unlink()
    file = opened(path)
    killed(file)
    after = epoch_after(path)
    assert after != file.epoch
    assert epoch_after(path) == after


# Errors and places


@pytest.fixture
def full_disk(path: Path) -> Iterator[sqlite3.Connection]:
    db = connect(path)
    db.execute("PRAGMA max_page_count = 2")
    yield db
    db.close()


def test_the_reason_of_an_error(full_disk: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError) as caught:
        full_disk.execute("CREATE TABLE large AS SELECT randomblob(100000)")
    assert sqlite_reason(caught.value) == "the disk is full (SQLITE_FULL)"


def test_an_error_without_a_name() -> None:
    assert sqlite_reason(sqlite3.OperationalError("it broke")) == "it broke (OperationalError)"


def test_places() -> None:
    assert [seq_of(place_of(7, seq)) for seq in (0, 1, (1 << SEQ_BITS) - 1)] == [0, 1, (1 << SEQ_BITS) - 1]
    assert place_of(7, (1 << SEQ_BITS) - 1) < place_of(8, 0)


# Mail after a crash


def test_mail_of_users_online_at_a_crash_is_marked_as_sent(path: Path) -> None:
    file = opened(path)
    row = ("notification", "t", 0, "producer", 1.0, None, None, b"{}", None)
    items = [
        (place_of(1, seq), f"e{seq}", row[0], row[1], user_id, *row[2:], 1, 9e9)
        for seq, user_id in ((1, "online"), (2, "offline"), (3, "unknown"))
    ]
    values = [value for item in items for value in item[:-2]]
    transaction = Transaction(begun_histories=[(1, "acme", 1.0)], event_count=3, event_values=values, mail_rows=items)
    transaction.presence = [
        PresenceRecord("acme", "online", False, 1.0, 1.0),
        PresenceRecord("acme", "offline", False, None, 1.0),
    ]
    write(file, transaction)

    def sent() -> list[tuple[str, int]]:
        return file.writer.execute("SELECT user_id, sent FROM mail ORDER BY place").fetchall()

    file.close()
    file = opened(path)
    assert sent() == [("online", 0), ("offline", 0), ("unknown", 0)]
    killed(file)
    file = opened(path)
    assert sent() == [("online", 1), ("offline", 0), ("unknown", 0)]
    file.close()
