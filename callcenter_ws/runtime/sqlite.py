"""What every SQLite file of ours needs, be it the gateway's store or a daemon's spool."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LEAST_SQLITE = (3, 38, 0)
_BUSY_SECONDS = 5.0
_CACHED_STATEMENTS = 512
_MOST_ROWS = 1_024

_REASONS = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_READONLY": "the file cannot be written",
    "SQLITE_CORRUPT": "the file is damaged",
    "SQLITE_NOTADB": "the file is no SQLite file, or its beginning is damaged",
    "SQLITE_CANTOPEN": "the file cannot be opened or made; is the folder there, and may it be written?",
    "SQLITE_IOERR": "the disk fails",
    "SQLITE_BUSY": "the file is locked by another program",
    "SQLITE_PERM": "access to the file is denied",
}


class FileUnusable(Exception):
    """A file cannot be used; nothing was begun. The text is for the person who starts the process."""


def reason_of(error: sqlite3.Error) -> str:
    """What an error of SQLite means, for a person."""
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    known = next((text for code, text in _REASONS.items() if str(name).startswith(code)), error)
    return f"{known} ({name})"


def take_file(path: Path, rival: str) -> int:
    """Make a file where it is missing, and take the lock that keeps others away.

    Closing the descriptor that is returned gives the lock back.

    The file is for its owner alone; SQLite would let everybody read it. The lock is beside the file, not on it: closing
    any descriptor of the file would drop the locks that SQLite holds on it.

    Args:
        rival: who has the file if we do not get it.

    Raises:
        FileUnusable: the file is in use, cannot be made, or SQLite is too old.
    """
    if sqlite3.sqlite_version_info < LEAST_SQLITE:
        raise FileUnusable(f"SQLite {sqlite3.sqlite_version} is too old, 3.38 or later is needed")
    beside = path.with_name(path.name + "-lock")
    try:
        handle = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FileUnusable(f"{path}: cannot make {beside.name} beside it: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise FileUnusable(f"{path} is in use by {rival}") from None
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        os.close(handle)
        raise FileUnusable(f"{path} cannot be written: {error.strerror}") from None
    return handle


def connect(path: Path, *, mode: str = "rwc") -> sqlite3.Connection:
    """Return a connection without transactions of its own making; ``mode`` as in https://www.sqlite.org/uri.html.

    It may be used by one thread after the other.
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
        FileUnusable: it is another program's file, or one of a later version than ``newest``.
    """
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != application_id and (tables or version or application):
        raise FileUnusable(f"{path} is a SQLite file of another program")
    if version > newest:
        raise FileUnusable(
            f"{path} has schema version {version}, this release knows {newest}: it was written by a newer one"
        )
    return version


def use_log(db: sqlite3.Connection, path: Path) -> None:
    """Write ahead into a log, so that a commit is one write and readers do not wait (https://www.sqlite.org/wal.html).

    Raises:
        FileUnusable: the file system cannot do that.
    """
    if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
        raise FileUnusable(f"{path}: its file system cannot hold a SQLite file in WAL mode")


def insert(db: sqlite3.Connection, table: str, width: int, values: Sequence[Any], conflict: str = "") -> None:
    """Insert rows, many by one statement. Numbers of rows are powers of two: few statements to be prepared.

    While the reactor is busy, each call into SQLite may wait five milliseconds for the interpreter's lock
    (``sys.getswitchinterval``): ``executemany``, which takes it twice a row, then writes 400 rows a second, and a few
    long statements 14,000.

    Args:
        table: its name, with the columns if not all are given.
        width: how many of the values make a row.
        conflict: what happens to rows whose key is there already, as the end of the statement.
    """
    one = f"({','.join('?' * width)})"
    at, end = 0, len(values) // width
    while at < end:
        count = min(_MOST_ROWS, 1 << (end - at).bit_length() - 1)
        part = values[at * width : (at + count) * width]
        db.execute(f"INSERT INTO {table} VALUES {','.join([one] * count)} {conflict}", part)  # noqa: S608 - our own names
        at += count


def roll_back(db: sqlite3.Connection) -> None:
    """End a transaction that failed; SQLite itself may have done so."""
    if db.in_transaction:
        db.execute("ROLLBACK")
