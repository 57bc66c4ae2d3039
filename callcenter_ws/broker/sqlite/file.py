"""StoreFile: the file itself. Opening it, whose it is, whether it may be used, and which history it holds."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from callcenter_ws.broker.sqlite.schema import APPLICATION_ID, MIGRATIONS, VERSION

Synchronous = Literal["normal", "full"]

_LEAST_SQLITE = (3, 38, 0)
_BUSY_SECONDS = 5.0
_CACHED_STATEMENTS = 512
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class StoreUnusable(Exception):
    """The file cannot be used. The text is for the person who starts the gateway."""


class StoreFile:
    """One SQLite file in WAL mode, used by one gateway at a time.

    Args:
        path: the file; it is made where it does not exist, its folder is not.
        new_epoch: makes the name of a history that has no name yet.

    Attributes:
        epoch: the name of the history that the file holds.
        writer: the connection that writes; for one thread at a time.

    Raises:
        StoreUnusable: the file is somebody else's, damaged, of a newer version, in use, or cannot be written.
    """

    def __init__(self, path: Path, synchronous: Synchronous, new_epoch: Callable[[], str]) -> None:
        self.path = path
        self._synchronous = synchronous
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        if sqlite3.sqlite_version_info < _LEAST_SQLITE:
            raise StoreUnusable(f"SQLite {sqlite3.sqlite_version} is too old, 3.38 or later is needed")
        self._lock = _lock(path)
        try:
            _create_private(path)
            self.writer = connect(path)
            try:
                self.epoch = self._prepare(new_epoch)
            except BaseException:
                self.writer.close()
                raise
        except sqlite3.Error as error:
            self._release()
            raise StoreUnusable(f"{path}: {reason_of(error)}") from None
        except BaseException:
            self._release()
            raise

    def _prepare(self, new_epoch: Callable[[], str]) -> str:
        db = self.writer
        version = check_identity(db, self.path)
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise StoreUnusable(f"{self.path}: its file system cannot hold a SQLite file in WAL mode")
        db.execute(f"PRAGMA synchronous = {self._synchronous}")
        db.execute("BEGIN IMMEDIATE")
        for script in MIGRATIONS[version:]:
            for statement in script.split(";"):
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        epoch = self._open_history(new_epoch)
        db.execute("COMMIT")
        # The first write may have told that the file can only be read; what follows finds out about its pages.
        db.execute("SELECT count(*) FROM tenant").fetchone()
        return epoch

    def _open_history(self, new_epoch: Callable[[], str]) -> str:
        """The epoch; a new one when events may be gone that somebody was told of.

        With ``synchronous = "normal"`` SQLite does not wait for the disk: after power loss, or a crash of the
        machine, the last transactions may be gone, and their positions would be given to other events. That this has
        happened shows in the machine having been started anew under a store that was not closed.
        """
        known = dict(self.writer.execute("SELECT name, value FROM store"))
        boot = _boot_id()
        crashed = known.get("open_since_boot") not in (None, "", boot)
        epoch = known.get("epoch")
        if epoch is None or crashed:
            epoch = new_epoch()
        if known.get("is_open"):
            self._suppose_sent()
        risk = boot if self._synchronous == "normal" else ""
        self.put(epoch=epoch, open_since_boot=risk, is_open=1)
        return str(epoch)

    def _suppose_sent(self) -> None:
        """The process that had the file was killed: what was for users who were here may have reached them."""
        self.writer.execute(
            """
            UPDATE mail SET sent = 1 WHERE sent = 0 AND EXISTS (
                SELECT 1 FROM attendance JOIN tenant ON tenant.name = attendance.tenant_id
                WHERE tenant.id = mail.tenant AND attendance.user_id = mail.user_id AND attendance.since IS NOT NULL
            )
            """
        )

    def put(self, **facts: object) -> None:
        """Note facts about the store; within a transaction of the writer's if there is one."""
        self.writer.executemany("INSERT OR REPLACE INTO store VALUES (?, ?)", list(facts.items()))

    def reader(self) -> sqlite3.Connection:
        """The reading connection of the calling thread."""
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = connect(self.path)
            db.execute("PRAGMA query_only = ON")
            self._readers.append(db)
        return db

    def close(self) -> None:
        """Write everything to its final place and close the file; no thread may use it any more."""
        try:
            self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            # On the disk before it is noted that nothing can be missing.
            self.writer.execute("PRAGMA synchronous = FULL")
            self.put(open_since_boot="", is_open=0)
        except sqlite3.Error:
            # The note stays as it is: whoever opens the file next supposes the worst.
            pass
        finally:
            for db in (*self._readers, self.writer):
                db.close()
            self._release()

    def bytes(self) -> int:
        """Bytes on disk, the log of the latest writes included."""
        return sum(_size(self.path.with_name(self.path.name + suffix)) for suffix in ("", "-wal"))

    def _release(self) -> None:
        os.close(self._lock)


def connect(path: Path, *, mode: str = "rwc") -> sqlite3.Connection:
    """Return a connection without transactions of its own making; ``mode`` as in https://www.sqlite.org/uri.html."""
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(
        uri,
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_CACHED_STATEMENTS,
    )


def check_identity(db: sqlite3.Connection, path: Path) -> int:
    """Return the version of the file's schema, 0 for an empty file.

    Raises:
        StoreUnusable: it is no store, or a newer one.
    """
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != APPLICATION_ID and (tables or version or application):
        raise StoreUnusable(f"{path} is a SQLite file of another program")
    if version > VERSION:
        raise StoreUnusable(
            f"{path} has schema version {version}, this release knows {VERSION}: it was written by a newer one"
        )
    return version


def reason_of(error: sqlite3.Error) -> str:
    """What an error of SQLite means, for a person."""
    name = getattr(error, "sqlite_errorname", None) or type(error).__name__
    known = {
        "SQLITE_FULL": "the disk is full",
        "SQLITE_READONLY": "the file cannot be written",
        "SQLITE_CORRUPT": "the file is damaged; see callcenter-ws check-store",
        "SQLITE_NOTADB": "the file is no SQLite file, or its beginning is damaged",
        "SQLITE_CANTOPEN": "the file cannot be opened or made; is the folder there, and may it be written?",
        "SQLITE_BUSY": "the file is locked by another program",
        "SQLITE_PERM": "access to the file is denied",
    }
    family = next((text for code, text in known.items() if str(name).startswith(code)), None)
    return f"{family} ({name})" if family else f"{error} ({name})"


def _lock(path: Path) -> int:
    """Take the lock that keeps a second gateway away.

    Beside the file, not on it: closing any descriptor of the file would drop the locks that SQLite holds on it.
    """
    beside = path.with_name(path.name + "-lock")
    try:
        handle = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnusable(f"{path}: cannot make {beside.name} beside it: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise StoreUnusable(f"{path} is in use by another gateway") from None
    return handle


def _create_private(path: Path) -> None:
    """Make the file where it is missing, for its owner alone; SQLite would let everybody read it."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnusable(f"{path} cannot be written: {error.strerror}") from None


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
