"""SpoolFile: the file that unacknowledged events are kept in. Opening it, whose it is, whether it may be used."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
_LEAST_SQLITE = (3, 38, 0)
_BUSY_SECONDS = 5.0
_MOST_ROWS = 256

_REASONS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "the file cannot be written",
    "SQLITE_CORRUPT": "the file is damaged; moved away, it is made anew, without the events in it",
    "SQLITE_NOTADB": "the file is no SQLite file, or its beginning is damaged",
    "SQLITE_CANTOPEN": "the file cannot be opened",
    "SQLITE_IOERR": "the disk fails",
    "SQLITE_BUSY": "the file is locked by another program",
}


class SpoolUnusable(Exception):
    """The spool cannot be used: nothing was begun. The text is for the person who starts the daemon."""


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
        if sqlite3.sqlite_version_info < _LEAST_SQLITE:
            raise SpoolUnusable(f"SQLite {sqlite3.sqlite_version} is too old for a spool, 3.38 or later is needed")
        self._lock = _lock(self.path)
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

        While the reactor is busy each call into SQLite may wait five milliseconds for the interpreter's lock
        (``sys.getswitchinterval``), and ``executemany`` takes it for every row. So there are few, long statements.

        Raises:
            sqlite3.Error: nothing was written.
        """
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            if gone:
                db.execute("DELETE FROM event WHERE key IN (SELECT value FROM json_each(?))", (json.dumps(gone),))
            _insert(db, rows)
            db.execute("COMMIT")
        except BaseException:
            # SQLite itself may have ended it.
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Write everything to its final place and close the file; no thread may use it any more."""
        try:
            self._db.close()
        finally:
            os.close(self._lock)


def reason_of(error: sqlite3.Error) -> str:
    """What an error of SQLite means, for a person."""
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    known = next((text for code, text in _REASONS.items() if name.startswith(code)), error)
    return f"{known} ({name})"


def _insert(db: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Insert rows, many by one statement. Numbers of rows are powers of two: few statements to be prepared."""
    one = f"({','.join('?' * _WIDTH)})"
    at = 0
    while at < len(rows):
        count = min(_MOST_ROWS, 1 << (len(rows) - at).bit_length() - 1)
        values = [value for row in rows[at : at + count] for value in row]
        db.execute(f"INSERT INTO event VALUES {','.join([one] * count)}", values)  # noqa: S608 - our own text
        at += count


def _connect(path: Path) -> sqlite3.Connection:
    _create_private(path)
    with _explained(path):
        # Opened by the reactor's thread, used by the spool's own: by one at a time.
        db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _prepare(db, path)
        except BaseException:
            db.close()
            raise
        return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    version = _check_identity(db, path)
    if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise SpoolUnusable(f"{path}: {_REASONS['SQLITE_CORRUPT']} ({found})")
    if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise SpoolUnusable(f"{path}: its file system cannot hold a SQLite file in WAL mode")
    db.execute("PRAGMA synchronous = NORMAL")
    # Even where there is nothing to write: it tells whether the file could be written.
    db.execute("BEGIN IMMEDIATE")
    if version < VERSION:
        db.execute(_SCHEMA)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")


def _check_identity(db: sqlite3.Connection, path: Path) -> int:
    """Return the version of the file's schema, 0 for an empty file."""
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != APPLICATION_ID and (tables or version or application):
        raise SpoolUnusable(f"{path} is a SQLite file of another program")
    if version > VERSION:
        raise SpoolUnusable(
            f"{path} has schema version {version}, this release knows {VERSION}: it was written by a newer one"
        )
    return version


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise SpoolUnusable(f"{path}: {reason_of(error)}") from None


def _lock(path: Path) -> int:
    """Take the lock that keeps a second broadcaster away.

    Beside the file, not on it: closing any descriptor of the file would drop the locks that SQLite holds on it.
    """
    beside = path.with_name(path.name + "-lock")
    try:
        handle = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SpoolUnusable(f"{path}: cannot open {beside.name} beside it: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise SpoolUnusable(f"{path} is in use by another process, or by another broadcaster of this one") from None
    return handle


def _create_private(path: Path) -> None:
    """Make the file where it is missing, for its owner alone; SQLite would let everybody read it."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise SpoolUnusable(f"{path} cannot be written: {error.strerror}") from None
