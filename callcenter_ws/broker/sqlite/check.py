"""Looking at a store from outside, while a gateway uses it or not: is it whole, and a copy of it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from callcenter_ws.broker.sqlite.file import StoreUnusable
from callcenter_ws.broker.sqlite.schema import APPLICATION_ID, SEQ_BITS, VERSION
from callcenter_ws.runtime.sqlite import check_identity, connect, reason_of

_BACKUP_PAGES = 1_024
"""Pages that are copied at once."""

_MOST_PROBLEMS = 20


@dataclass(slots=True)
class CheckReport:
    """What a store holds, and what is wrong with it.

    Attributes:
        file_bytes: the log of the latest writes included.
        problems: for a person; empty when it is whole.
    """

    path: Path
    version: int = 0
    epoch: str = ""
    file_bytes: int = 0
    tenants: int = 0
    events: int = 0
    state: int = 0
    mail: int = 0
    problems: list[str] = field(default_factory=list)


def check(path: Path) -> CheckReport:
    """Read all of a store and say whether it is whole. Changes nothing.

    Raises:
        StoreUnusable: it is no store, or cannot be read at all.
    """
    if not path.is_file():
        raise StoreUnusable(f"there is no file {path}")
    findings = CheckReport(path, file_bytes=_bytes(path))
    try:
        db = connect(path, mode="ro")
        try:
            findings.version = check_identity(db, path, APPLICATION_ID, VERSION)
            if findings.version == 0:
                raise StoreUnusable(f"{path} is empty: no gateway has used it yet")
            db.execute("BEGIN")
            _count(db, findings)
            findings.problems += _problems(db)
        finally:
            db.close()
    except sqlite3.Error as error:
        if not findings.version:
            raise StoreUnusable(f"{path}: {reason_of(error)}") from None
        findings.problems.append(reason_of(error))
    return findings


def _bytes(path: Path) -> int:
    log = path.with_name(path.name + "-wal")
    return path.stat().st_size + (log.stat().st_size if log.exists() else 0)


def _count(db: sqlite3.Connection, findings: CheckReport) -> None:
    row = db.execute("SELECT value FROM store WHERE name = 'epoch'").fetchone()
    findings.epoch = "" if row is None else str(row[0])
    for table in ("tenant", "event", "state", "mail"):
        (count,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - our own names
        setattr(findings, {"tenant": "tenants", "event": "events"}.get(table, table), count)


def _problems(db: sqlite3.Connection) -> Iterator[str]:
    for (line,) in db.execute(f"PRAGMA integrity_check({_MOST_PROBLEMS})"):
        if line != "ok":
            yield f"SQLite: {line}"
    holes = db.execute(
        f"""
        SELECT name, floor, checkpoint, count(place), coalesce(max(place) & {(1 << SEQ_BITS) - 1}, 0)
        FROM tenant LEFT JOIN event ON place > (id << {SEQ_BITS} | floor) AND place < (id + 1 << {SEQ_BITS})
        GROUP BY id HAVING count(place) <> max(coalesce(max(place) & {(1 << SEQ_BITS) - 1}, 0), floor) - floor
        LIMIT {_MOST_PROBLEMS}
        """  # noqa: S608 - our own numbers
    )
    for name, floor, _, count, head in holes:
        yield f"tenant {name!r}: {count} events after {floor} and up to {head}, so some are missing"
    (strays,) = db.execute(
        f"SELECT count(*) FROM event WHERE place >> {SEQ_BITS} NOT IN (SELECT id FROM tenant)"  # noqa: S608 - our own number
    ).fetchone()
    if strays:
        yield f"{strays} events belong to no tenant"


def back_up(path: Path, copy: Path, new_epoch: Callable[[], str]) -> None:
    """Write a consistent copy of a store, which a gateway may be using, into a new file.

    The copy has an epoch of its own: whoever restores it goes back in time, and positions that were given since will
    be given to other events. Clients have to be told that.

    Raises:
        StoreUnusable: there is no store, or the copy cannot be written.
    """
    if not path.is_file():
        raise StoreUnusable(f"there is no file {path}")
    if copy.exists():
        raise StoreUnusable(f"{copy} is there already; a backup replaces nothing")
    draft = copy.with_name(copy.name + ".part")
    try:
        draft.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        _copy(path, draft, new_epoch())
        draft.rename(copy)
    except (OSError, sqlite3.Error) as error:
        draft.unlink(missing_ok=True)
        reason = reason_of(error) if isinstance(error, sqlite3.Error) else error.strerror
        raise StoreUnusable(f"cannot copy {path} to {copy}: {reason}") from None
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _copy(path: Path, draft: Path, epoch: str) -> None:
    source, target = connect(path, mode="ro"), connect(draft)
    try:
        if check_identity(source, path, APPLICATION_ID, VERSION) == 0:
            raise StoreUnusable(f"{path} is empty: no gateway has used it yet")
        # Within a transaction that reads, what others write meanwhile does not make the copy begin anew.
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM tenant").fetchone()
        source.backup(target, pages=_BACKUP_PAGES)
        # One file, with no log beside it.
        target.execute("PRAGMA journal_mode = DELETE")
        target.execute("PRAGMA synchronous = FULL")
        facts = [("epoch", epoch), ("open_since_boot", ""), ("is_open", 0)]
        target.executemany("INSERT OR REPLACE INTO store VALUES (?, ?)", facts)
    finally:
        source.close()
        target.close()


def is_newest(findings: CheckReport) -> bool:
    """Whether the store has this release's schema; an older one is brought up to it when a gateway opens it."""
    return findings.version == VERSION
