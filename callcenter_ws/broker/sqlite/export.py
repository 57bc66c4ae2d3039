"""Reads the events of a tenant from a store that a gateway may be using."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from callcenter_ws.broker.sqlite.codec import COLUMNS, publication_of
from callcenter_ws.broker.sqlite.file import StoreUnusable, require_file
from callcenter_ws.broker.sqlite.schema import APPLICATION_ID, VERSION, place_of
from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.sqlite import check_identity, connect, sqlite_reason

_PAGE_EVENTS = 1_000


def stored_events(path: Path, tenant_id: str) -> Iterator[tuple[str, Publication]]:
    """Yield the epoch and each event that the store has of a tenant, in order. Changes nothing.

    No transaction lasts longer than a page, so that the write-ahead log of the gateway does not grow meanwhile. Events
    that it trims after the first page are left out.

    Raises:
        StoreUnusable: the file is no store, of another release, or cannot be read.
    """
    require_file(path)
    try:
        with closing(connect(path, mode="ro")) as db:
            if check_identity(db, path, APPLICATION_ID, VERSION) != VERSION:
                raise StoreUnusable(f"{path} is older than this release: a gateway of this release must open it first")
            tenant = db.execute("SELECT id FROM tenant WHERE name = ?", (tenant_id,)).fetchone()
            if tenant is not None:
                yield from _events(db, tenant_id, tenant[0])
    except sqlite3.Error as error:
        raise StoreUnusable(f"{path}: {sqlite_reason(error)}") from None


def _events(db: sqlite3.Connection, tenant_id: str, number: int) -> Iterator[tuple[str, Publication]]:
    (epoch,) = db.execute("SELECT value FROM store WHERE name = 'epoch'").fetchone()
    after, end = place_of(number, 0), place_of(number + 1, 0)
    query = f"SELECT {COLUMNS} FROM event WHERE place > ? AND place < ? ORDER BY place LIMIT ?"  # noqa: S608 - names from our code
    while rows := db.execute(query, (after, end, _PAGE_EVENTS)).fetchall():
        for row in rows:
            yield epoch, publication_of(row, tenant_id, 0.0)
        after = rows[-1][0]
