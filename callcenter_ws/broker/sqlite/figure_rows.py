"""The rows of folds in the file: how they are written, read and removed.

Each write of a tenant has a version. A read compares that in the file with that of the newest pending write, to know
whether pending rows are in the file already. All but ``FigureChanges`` runs in the threads of the store.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from callcenter_ws.broker.figure_rows import of_days, of_kinds, since
from callcenter_ws.broker.sqlite.file import StoreFile
from callcenter_ws.runtime.sqlite import insert, roll_back
from callcenter_ws.statistics.checkpoint import NO_DAY, RowKey, RowPair, Rows

STEP_ROWS = 500
"""Rows of old days that are removed in one transaction."""

_NAMES_PER_QUERY = 500


@dataclass(slots=True)
class FigureChanges:
    """Rows of one tenant to be written, with the position that they belong to.

    Attributes:
        number: of the tenant in ``figure_fold``.
        hold: the position above which its log is held; None: it is not.
        version: the number of the write, higher than that of any earlier one.
    """

    number: int
    tenant_id: str
    seq: int
    hold: int | None
    version: int
    rows: Rows = field(default_factory=dict)

    def with_older(self, older: FigureChanges) -> FigureChanges:
        """Return these changes together with earlier ones, which were not written."""
        return FigureChanges(
            self.number, self.tenant_id, self.seq, self.hold, self.version, {**older.rows, **self.rows}
        )


@dataclass(slots=True)
class StoredFold:
    """What the file has of a tenant, besides the rows."""

    number: int
    tenant_id: str
    seq: int
    hold: int | None
    version: int


def stored_folds(db: sqlite3.Connection) -> list[StoredFold]:
    """Return all tenants that have rows."""
    return [StoredFold(*row) for row in db.execute("SELECT id, tenant_id, seq, hold, version FROM figure_fold")]


# Each key finds its row by the index (see ``transaction``).
_DELETE = """
    DELETE FROM figure WHERE id IN (
        SELECT figure.id FROM json_each(?) AS key CROSS JOIN figure
        WHERE tenant = key.value ->> 0 AND day = key.value ->> 1 AND kind = key.value ->> 2 AND name = key.value ->> 3
    )
"""


def save_figures(db: sqlite3.Connection, changes: Collection[FigureChanges]) -> None:
    """Write rows and positions of tenants, in the transaction of the caller, with few statements for all of them."""
    folds: list[object] = []
    values: list[object] = []
    removed: list[tuple[int, int, str, str]] = []
    for one in changes:
        folds += (one.number, one.tenant_id, one.seq, one.hold, one.version)
        for key, value in one.rows.items():
            if value is None:
                removed.append((one.number, key.day, key.kind, key.name))
            else:
                values += (one.number, key.day, key.kind, key.name, value)
    replace = "ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, hold = excluded.hold, version = excluded.version"
    insert(db, "figure_fold (id, tenant_id, seq, hold, version)", 5, folds, replace)
    replace = "ON CONFLICT (tenant, day, kind, name) DO UPDATE SET value = excluded.value"
    insert(db, "figure (tenant, day, kind, name, value)", 5, values, replace)
    _delete(db, removed)


def _delete(db: sqlite3.Connection, keys: Collection[tuple[int, int, str, str]]) -> None:
    if not keys:
        return
    db.execute(_DELETE, (json.dumps([key for key in keys if "\0" not in key[3]]),))
    for key in keys:
        # SQLite ends a text from JSON at its first NUL.
        if "\0" in key[3]:
            db.execute("DELETE FROM figure WHERE tenant = ? AND day = ? AND kind = ? AND name = ?", key)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows of a tenant are read.

    Attributes:
        is_wanted: returns for a key whether ``conditions`` admit its row.
        conditions: SQL conditions on ``figure``, with their parameters, of which a row meets at most one.
    """

    is_wanted: Callable[[RowKey], bool]
    conditions: tuple[tuple[str, tuple[object, ...]], ...]


def rows_since(day: int) -> Selection:
    """Return the selection of ``FigureStore.load``."""
    return Selection(since(day), (("day = ?", (NO_DAY,)), ("day > ? AND day >= ?", (NO_DAY, day))))


def rows_of_kinds(kinds: Collection[str]) -> Selection:
    """Return the selection of ``FigureStore.head``."""
    wanted = frozenset(kinds)
    return Selection(of_kinds(wanted), tuple(("day = ? AND kind = ?", (NO_DAY, kind)) for kind in sorted(wanted)))


def rows_of_days(kind: str, names: Iterable[str] | None, first: int, last: int) -> Selection:
    """Return the selection of ``FigureStore.days``."""
    wanted = None if names is None else frozenset(names)
    is_wanted = of_days(kind, wanted, first, last)
    # Each day is looked up by the index, so that rows of other kinds and names in between are not read.
    condition = "day IN (SELECT day FROM days WHERE day BETWEEN ? AND ?) AND kind = ?"
    days = (max(first, NO_DAY + 1), last, kind)
    if wanted is None:
        return Selection(is_wanted, ((condition, days),))
    found, chosen = [], sorted(wanted)
    for begin in range(0, len(chosen), _NAMES_PER_QUERY):
        part = chosen[begin : begin + _NAMES_PER_QUERY]
        found.append((f"{condition} AND name IN ({','.join('?' * len(part))})", (*days, *part)))
    return Selection(is_wanted, tuple(found))


# The days that a tenant has rows of; each step finds the next in the index. Numbered parameters come first.
_SELECT = """
    WITH RECURSIVE days (day) AS (
        SELECT min(day) FROM figure WHERE tenant = ?1
        UNION ALL
        SELECT (SELECT min(figure.day) FROM figure WHERE tenant = ?1 AND figure.day > days.day)
        FROM days WHERE days.day IS NOT NULL
    )
    SELECT kind, name, day, value FROM figure WHERE tenant = ?1 AND {condition} LIMIT {limit:d}
"""


@dataclass(frozen=True, slots=True)
class RowsAt:
    """Rows of a tenant, with the position and the version that they belong to; None: the row was removed."""

    version: int
    seq: int
    rows: Rows


def read_rows(
    file: StoreFile, number: int, selection: Selection, limit: int, pending: RowsAt
) -> tuple[int, list[RowPair]]:
    """Return rows of a tenant, and the position that they belong to.

    At most ``limit`` of those in the file, and those that are pending.

    Args:
        pending: the selected rows that were pending when the call was made, and the version of the newest.
    """
    db = file.reader()
    # Pending rows may remove as many of those in the file.
    limit += len(pending.rows)
    db.execute("BEGIN")
    try:
        fold = db.execute("SELECT version, seq FROM figure_fold WHERE id = ?", (number,)).fetchone()
        rows: Rows = {}
        for condition, parameters in selection.conditions:
            if len(rows) < limit:
                rows.update(_found(db, number, condition, parameters, limit - len(rows)))
    finally:
        db.execute("COMMIT")
    if fold is not None and fold[0] >= pending.version:
        # What was pending was written before the file was read, and perhaps more.
        seq = fold[1]
    else:
        seq = pending.seq
        rows.update(pending.rows)
    return seq, [(key, value) for key, value in rows.items() if value is not None]


def _found(
    db: sqlite3.Connection, number: int, condition: str, parameters: tuple[object, ...], limit: int
) -> Iterator[RowPair]:
    statement = _SELECT.format(condition=condition, limit=limit)
    for kind, name, day, value in db.execute(statement, (number, *parameters)):
        yield RowKey(kind, name, day), value


def remove_old_days(file: StoreFile, number: int, before: int) -> int:
    """Remove at most ``STEP_ROWS`` rows of days before one; return how many. A transaction of its own.

    Raises:
        sqlite3.Error: nothing was removed.
    """
    db = file.writer
    db.execute("BEGIN IMMEDIATE")
    try:
        removed = db.execute(
            "DELETE FROM figure WHERE id IN (SELECT id FROM figure WHERE tenant = ? AND day > ? AND day < ? LIMIT ?)",
            (number, NO_DAY, before, STEP_ROWS),
        ).rowcount
        db.execute("COMMIT")
    except BaseException:
        roll_back(db)
        raise
    return removed


def oldest_position(file: StoreFile, tenant_id: str) -> int:
    """Return the position up to which the events of a tenant were removed."""
    found = file.reader().execute("SELECT floor FROM tenant WHERE name = ?", (tenant_id,)).fetchone()
    return 0 if found is None else int(found[0])
