"""The file of the store: opening it, checking whether it may be used, and which history it holds."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from callcenter_ws.broker.sqlite.schema import APPLICATION_ID, MIGRATIONS, VERSION
from callcenter_ws.runtime.sqlite import FileUnusable as StoreUnusable
from callcenter_ws.runtime.sqlite import check_identity, connect, enable_wal, lock_file, sqlite_reason

__all__ = ["StoreFile", "StoreUnusable", "Synchronous", "require_file"]

Synchronous = Literal["normal", "full"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UNKNOWN = "unknown"


class StoreFile:
    """One SQLite file in WAL mode, used by one gateway at a time.

    Args:
        path: the file; it is created unless it exists, its directory is not.
        new_epoch: returns the epoch of a new history.

    Attributes:
        epoch: the epoch of the history that the file holds.
        writer: the connection that writes; for one thread at a time.

    Raises:
        StoreUnusable: the file is another program's, damaged, of a newer version, in use, or not writable.
    """

    def __init__(self, path: Path, synchronous: Synchronous, new_epoch: Callable[[], str]) -> None:
        self.path = path
        self._synchronous = synchronous
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._lock = lock_file(path, "another gateway")
        try:
            self.writer = connect(path)
            try:
                self.epoch = self._prepare(new_epoch)
            except BaseException:
                self.writer.close()
                raise
        except sqlite3.Error as error:
            self._release()
            raise StoreUnusable(f"{path}: {sqlite_reason(error)}") from None
        except BaseException:
            self._release()
            raise

    def _prepare(self, new_epoch: Callable[[], str]) -> str:
        db = self.writer
        version = check_identity(db, self.path, APPLICATION_ID, VERSION)
        enable_wal(db, self.path)
        db.execute(f"PRAGMA synchronous = {self._synchronous}")
        db.execute("BEGIN IMMEDIATE")
        for script in MIGRATIONS[version:]:
            for statement in script.split(";"):
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {VERSION}")
        epoch = self._open_history(new_epoch)
        db.execute("COMMIT")
        # The commit has shown whether the file is writable; this shows whether its pages are readable.
        db.execute("SELECT count(*) FROM tenant").fetchone()
        return epoch

    def _open_history(self, new_epoch: Callable[[], str]) -> str:
        """Return the epoch; a new one if events that were acknowledged may be missing.

        With ``synchronous = "normal"`` SQLite does not wait for the disk: after a power loss or a crash of the
        machine, the last transactions may be missing, and their positions would be given to other events. The sign of
        it is that the machine was rebooted although the store was not closed.
        """
        known = dict(self.writer.execute("SELECT name, value FROM store"))
        boot = _boot_id()
        crashed = known.get("open_since_boot") not in (None, "", boot) or known.get("open_since_boot") == _UNKNOWN
        epoch = known.get("epoch")
        if epoch is None or crashed:
            epoch = new_epoch()
        if known.get("is_open"):
            self._assume_mail_sent()
        at_risk_since = boot if self._synchronous == "normal" else ""
        self.set_metadata(epoch=epoch, open_since_boot=at_risk_since, is_open=1)
        return str(epoch)

    def _assume_mail_sent(self) -> None:
        """Mark the mail of users who were online as sent: the process was killed, and they may have received it."""
        self.writer.execute(
            """
            UPDATE mail SET sent = 1 WHERE sent = 0 AND EXISTS (
                SELECT 1 FROM attendance JOIN tenant ON tenant.name = attendance.tenant_id
                WHERE tenant.id = mail.tenant AND attendance.user_id = mail.user_id AND attendance.since IS NOT NULL
            )
            """
        )

    def set_metadata(self, **values: object) -> None:
        """Set values about the store itself; within the transaction of ``writer`` if there is one."""
        self.writer.executemany("INSERT OR REPLACE INTO store VALUES (?, ?)", list(values.items()))

    def reader(self) -> sqlite3.Connection:
        """Return the reading connection of the calling thread."""
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = connect(self.path)
            self._readers.append(db)
            db.execute("PRAGMA query_only = ON")
            self._local.db = db
        return db

    def close(self) -> None:
        """Move the write-ahead log into the file and close it; no thread may use it any more."""
        try:
            self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            # That the store is closed must not be on the disk before the events are.
            self.writer.execute("PRAGMA synchronous = FULL")
            self.set_metadata(open_since_boot="", is_open=0)
        except sqlite3.Error:
            # The metadata stay as they are: the next start handles the file as after a crash.
            pass
        finally:
            for db in (*self._readers, self.writer):
                db.close()
            self._release()

    def bytes(self) -> int:
        """Return the bytes on disk, those of the write-ahead log included."""
        return _size(self.path) + self.wal_bytes()

    def wal_bytes(self) -> int:
        """Return the bytes of the write-ahead log, which SQLite moves into the file from time to time."""
        return _size(self.path.with_name(self.path.name + "-wal"))

    def checkpoint_wal(self) -> None:
        """Move the write-ahead log into the file; for the writing thread.

        Raises:
            sqlite3.Error: the file is not writable, though the log may be.
        """
        self.writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _release(self) -> None:
        os.close(self._lock)


def require_file(path: Path) -> None:
    """Check that a path leads to a regular file.

    Raises:
        StoreUnusable: there is no such file, or the path cannot be reached.
    """
    try:
        # Not Path.is_file: whether it raises for an inaccessible folder depends on the version of Python.
        is_file = stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_file = False
    except OSError as error:
        raise StoreUnusable(f"{path} cannot be reached: {error.strerror}") from None
    if not is_file:
        raise StoreUnusable(f"there is no file {path}")


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return _UNKNOWN


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
