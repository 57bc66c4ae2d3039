"""SpoolFile: the SQLite file that keeps unacknowledged events, and records."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from callcenter_ws.events.commands import CommandKey
from callcenter_ws.remote.taken_commands import TakenCommand
from callcenter_ws.remote.taken_rows import TAKEN_SCHEMA, close_taken, insert_taken, read_taken
from callcenter_ws.runtime.sqlite import (
    FileUnusable,
    check_identity,
    connect,
    enable_wal,
    insert,
    lock_file,
    roll_back,
    sqlite_reason,
)

__all__ = ["Row", "SpoolFile", "SpoolUnusable", "SpooledSource", "sqlite_reason"]


class SpoolUnusable(FileUnusable):
    """The file of a spool cannot be used, and nothing was done with it. The text is for the person who starts it."""


APPLICATION_ID = 0x43435351
"""``CCSQ``, which identifies the file's format (https://www.sqlite.org/pragma.html#pragma_application_id)."""

VERSION = 4
"""The version of the schema, stored as ``user_version``. 1 had no sources, 2 no records, 3 no commands."""

BLOCK_NUMBERS = 1_000
"""The numbers of events that are reserved at a time."""

Row = tuple[Any, ...]  # the values have the types of the columns
"""key, tenant_id, type, event_id, timestamp, user_id, persist, payload, source_seq, with the types of the schema."""

_COLUMNS = 9
_EVENT_SCHEMA = """
CREATE TABLE event (
    key INTEGER PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    type TEXT NOT NULL,
    event_id TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    user_id TEXT,
    persist INTEGER NOT NULL,
    payload BLOB NOT NULL
) STRICT
"""
_SOURCE_SCHEMA = """
ALTER TABLE event ADD COLUMN source_seq INTEGER;
CREATE TABLE source (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    name TEXT NOT NULL,
    instance TEXT NOT NULL,
    generation INTEGER,
    reserved INTEGER NOT NULL
) STRICT;
"""
_RECORD_SCHEMA = """
CREATE TABLE record (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID
"""
_REPLACE = "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_NO_CHANGES: Mapping[str, bytes | None] = {}
_DAMAGED = "the file is damaged; move it away, and a new one without its events is created"


@dataclass(frozen=True, slots=True)
class SpooledSource:
    """The row of the source that the file belongs to.

    Attributes:
        instance: identifies the file to the gateway.
        generation: the generation of the numbers of its events; None: the gateway has not assigned one.
        reserved: no event has a higher number.
    """

    name: str
    instance: str
    generation: int | None
    reserved: int


class SpoolFile:
    """A SQLite file in WAL mode, locked for one broadcaster.

    Committed data survives the end of the process, ``SIGKILL`` included. Commits of events are not synced to disk
    (``synchronous = NORMAL``), so power loss may undo the last ones. Commits that reserve numbers, or change the
    generation, are synced, and with them everything before: after a power loss no number is given a second time.

    Args:
        path: the file. It is created if it does not exist; its folder is not.

    Raises:
        SpoolUnusable: the file belongs to another program, is damaged, has a newer version, is in use, or cannot be
            written.
    """

    def __init__(self, path: Path) -> None:
        # The real path, so that the names of one file share its lock.
        self.path = Path(os.path.realpath(path))
        with _errors_explained(self.path):
            self._lock = lock_file(self.path, "another process, or by another broadcaster of this one")
        self._reserved: int | None = None
        try:
            self._db = _connect(self.path)
        except BaseException:
            os.close(self._lock)
            raise

    def open_source(self, name: str, new_instance: str) -> SpooledSource:
        """Have the events numbered as those of a source; number those in the file that have no number.

        Args:
            new_instance: the instance of a file that has none yet, or belonged to a source of another name. That one's
                generation is not kept.

        Raises:
            SpoolUnusable: the file cannot be read or written.
        """
        with _errors_explained(self.path), self._synced():
            row = self._db.execute("SELECT name, instance, generation, reserved FROM source").fetchone()
            found = SpooledSource(name, new_instance, None, 0) if row is None else SpooledSource(*row)
            if found.name != name:
                found = SpooledSource(name, new_instance, None, found.reserved)
                self._db.execute("DELETE FROM taken")
            source = replace(found, reserved=found.reserved + self._number_events(found.reserved))
            self._db.execute("INSERT OR REPLACE INTO source VALUES (1, ?, ?, ?, ?)", astuple(source))
        self._reserved = source.reserved
        return source

    def _number_events(self, last: int) -> int:
        """Number the events that have no number, after ``last``; return how many there were."""
        keys = self._db.execute("SELECT key FROM event WHERE source_seq IS NULL ORDER BY key").fetchall()
        numbers = [(last + index, key) for index, (key,) in enumerate(keys, 1)]
        self._db.executemany("UPDATE event SET source_seq = ? WHERE key = ?", numbers)
        return len(keys)

    def keep_generation(self, generation: int) -> None:
        """Store the generation of the source, synced to disk.

        Raises:
            sqlite3.Error: nothing was written.
        """
        with self._synced():
            self._db.execute("UPDATE source SET generation = ?", (generation,))

    def leave_generation(self, known: int) -> None:
        """Remove the generation of the source and the events with numbers up to ``known``, in one synced transaction.

        Raises:
            sqlite3.Error: nothing was written.
        """
        with self._synced():
            self._db.execute("DELETE FROM event WHERE source_seq <= ?", (known,))
            self._db.execute("UPDATE source SET generation = NULL")

    def rows(self) -> list[Row]:
        """Return all rows, in order of their keys.

        Raises:
            SpoolUnusable: the file cannot be read.
        """
        with _errors_explained(self.path):
            return self._db.execute("SELECT * FROM event ORDER BY key").fetchall()

    def records(self) -> dict[str, bytes]:
        """Return all records.

        Raises:
            SpoolUnusable: the file cannot be read.
        """
        with _errors_explained(self.path):
            return dict(self._db.execute("SELECT key, value FROM record").fetchall())

    def taken(self) -> Sequence[TakenCommand]:
        """Return the commands that were taken, in that order.

        Raises:
            SpoolUnusable: the file cannot be read.
        """
        with _errors_explained(self.path):
            return read_taken(self._db)

    def take(self, command: TakenCommand, forgotten: Sequence[CommandKey]) -> None:
        """Store that a command is taken, and forget others, in one synced transaction.

        Raises:
            sqlite3.Error: nothing was written.
        """
        with self._synced():
            insert_taken(self._db, command, forgotten)

    def write(
        self,
        rows: Sequence[Row],
        deleted_keys: Sequence[int],
        changes: Mapping[str, bytes | None] = _NO_CHANGES,
        closed: Sequence[CommandKey] = (),
    ) -> None:
        """Delete the rows with ``deleted_keys``, insert ``rows``, and change records, in one transaction.

        The commands ``closed``, whose outcomes are among the rows, are not open any more.

        If the numbers of the rows exceed those that are reserved, the next block of numbers is reserved with them, and
        the transaction is synced to disk.

        Raises:
            sqlite3.Error: nothing was written.
        """
        reserved = self._reserved
        highest = rows[-1][-1] if rows and reserved is not None else None
        if highest is None or reserved is None or highest <= reserved:
            with self._transaction():
                self._change(rows, deleted_keys, changes, closed)
            return
        with self._synced():
            self._change(rows, deleted_keys, changes, closed)
            self._db.execute("UPDATE source SET reserved = ?", (highest + BLOCK_NUMBERS,))
        self._reserved = highest + BLOCK_NUMBERS

    def _change(
        self,
        rows: Sequence[Row],
        deleted_keys: Sequence[int],
        changes: Mapping[str, bytes | None],
        closed: Sequence[CommandKey],
    ) -> None:
        db = self._db
        if deleted_keys:
            keys = json.dumps(deleted_keys)
            db.execute("DELETE FROM event WHERE key IN (SELECT value FROM json_each(?))", (keys,))
        insert(db, "event", _COLUMNS, [value for row in rows for value in row])
        self._change_records(changes)
        if closed:
            close_taken(db, closed)

    def _change_records(self, changes: Mapping[str, bytes | None]) -> None:
        if not changes:
            return
        deleted = [key for key, value in changes.items() if value is None]
        if deleted:
            keys = json.dumps(deleted)
            self._db.execute("DELETE FROM record WHERE key IN (SELECT value FROM json_each(?))", (keys,))
        values = [part for key, value in changes.items() if value is not None for part in (key, value)]
        insert(self._db, "record", 2, values, _REPLACE)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Commit what is written in the context; after an exception, nothing of it."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            roll_back(db)
            raise

    @contextmanager
    def _synced(self) -> Iterator[None]:
        """Commit as ``_transaction``, and have the file, with everything committed before, on the disk afterwards."""
        # In WAL mode, FULL syncs the log after each commit (https://www.sqlite.org/pragma.html#pragma_synchronous).
        self._db.execute("PRAGMA synchronous = FULL")
        try:
            with self._transaction():
                yield
        finally:
            self._db.execute("PRAGMA synchronous = NORMAL")

    def close(self) -> None:
        """Checkpoint and close the file, and release the lock. No thread may use the file afterwards."""
        try:
            self._db.close()
        finally:
            os.close(self._lock)


def _connect(path: Path) -> sqlite3.Connection:
    with _errors_explained(path):
        db = connect(path)
        try:
            _prepare(db, path)
        except BaseException:
            db.close()
            raise
        return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    version = check_identity(db, path, APPLICATION_ID, VERSION)
    if (result := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise SpoolUnusable(f"{path}: {_DAMAGED} ({result})")
    enable_wal(db, path)
    db.execute("PRAGMA synchronous = NORMAL")
    # Begun even if there is nothing to write: it fails if the file cannot be written.
    db.execute("BEGIN IMMEDIATE")
    if version < 1:
        db.execute(_EVENT_SCHEMA)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    if version < 2:
        for statement in _SOURCE_SCHEMA.split(";")[:-1]:
            db.execute(statement)
    if version < 3:
        db.execute(_RECORD_SCHEMA)
    if version < VERSION:
        db.execute(TAKEN_SCHEMA)
        db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")


@contextmanager
def _errors_explained(path: Path) -> Iterator[None]:
    """Turn an error of SQLite or of the file into SpoolUnusable."""
    try:
        yield
    except FileUnusable as error:
        raise SpoolUnusable(str(error)) from None
    except sqlite3.Error as error:
        reason = f"{_DAMAGED} ({error.sqlite_errorname})" if _is_damage(error) else sqlite_reason(error)
        raise SpoolUnusable(f"{path}: {reason}") from None


def _is_damage(error: sqlite3.Error) -> bool:
    return str(getattr(error, "sqlite_errorname", "")).startswith("SQLITE_CORRUPT")
