"""Queries of histories and mailboxes; each runs in a reading thread and sees what was committed before it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from callcenter_ws.broker.sqlite.codec import COLUMNS, publication_of
from callcenter_ws.broker.sqlite.file import StoreFile
from callcenter_ws.broker.sqlite.schema import place_of, seq_of
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import MailboxGap, MailboxItem, MailboxPage
from callcenter_ws.runtime.json import encode_json

PAGE_BYTES = 262_144
"""Bytes of payload after which a page ends, so that large events do not fill the memory."""


def read_history(
    file: StoreFile, tenant_id: str, number: int, after: int, limit: int, clock_offset: float
) -> Sequence[Publication]:
    """Return at most ``limit`` publications that follow ``after`` without a gap; none if the next one was trimmed."""
    low, high = place_of(number, after), place_of(number + 1, 0)
    found = file.reader().execute(
        f"SELECT {COLUMNS} FROM event WHERE place > ? AND place < ? ORDER BY place LIMIT ?",  # noqa: S608 - names from our code
        (low, high, limit),
    )
    publications: list[Publication] = []
    size = 0
    for row in found:
        if seq_of(row[0]) != after + len(publications) + 1:
            break
        publications.append(publication_of(row, tenant_id, clock_offset))
        size += len(row[10])
        if size > PAGE_BYTES:
            break
    return publications


def read_mailbox(
    file: StoreFile, tenant_id: str, number: int, user_id: str, after: int, limit: int, now: float, clock_offset: float
) -> tuple[MailboxPage, bool]:
    """Return at most ``limit`` items of a user's mailbox after ``after``, and whether the mailbox has rows at all.

    Expired items are not returned. They are rows until maintenance removes them, and only then do they become part of
    the gap.

    Args:
        now: Unix time in seconds.
    """
    db = file.reader()
    found = db.execute(
        f"SELECT {COLUMNS}, sent FROM mail WHERE tenant = ? AND user_id = ? AND place > ? AND ends_at > ? "  # noqa: S608 - names from our code
        "ORDER BY place LIMIT ?",
        (number, user_id, place_of(number, after), now, limit),
    )
    items = []
    size = 0
    for row in found:
        items.append(MailboxItem(publication_of(row[:-1], tenant_id, clock_offset), bool(row[-1])))
        size += len(row[10])
        if size > PAGE_BYTES:
            break
    # Before the gap is read: rows that maintenance removes meanwhile are then in the gap.
    has_rows = bool(items) or _has_mail(db, number, user_id)
    gap = db.execute(
        "SELECT from_seq, to_seq FROM mail_loss WHERE tenant = ? AND user_id = ?", (number, user_id)
    ).fetchone()
    return MailboxPage(items, None if gap is None else MailboxGap(*gap)), has_rows


def _has_mail(db: sqlite3.Connection, number: int, user_id: str) -> bool:
    found = db.execute("SELECT 1 FROM mail WHERE tenant = ? AND user_id = ? LIMIT 1", (number, user_id))
    return found.fetchone() is not None


def tenants_with_old_events(file: StoreFile, before: float, limit: int) -> list[str]:
    """Return at most ``limit`` tenants whose oldest event was received before ``before`` (Unix seconds).

    Without those whose statistics need that event: they would take the places of others each time.
    """
    found = file.reader().execute(
        "SELECT name FROM tenant LEFT JOIN figure_fold ON tenant_id = name "
        "WHERE oldest < ? AND (hold IS NULL OR hold > floor) ORDER BY oldest LIMIT ?",
        (before, limit),
    )
    return [str(name) for (name,) in found]


def highest_number(file: StoreFile, source: str, tenants: Sequence[str]) -> tuple[int, int]:
    """Return the highest generation and ``source_seq`` stored of a source in these tenants; zeros if there is none."""
    found = (
        file.reader()
        .execute(
            """
            SELECT generation, source_seq FROM source_mark
            WHERE source = ?1 AND tenant_id IN (SELECT value FROM json_each(?2))
            ORDER BY generation DESC, source_seq DESC LIMIT 1
            """,
            (source, encode_json(tenants).decode()),
        )
        .fetchone()
    )
    return (0, 0) if found is None else (found[0], found[1])
