"""SpoolFile: the file that unacknowledged events are kept in. Opening it, whose it is, whether it may be used."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from callcenter_ws.runtime.sqlite import FileUnusable as SpoolUnusable
from callcenter_ws.runtime.sqlite import check_identity, connect, insert, reason_of, roll_back, take_file, use_log

__all__ = ["Row", "SpoolFile", "SpoolUnusable", "reason_of"]

APPLICATION_ID = 0x43435351
"""``CCSQ``: how SQLite files tell whose they are (https://www.sqlite.org/pragma.html#pragma_application_id)."""

VERSION = 1

Row = tuple[Any, ...]
"""Key, tenant_id, type, event_id, timestamp, user_id, persist, payload."""

_WIDTH = 8
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
_DAMAGED = "the file is damaged; moved away, it is made anew, without the events in it"


class SpoolFile:
    """One SQLite file in WAL mode, used by one broadcaster at a time.

    It survives the end of the process, whatever ends it. SQLite does not wait for the disk, so power loss may take
    back the last moments.

    Args:
        path: the file; it is made where it does not exist, its folder is not.

    Raises:
        SpoolUnusable: the file is somebody else's, damaged, of a newer version, in use, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        # Two names of one file share a lock.
        self.path = Path(os.path.realpath(path))
        self._lock = take_file(self.path, "another process, or by another broadcaster of this one")
        try:
            self._db = _connect(self.path)
        except BaseException:
            os.close(self._lock)
            raise

    def rows(self) -> list[Row]:
        """Return everything that is kept, in order.

        Raises:
            SpoolUnusable: it cannot be read.
        """
        with _explained(self.path):
            return self._db.execute("SELECT * FROM event ORDER BY key").fetchall()

    def write(self, rows: Sequence[Row], gone: Sequence[int]) -> None:
        """Forget the rows with the keys ``gone``, then keep others; all of it or nothing.

        Raises:
            sqlite3.Error: nothing was written.
        """
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            if gone:
                db.execute("DELETE FROM event WHERE key IN (SELECT value FROM json_each(?))", (json.dumps(gone),))
            insert(db, "event", _WIDTH, [value for row in rows for value in row])
            db.execute("COMMIT")
        except BaseException:
            roll_back(db)
            raise

    def close(self) -> None:
        """Write everything to its final place and close the file; no thread may use it any more."""
        try:
            self._db.close()
        finally:
            os.close(self._lock)


def _connect(path: Path) -> sqlite3.Connection:
    with _explained(path):
        db = connect(path)
        try:
            _prepare(db, path)
        except BaseException:
            db.close()
            raise
        return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    version = check_identity(db, path, APPLICATION_ID, VERSION)
    if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise SpoolUnusable(f"{path}: {_DAMAGED} ({found})")
    use_log(db, path)
    db.execute("PRAGMA synchronous = NORMAL")
    # Even where there is nothing to write: it tells whether the file could be written.
    db.execute("BEGIN IMMEDIATE")
    if version < VERSION:
        db.execute(_SCHEMA)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        known = f"{_DAMAGED} ({error.sqlite_errorname})" if _is_damage(error) else reason_of(error)
        raise SpoolUnusable(f"{path}: {known}") from None


def _is_damage(error: sqlite3.Error) -> bool:
    return str(getattr(error, "sqlite_errorname", "")).startswith("SQLITE_CORRUPT")
