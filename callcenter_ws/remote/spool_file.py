"""SpoolFile: the SQLite file that keeps unacknowledged events."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from callcenter_ws.runtime.sqlite import FileUnusable as SpoolUnusable
from callcenter_ws.runtime.sqlite import (
    check_identity,
    connect,
    enable_wal,
    insert,
    lock_file,
    roll_back,
    sqlite_reason,
)

__all__ = ["Row", "SpoolFile", "SpoolUnusable", "sqlite_reason"]

APPLICATION_ID = 0x43435351
"""``CCSQ``, which identifies the file's format (https://www.sqlite.org/pragma.html#pragma_application_id)."""

VERSION = 1
"""The version of the schema, stored as ``user_version``."""

Row = tuple[Any, ...]  # the values have the types of the columns
"""key, tenant_id, type, event_id, timestamp, user_id, persist, payload, with the types of the schema."""

_COLUMNS = 8
_SCHEMA = """
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
_DAMAGED = "the file is damaged; move it away, and a new one without its events is created"


class SpoolFile:
    """A SQLite file in WAL mode, locked for one broadcaster.

    Committed data survives the end of the process, ``SIGKILL`` included. Commits are not synced to disk
    (``synchronous = NORMAL``), so power loss may undo the last ones.

    Args:
        path: the file. It is created if it does not exist; its folder is not.

    Raises:
        SpoolUnusable: the file belongs to another program, is damaged, has a newer version, is in use, or cannot be
            written.
    """

    def __init__(self, path: Path) -> None:
        # The real path, so that the names of one file share its lock.
        self.path = Path(os.path.realpath(path))
        self._lock = lock_file(self.path, "another process, or by another broadcaster of this one")
        try:
            self._db = _connect(self.path)
        except BaseException:
            os.close(self._lock)
            raise

    def rows(self) -> list[Row]:
        """Return all rows, in order of their keys.

        Raises:
            SpoolUnusable: the file cannot be read.
        """
        with _errors_explained(self.path):
            return self._db.execute("SELECT * FROM event ORDER BY key").fetchall()

    def write(self, rows: Sequence[Row], deleted_keys: Sequence[int]) -> None:
        """Delete the rows with ``deleted_keys``, then insert ``rows``, in one transaction.

        Raises:
            sqlite3.Error: nothing was written.
        """
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            if deleted_keys:
                keys = json.dumps(deleted_keys)
                db.execute("DELETE FROM event WHERE key IN (SELECT value FROM json_each(?))", (keys,))
            insert(db, "event", _COLUMNS, [value for row in rows for value in row])
            db.execute("COMMIT")
        except BaseException:
            roll_back(db)
            raise

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
    if version < VERSION:
        db.execute(_SCHEMA)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")


@contextmanager
def _errors_explained(path: Path) -> Iterator[None]:
    """Turn an error of SQLite into SpoolUnusable."""
    try:
        yield
    except sqlite3.Error as error:
        reason = f"{_DAMAGED} ({error.sqlite_errorname})" if _is_damage(error) else sqlite_reason(error)
        raise SpoolUnusable(f"{path}: {reason}") from None


def _is_damage(error: sqlite3.Error) -> bool:
    return str(getattr(error, "sqlite_errorname", "")).startswith("SQLITE_CORRUPT")
