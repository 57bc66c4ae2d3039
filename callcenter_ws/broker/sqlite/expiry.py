"""Removal of what has exceeded its limits: events of histories, mailbox items, presence records.

Each function is a transaction of its own in the writing thread, bounded, so that a group commit waits at most for one.
"""

from __future__ import annotations

from dataclasses import dataclass

from callcenter_ws.broker.mailboxes import is_lost
from callcenter_ws.broker.sqlite.file import StoreFile
from callcenter_ws.broker.sqlite.schema import place_of, seq_of
from callcenter_ws.broker.sqlite.transaction import extend_gaps
from callcenter_ws.runtime.sqlite import roll_back

BATCH_ROWS = 500
"""Events, or mailbox items, that are removed in one transaction."""


@dataclass(frozen=True, slots=True)
class TrimRequest:
    """Which events of a tenant's history to remove.

    Attributes:
        tenant: its number.
        floor: the position up to which events were removed before.
        by_count: events up to this position are removed, whatever their age.
        by_age: events received before this Unix time are removed.
        max_seq: but none after this position.
    """

    tenant: int
    floor: int
    by_count: int
    by_age: float
    max_seq: int


@dataclass(frozen=True, slots=True)
class TrimResult:
    """The state of a history after a trim.

    Attributes:
        floor: the position up to which events have been removed.
        more: whether the request is not done.
        oldest: the time of the oldest event that is left, in Unix seconds; None: the history is empty.
    """

    floor: int
    more: bool
    oldest: float | None


def trim_history(file: StoreFile, request: TrimRequest) -> TrimResult:
    """Remove the oldest events of a tenant, at most ``BATCH_ROWS``.

    Raises:
        sqlite3.Error: nothing was removed.
    """
    db = file.writer
    low, high = place_of(request.tenant, request.floor), place_of(request.tenant, request.max_seq)
    db.execute("BEGIN IMMEDIATE")
    try:
        kept = db.execute(
            "SELECT place, received_at FROM event WHERE place > ? AND place <= ? AND place > ? AND received_at >= ? "
            "ORDER BY place LIMIT 1",
            (low, low + BATCH_ROWS, place_of(request.tenant, request.by_count), request.by_age),
        ).fetchone()
        end = min(high, low + BATCH_ROWS, *([] if kept is None else [kept[0] - 1]))
        db.execute("DELETE FROM event WHERE place > ? AND place <= ?", (low, end))
        found = db.execute(
            "SELECT received_at FROM event WHERE place > ? AND place < ? ORDER BY place LIMIT 1",
            (end, place_of(request.tenant + 1, 0)),
        ).fetchone()
        floor = max(request.floor, seq_of(end))
        oldest = None if found is None else found[0]
        db.execute("UPDATE tenant SET floor = max(floor, ?), oldest = ? WHERE id = ?", (floor, oldest, request.tenant))
        db.execute("COMMIT")
    except BaseException:
        roll_back(db)
        raise
    return TrimResult(floor, kept is None and end == low + BATCH_ROWS and end < high, oldest)


def remove_expired_mail(file: StoreFile, now: float) -> bool:
    """Remove at most ``BATCH_ROWS`` expired mailbox items; return whether there may be more.

    Args:
        now: Unix time in seconds.

    Raises:
        sqlite3.Error: nothing was removed.
    """
    db = file.writer
    db.execute("BEGIN IMMEDIATE")
    try:
        expired = db.execute(
            "DELETE FROM mail WHERE place IN (SELECT place FROM mail WHERE ends_at <= ? LIMIT ?) "
            "RETURNING tenant, user_id, place, received_at, ends_at",
            (now, BATCH_ROWS),
        ).fetchall()
        extend_gaps(db, [row[:3] for row in expired if is_lost(row[3], row[4])])
        db.execute("COMMIT")
    except BaseException:
        roll_back(db)
        raise
    return len(expired) == BATCH_ROWS


def remove_old_presence(file: StoreFile, max_records: int) -> None:
    """Remove the records of offline users who were seen longest ago, beyond ``max_records``."""
    file.writer.execute(
        "DELETE FROM attendance WHERE since IS NULL AND NOT told AND last_seen < "
        "(SELECT last_seen FROM attendance ORDER BY last_seen DESC LIMIT 1 OFFSET ?)",
        (max_records,),
    )
