"""Checks whether a store is complete and undamaged; a gateway may be using it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from callcenter_ws.broker.sqlite.file import StoreUnusable, require_file
from callcenter_ws.broker.sqlite.schema import (
    APPLICATION_ID,
    FIRST_WITH_ACCOUNTS,
    FIRST_WITH_COMMANDS,
    SEQ_BITS,
    VERSION,
)
from callcenter_ws.runtime.sqlite import check_identity, connect, sqlite_reason

_MAX_PROBLEMS = 20

_FIGURES_SINCE = 5
"""The version of the schema since which there are rows of statistics."""


@dataclass(slots=True)
class CheckReport:
    """The content of a store, and its problems.

    Attributes:
        version: of its schema.
        file_bytes: those of the write-ahead log included.
        events: the number of events in the histories.
        state: the number of events kept for the states of the tenants.
        mail: the number of items in mailboxes.
        figures: the number of rows of statistics.
        users: the number of users who can sign in at the pages.
        sessions: the number of sessions of these pages.
        commands: the number of commands that are remembered.
        problems: texts for an operator; empty when there are none.
    """

    path: Path
    version: int = 0
    epoch: str = ""
    file_bytes: int = 0
    tenants: int = 0
    events: int = 0
    state: int = 0
    mail: int = 0
    figures: int = 0
    users: int = 0
    sessions: int = 0
    commands: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def has_current_version(self) -> bool:
        """Whether the schema is this release's; a gateway migrates an older one when it opens the store."""
        return self.version == VERSION


def check(path: Path) -> CheckReport:
    """Read all of a store and report its problems. Changes nothing.

    Raises:
        StoreUnusable: the file is no store, or cannot be read at all.
    """
    require_file(path)
    report = CheckReport(path, file_bytes=_bytes(path))
    try:
        with closing(connect(path, mode="ro")) as db:
            report.version = check_identity(db, path, APPLICATION_ID, VERSION)
            if report.version == 0:
                raise StoreUnusable(f"{path} is empty: no gateway has used it yet")
            db.execute("BEGIN")
            _count(db, report)
            report.problems += _problems(db)
            if report.version >= _FIGURES_SINCE:
                report.problems += _figure_problems(db)
    except sqlite3.Error as error:
        if not report.version:
            raise StoreUnusable(f"{path}: {sqlite_reason(error)}") from None
        report.problems.append(sqlite_reason(error))
    return report


def _bytes(path: Path) -> int:
    log = path.with_name(path.name + "-wal")
    return path.stat().st_size + (log.stat().st_size if log.exists() else 0)


def _count(db: sqlite3.Connection, report: CheckReport) -> None:
    row = db.execute("SELECT value FROM store WHERE name = 'epoch'").fetchone()
    report.epoch = "" if row is None else str(row[0])
    tables = ["tenant", "event", "state", "mail"]
    if report.version >= _FIGURES_SINCE:
        tables.append("figure")
    if report.version >= FIRST_WITH_ACCOUNTS:
        tables += ["account", "account_session"]
    if report.version >= FIRST_WITH_COMMANDS:
        tables.append("command")
    for table in tables:
        (count,) = db.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - names from our code
        setattr(report, _NAMES.get(table, table), count)


_NAMES = {
    "tenant": "tenants",
    "event": "events",
    "figure": "figures",
    "account": "users",
    "account_session": "sessions",
    "command": "commands",
}
"""What the report calls the rows of tables."""


def _problems(db: sqlite3.Connection) -> Iterator[str]:
    for (line,) in db.execute(f"PRAGMA integrity_check({_MAX_PROBLEMS})"):
        if line != "ok":
            yield f"SQLite: {line}"
    incomplete = db.execute(
        f"""
        SELECT name, floor, checkpoint, count(place), coalesce(max(place) & {(1 << SEQ_BITS) - 1}, 0)
        FROM tenant LEFT JOIN event ON place > (id << {SEQ_BITS} | floor) AND place < (id + 1 << {SEQ_BITS})
        GROUP BY id HAVING count(place) <> max(coalesce(max(place) & {(1 << SEQ_BITS) - 1}, 0), floor) - floor
        LIMIT {_MAX_PROBLEMS}
        """  # noqa: S608 - numbers from our code
    )
    for name, floor, _, count, head in incomplete:
        yield f"tenant {name!r}: {count} events after {floor} and up to {head}, so some are missing"
    (strays,) = db.execute(
        f"SELECT count(*) FROM event WHERE place >> {SEQ_BITS} NOT IN (SELECT id FROM tenant)"  # noqa: S608 - a number from our code
    ).fetchone()
    if strays:
        yield f"{strays} events belong to no tenant"


def _figure_problems(db: sqlite3.Connection) -> Iterator[str]:
    ahead = db.execute(
        f"""
        SELECT fold.tenant_id, fold.seq, max(
            coalesce(tenant.floor, 0),
            coalesce((
                SELECT max(place) & {(1 << SEQ_BITS) - 1} FROM event
                WHERE place > tenant.id << {SEQ_BITS} AND place < tenant.id + 1 << {SEQ_BITS}
            ), 0)
        ) AS head
        FROM figure_fold AS fold LEFT JOIN tenant ON tenant.name = fold.tenant_id
        WHERE fold.seq > head LIMIT {_MAX_PROBLEMS}
        """  # noqa: S608 - numbers from our code
    )
    for name, seq, head in ahead:
        yield f"tenant {name!r}: the statistics are of position {seq}, and the events end at {head}"
    (strays,) = db.execute("SELECT count(*) FROM figure WHERE tenant NOT IN (SELECT id FROM figure_fold)").fetchone()
    if strays:
        yield f"{strays} rows of statistics belong to no tenant"
