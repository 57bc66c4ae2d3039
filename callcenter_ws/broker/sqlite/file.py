"""StoreFile: the file itself. Opening it, whose it is, whether it may be used, and which history it holds."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from callcenter_ws.broker.sqlite.schema import APPLICATION_ID, MIGRATIONS, VERSION
from callcenter_ws.runtime.sqlite import FileUnusable as StoreUnusable
from callcenter_ws.runtime.sqlite import check_identity, connect, reason_of, take_file, use_log

__all__ = ["StoreFile", "StoreUnusable", "Synchronous"]

Synchronous = Literal["normal", "full"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UNKNOWN = "unknown"


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
        self._lock = take_file(path, "another gateway")
        try:
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
        version = check_identity(db, self.path, APPLICATION_ID, VERSION)
        use_log(db, self.path)
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
        crashed = known.get("open_since_boot") not in (None, "", boot) or known.get("open_since_boot") == _UNKNOWN
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
        return _size(self.path) + self.log_bytes()

    def log_bytes(self) -> int:
        """Bytes of the log, which SQLite moves to their place in the file now and then."""
        return _size(self.path.with_name(self.path.name + "-wal"))

    def move_log(self) -> None:
        """Move what the log holds to its place; for the writing thread.

        Raises:
            sqlite3.Error: the file cannot be written, though the log can.
        """
        self.writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _release(self) -> None:
        os.close(self._lock)


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
