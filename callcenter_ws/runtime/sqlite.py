"""Opening and writing SQLite files; used for the gateway's store and for a daemon's spool."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path

MIN_SQLITE_VERSION = (3, 38, 0)
_BUSY_SECONDS = 5.0
_CACHED_STATEMENTS = 512
_MAX_ROWS = 1_024
"""Rows inserted by one statement."""

_REASONS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "the file cannot be written",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_NOTADB": "the file is not a SQLite file, or its header is damaged",
    "SQLITE_CANTOPEN": "the file cannot be opened or created; does the folder exist, and is it writable?",
    "SQLITE_IOERR": "the disk reports an error",
    "SQLITE_BUSY": "the file is locked by another program",
    "SQLITE_PERM": "access to the file is denied",
}


class FileUnusable(Exception):
    """A file cannot be used, and nothing was done with it. The text is for the person who starts the process."""


def sqlite_reason(error: sqlite3.Error) -> str:
    """Return what an error of SQLite means, in words for an operator, with the name of its code."""
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    known = next((text for code, text in _REASONS.items() if str(name).startswith(code)), error)
    return f"{known} ({name})"


def lock_file(path: Path, holder: str) -> int:
    """Create a file unless it exists, and lock it; return the descriptor that holds the lock until it is closed.

    The file is readable by its owner only; SQLite would create it readable by all users. The lock is on a file beside
    it: closing any descriptor of the file itself would release the locks that SQLite holds on it
    (https://www.sqlite.org/howtocorrupt.html).

    Args:
        holder: what has the file locked if it is locked, for the text of the error.

    Raises:
        FileUnusable: the file is locked, it cannot be created, or SQLite is too old.
    """
    if sqlite3.sqlite_version_info < MIN_SQLITE_VERSION:
        raise FileUnusable(f"SQLite {sqlite3.sqlite_version} is too old, 3.38 or later is required")
    lock_path = path.with_name(path.name + "-lock")
    try:
        handle = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FileUnusable(f"{path}: cannot create the lock file {lock_path.name}: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise FileUnusable(f"{path} is in use by {holder}") from None
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        os.close(handle)
        raise FileUnusable(f"{path} cannot be written: {error.strerror}") from None
    return handle


def connect(path: Path, *, mode: str = "rwc") -> sqlite3.Connection:
    """Return a connection that begins no transactions by itself.

    It may be used by any thread, but by one at a time.

    Args:
        mode: as in https://www.sqlite.org/uri.html.
    """
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_CACHED_STATEMENTS,
    )


def check_identity(db: sqlite3.Connection, path: Path, application_id: int, newest: int) -> int:
    """Return the version of the file's schema, 0 for an empty file.

    Raises:
        FileUnusable: the file is another program's, or its version is later than ``newest``.
    """
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != application_id and (tables or version or application):
        raise FileUnusable(f"{path} is a SQLite file of another program")
    if version > newest:
        raise FileUnusable(
            f"{path} has schema version {version}, this release knows {newest}: it was written by a newer release"
        )
    return version


def enable_wal(db: sqlite3.Connection, path: Path) -> None:
    """Use a write-ahead log: a commit is then one write, and readers do not wait (https://www.sqlite.org/wal.html).

    Raises:
        FileUnusable: the file system does not support it.
    """
    if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise FileUnusable(f"{path}: the file system does not support SQLite files in WAL mode")


def insert(db: sqlite3.Connection, table: str, width: int, values: Sequence[object], conflict: str = "") -> None:
    """Insert rows, many with one statement. The numbers of rows are powers of two: few statements are prepared.

    While the reactor is busy, each call into SQLite may wait five milliseconds for the interpreter's lock
    (``sys.getswitchinterval``). ``executemany``, which takes the lock twice for each row, then writes 400 rows per
    second; a few long statements write 14,000.

    Args:
        table: its name, with the columns if not all are given.
        width: the number of values in a row.
        conflict: the end of the statement, for rows whose key exists already.
    """
    row = f"({','.join('?' * width)})"
    done, end = 0, len(values) // width
    while done < end:
        count = min(_MAX_ROWS, 1 << (end - done).bit_length() - 1)
        part = values[done * width : (done + count) * width]
        db.execute(f"INSERT INTO {table} VALUES {','.join([row] * count)} {conflict}", part)  # noqa: S608 - names from our code
        done += count


def roll_back(db: sqlite3.Connection) -> None:
    """Roll back a failed transaction, unless SQLite has done so already."""
    if db.in_transaction:
        db.execute("ROLLBACK")
