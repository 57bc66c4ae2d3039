"""SpoolFile: reading and writing, ownership, and the errors of files that cannot be used."""

from __future__ import annotations

import ctypes
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from callcenter_ws.events.commands import CommandKey
from callcenter_ws.remote.spool_file import BLOCK_NUMBERS, VERSION, Row, SpoolFile, SpoolUnusable
from callcenter_ws.remote.taken_commands import TakenCommand

_CAPABILITY_VERSION_3 = 0x20080522


def row(key: int, payload: bytes = b"{}", source_seq: int | None = None) -> Row:
    return (key, "acme", "alert", f"id-{key}", "2026-11-22T19:40:00.123Z", None, 0, payload, source_seq)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.spool"


def filled(path: Path, count: int) -> None:
    file = SpoolFile(path)
    file.write([row(key) for key in range(1, count + 1)], [])
    file.close()


def test_rows_are_read_in_order_of_their_keys(path: Path) -> None:
    file = SpoolFile(path)
    rows = [
        (3, "acme", "alert", "a\0b", "2026-11-22T19:40:00.123Z", "7", 1, b'{"title":"Zo\xc3\xa9"}', None),
        (1, "globex", "call.hold", "x" * 255, "2026-11-22T19:40:00.124Z", None, 0, b"{}", 7),
    ]
    file.write(rows, [])
    file.write([row(2)], [])
    file.close()
    again = SpoolFile(path)
    assert again.rows() == [rows[1], row(2), rows[0]]
    again.close()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 255, 256, 257, 1_000])
def test_any_number_of_rows_is_written_and_deleted(path: Path, count: int) -> None:
    file = SpoolFile(path)
    file.write([row(key) for key in range(1, count + 1)], [])
    assert file.rows() == [row(key) for key in range(1, count + 1)]
    odd = list(range(1, count + 1, 2))
    file.write([row(count + 1)], odd)
    assert [found[0] for found in file.rows()] == [*range(2, count + 1, 2), count + 1]
    file.close()


def test_write_is_atomic(path: Path) -> None:
    file = SpoolFile(path)
    file.write([row(1), row(2)], [])
    with pytest.raises(sqlite3.IntegrityError):
        file.write([row(3), row(2)], [1])
    assert file.rows() == [row(1), row(2)]
    file.write([row(3)], [1])
    assert file.rows() == [row(2), row(3)]
    file.close()


def test_full_disk_loses_nothing_and_deletions_free_space(path: Path) -> None:
    file = SpoolFile(path)
    pages = file._db.execute("PRAGMA page_count").fetchone()[0]
    file._db.execute(f"PRAGMA max_page_count = {pages + 20}")
    file.write([row(1, b"x" * 65_000)], [])
    with pytest.raises(sqlite3.OperationalError, match="full"):
        file.write([row(2, b"x" * 65_000)], [])
    assert [found[0] for found in file.rows()] == [1]
    file.write([row(3, b"x" * 65_000)], [1])
    assert [found[0] for found in file.rows()] == [3]
    file.close()


def test_files_are_accessible_to_the_owner_only(path: Path) -> None:
    old = os.umask(0)
    try:
        file = SpoolFile(path)
    finally:
        os.umask(old)
    file.write([row(1)], [])
    assert {stat.S_IMODE(found.stat().st_mode) for found in path.parent.iterdir()} == {0o600}
    file.close()


# Files that cannot be used


def folder_is_missing(path: Path) -> None:
    path.parent.rmdir()


def is_a_folder(path: Path) -> None:
    path.mkdir()


def is_a_text(path: Path) -> None:
    path.write_text("A text file of another program.\n" * 100)


def is_of_another_program(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE event (key INTEGER PRIMARY KEY)")
    db.close()


def is_newer(path: Path) -> None:
    filled(path, 1)
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {VERSION + 1}")
    db.close()


def is_damaged(path: Path) -> None:
    filled(path, 1_000)
    with path.open("r+b") as file:
        file.seek(2 * 4_096)
        file.write(b"\xa5" * 4_096)


def is_truncated(path: Path) -> None:
    filled(path, 1_000)
    os.truncate(path, 3 * 4_096)


def has_an_invalid_header(path: Path) -> None:
    filled(path, 1)
    with path.open("r+b") as file:
        file.write(b"not SQLt")


@pytest.mark.parametrize(
    ("make_unusable", "text"),
    [
        (folder_is_missing, "No such file or directory"),
        (is_a_folder, "cannot be written: Is a directory"),
        (is_a_text, "the file is not a SQLite file"),
        (is_of_another_program, "is a SQLite file of another program"),
        (is_newer, f"has schema version {VERSION + 1}, this release knows {VERSION}"),
        (is_damaged, "the file is damaged"),
        (is_truncated, "the file is damaged"),
        (has_an_invalid_header, "the file is not a SQLite file"),
    ],
)
def test_unusable_file_is_reported_and_left_unchanged(
    path: Path, make_unusable: Callable[[Path], None], text: str
) -> None:
    make_unusable(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(SpoolUnusable, match=text) as unusable:
        SpoolFile(path)
    assert str(path) in str(unusable.value)
    assert (path.read_bytes() if path.is_file() else None) == before
    # Nothing is left open or locked: the path can be used after the file is repaired.
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir()
    SpoolFile(path).close()


def test_file_in_use_is_refused_under_any_of_its_names(path: Path) -> None:
    other_name = path.with_name("link")
    other_name.symlink_to(path)
    file = SpoolFile(path)
    for name in (path, other_name):
        with pytest.raises(SpoolUnusable, match="in use by another"):
            SpoolFile(name)
    file.write([row(1)], [])
    file.close()
    SpoolFile(other_name).close()


def test_file_in_use_by_another_process_is_refused(path: Path) -> None:
    script = "import sys, pathlib; from callcenter_ws.remote.spool_file import SpoolFile; "
    script += "file = SpoolFile(pathlib.Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(SpoolUnusable, match="in use by another process"):
            SpoolFile(path)
        other.kill()
    SpoolFile(path).close()


@contextmanager
def without_root_privileges() -> Iterator[None]:
    """Drop the capabilities of root, with which every file can be written.

    The user stays the same: another user may be unable to enter the folders above the file.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # Two triples of effective, permitted and inheritable capabilities (capset(2)).
    before = (ctypes.c_uint32 * 6)()
    assert libc.capget(version, before) == 0
    none_effective = (ctypes.c_uint32 * 6)(0, *before[1:3], 0, *before[4:6])
    assert libc.capset(version, none_effective) == 0
    try:
        yield
    finally:
        assert libc.capset(version, before) == 0


def test_read_only_file_is_refused(path: Path) -> None:
    lock = path.with_name("events.spool-lock")
    filled(path, 1)
    lock.unlink()
    path.chmod(0o444)
    with without_root_privileges(), pytest.raises(SpoolUnusable, match="cannot be written: Permission denied"):
        SpoolFile(path)
    lock.unlink()
    path.chmod(0o666)
    path.parent.chmod(0o555)
    with (
        without_root_privileges(),
        pytest.raises(SpoolUnusable, match=r"cannot create the lock file .*-lock: Permission"),
    ):
        SpoolFile(path)
    path.parent.chmod(0o755)


def test_file_locked_by_another_program_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callcenter_ws.runtime.sqlite._BUSY_SECONDS", 0)
    filled(path, 1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SpoolUnusable, match="locked by another program"):
        SpoolFile(path)
    other.close()


def test_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 37, 2))
    with pytest.raises(SpoolUnusable, match="is too old"):
        SpoolFile(path)


# The source


def statements_of(file: SpoolFile) -> list[str]:
    """Record the statements that change how commits are synced, and the commits."""
    found: list[str] = []
    file._db.set_trace_callback(lambda text: found.append(text) if text.startswith(("PRAGMA sync", "COMMIT")) else None)
    return found


SYNCED = ["PRAGMA synchronous = FULL", "COMMIT", "PRAGMA synchronous = NORMAL"]


def test_numbers_are_reserved_in_blocks_with_a_synced_commit(path: Path) -> None:
    file = SpoolFile(path)
    source = file.open_source("dialer", "i1")
    assert (source.generation, source.reserved, source.instance) == (None, 0, "i1")
    found = statements_of(file)
    file.write([row(1, source_seq=1)], [])
    assert found == SYNCED
    assert file._db.execute("SELECT reserved FROM source").fetchone()[0] == 1 + BLOCK_NUMBERS
    found.clear()
    file.write([row(2, source_seq=1 + BLOCK_NUMBERS)], [])
    assert found == ["COMMIT"]
    found.clear()
    file.write([row(3, source_seq=2 + BLOCK_NUMBERS)], [])
    assert found == SYNCED
    found.clear()
    file.keep_generation(7)
    assert found == SYNCED
    file.close()
    file = SpoolFile(path)
    again = file.open_source("dialer", "i2")
    assert (again.generation, again.reserved, again.instance) == (7, 2 + 2 * BLOCK_NUMBERS, "i1")
    file.close()


def test_a_generation_is_left_with_its_events_in_one_synced_commit(path: Path) -> None:
    file = SpoolFile(path)
    file.open_source("dialer", "i")
    file.write([row(key, source_seq=key) for key in (1, 2, 3)], [])
    file.keep_generation(7)
    found = statements_of(file)
    file.leave_generation(2)
    assert found == SYNCED
    assert [left[-1] for left in file.rows()] == [3]
    file.close()
    file = SpoolFile(path)
    assert file.open_source("dialer", "i").generation is None
    file.close()


def test_failed_write_reserves_nothing(path: Path) -> None:
    file = SpoolFile(path)
    file.open_source("dialer", "i")
    file.write([row(1, source_seq=1)], [])
    with pytest.raises(sqlite3.IntegrityError):
        file.write([row(1, source_seq=5_000)], [])
    assert file._db.execute("SELECT reserved FROM source").fetchone()[0] == 1 + BLOCK_NUMBERS
    found = statements_of(file)
    file.write([row(2, source_seq=5_001)], [])
    assert found == SYNCED
    file.close()


def test_file_of_version_1_is_migrated(path: Path) -> None:
    SpoolFile(path).close()
    db = sqlite3.connect(path)
    db.execute("DROP TABLE record")
    db.execute("DROP TABLE taken")
    db.execute("DROP TABLE source")
    db.execute("ALTER TABLE event DROP COLUMN source_seq")
    db.execute("PRAGMA user_version = 1")
    db.execute("INSERT INTO event VALUES (5, 'acme', 'alert', 'id', 'at', NULL, 0, x'7b7d')")
    db.commit()
    db.close()
    file = SpoolFile(path)
    assert file.rows() == [(5, "acme", "alert", "id", "at", None, 0, b"{}", None)]
    assert file.open_source("dialer", "i").reserved == 1
    assert [found[-1] for found in file.rows()] == [1]
    assert file._db.execute("PRAGMA user_version").fetchone()[0] == VERSION
    file.close()


def test_file_of_version_2_is_migrated(path: Path) -> None:
    file = SpoolFile(path)
    file.open_source("dialer", "i")
    file.write([row(5, source_seq=3)], [])
    file.close()
    db = sqlite3.connect(path)
    db.execute("DROP TABLE record")
    db.execute("DROP TABLE taken")
    db.execute("PRAGMA user_version = 2")
    db.commit()
    db.close()
    file = SpoolFile(path)
    assert file.rows() == [row(5, source_seq=3)]
    assert file.records() == {}
    assert file.open_source("dialer", "other").instance == "i"
    assert file._db.execute("PRAGMA user_version").fetchone()[0] == VERSION
    file.close()


def test_records_are_changed_with_events_or_not_at_all(path: Path) -> None:
    file = SpoolFile(path)
    file.write([row(1)], [], {"a": b"1", "b": b"\0\xff", "\0": b""})
    file.write([], [], {"a": None, "b": b"2", "never": None})
    assert file.records() == {"b": b"2", "\0": b""}
    with pytest.raises(sqlite3.IntegrityError):
        file.write([row(1)], [], {"b": b"3", "c": b"4"})
    with pytest.raises(sqlite3.IntegrityError):
        file.write([row(1)], [], {"b": None})
    file.close()
    file = SpoolFile(path)
    assert file.records() == {"b": b"2", "\0": b""}
    file.close()


def test_many_records_are_changed_at_once(path: Path) -> None:
    file = SpoolFile(path)
    file.write([], [], {f"key {number}": b"%d" % number for number in range(3_000)})
    file.write([], [], {f"key {number}": None if number % 2 else b"even" for number in range(3_000)})
    assert file.records() == {f"key {number}": b"even" for number in range(0, 3_000, 2)}
    file.close()


# Commands


def taken(command_id: str, *, is_open: bool = True) -> TakenCommand:
    return TakenCommand(CommandKey("acme", "7", command_id), "call.hangup", 1_000, is_open)


def test_a_taken_command_is_synced_and_closed_with_its_outcome(path: Path) -> None:
    file = SpoolFile(path)
    file.open_source("dialer", "i")
    file.write([row(1, source_seq=1)], [])
    found = statements_of(file)
    file.take(taken("c1"), [])
    assert found == SYNCED
    file.take(taken("c2"), [])
    with pytest.raises(sqlite3.IntegrityError):
        file.take(taken("c2"), [taken("c1").key])
    assert file.taken() == [taken("c1"), taken("c2")]
    with pytest.raises(sqlite3.IntegrityError):
        file.write([row(1, source_seq=2)], [], {}, [taken("c2").key])
    file.write([row(2, source_seq=2)], [], {}, [taken("c2").key])
    assert file.taken() == [taken("c1"), taken("c2", is_open=False)]
    file.take(taken("c3"), [taken("c2").key])
    file.close()
    file = SpoolFile(path)
    file.open_source("dialer", "i")
    assert file.taken() == [taken("c1"), taken("c3")]
    file.open_source("other", "i")
    assert file.taken() == []
    file.close()


def test_file_of_version_3_is_migrated(path: Path) -> None:
    file = SpoolFile(path)
    file.write([row(5)], [], {"key": b"value"})
    file.close()
    db = sqlite3.connect(path)
    db.execute("DROP TABLE taken")
    db.execute("PRAGMA user_version = 3")
    db.commit()
    db.close()
    file = SpoolFile(path)
    assert (file.rows(), file.records(), file.taken()) == ([row(5)], {"key": b"value"}, [])
    assert file._db.execute("PRAGMA user_version").fetchone()[0] == VERSION
    file.close()
