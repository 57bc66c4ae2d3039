"""Removal of what has exceeded its limits: events of histories, mailbox items, presence records.

Each function is a transaction of its own in the writing thread, bounded, so that a group commit waits at most for one.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field

from callcenter_ws.broker.mailboxes import is_lost
from callcenter_ws.broker.sqlite.file import StoreFile
from callcenter_ws.broker.sqlite.schema import place_of, seq_of
from callcenter_ws.broker.sqlite.transaction import extend_gaps
from callcenter_ws.runtime.sqlite import roll_back

BATCH_ROWS = 500
"""Events, or mailbox items, that are removed in one transaction."""

BATCH_BYTES = 8_388_608
"""Bytes of payload after which such a transaction ends: removing large events takes time by their size."""


@dataclass(frozen=True, slots=True)
class TrimRequest:
    """Which events of a tenant's history to remove.

    Attributes:
        tenant: its number.
        floor: the position up to which events were removed before.
        by_count: events up to this position are removed, whatever their age.
        by_age: events received before this Unix time are removed.
        max_seq: but none after this position.
        excess_bytes: the oldest events with so many bytes of payload are removed, whatever their age.
        ids_since: the identifiers of removed events that were received since this Unix time are kept.
        held_from: events after this position are not removed, if the statistics hold the log there or before.
        held_excess_bytes: but the oldest events with so many bytes of payload are.
    """

    tenant: int
    floor: int
    by_count: int
    by_age: float
    max_seq: int
    excess_bytes: int
    ids_since: float
    held_from: int = 0
    held_excess_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TrimResult:
    """The state of a history after a trim.

    Attributes:
        floor: the position up to which events have been removed.
        more: whether the request is not done.
        oldest: the time of the oldest event that is left, in Unix seconds; None: the history is empty.
        removed_bytes: bytes of payload that were removed.
    """

    floor: int
    more: bool
    oldest: float | None
    removed_bytes: int


@dataclass(slots=True)
class _Batch:
    """Events to be removed in one transaction.

    Attributes:
        end: the place up to which events are removed.
        more: whether the request is not done after this batch.
        ids: of those that were received since ``ids_since``: id, origin, ``seq`` and time.
    """

    end: int
    more: bool = False
    size: int = 0
    ids: list[tuple[str, str, int, float]] = field(default_factory=list)


def trim_history(file: StoreFile, request: TrimRequest) -> TrimResult:
    """Remove the oldest events of a tenant, at most ``BATCH_ROWS`` and about ``BATCH_BYTES``.

    Raises:
        sqlite3.Error: nothing was removed.
    """
    db = file.writer
    db.execute("BEGIN IMMEDIATE")
    try:
        batch = _oldest_events(db, request)
        end = batch.end
        db.execute("DELETE FROM event WHERE place > ? AND place <= ?", (place_of(request.tenant, request.floor), end))
        found = db.execute(
            "SELECT received_at FROM event WHERE place > ? AND place < ? ORDER BY place LIMIT 1",
            (end, place_of(request.tenant + 1, 0)),
        ).fetchone()
        floor = max(request.floor, seq_of(end))
        oldest = None if found is None else found[0]
        db.execute(
            "UPDATE tenant SET floor = max(floor, ?), oldest = ?, bytes = max(0, bytes - ?) WHERE id = ?",
            (floor, oldest, batch.size, request.tenant),
        )
        _keep_ids(db, request, batch)
        db.execute("COMMIT")
    except BaseException:
        roll_back(db)
        raise
    return TrimResult(floor, batch.more, oldest, batch.size)


def _oldest_events(db: sqlite3.Connection, request: TrimRequest) -> _Batch:
    """Return which events are removed next. The payloads are not read, only their lengths."""
    low, high = place_of(request.tenant, request.floor), place_of(request.tenant, request.max_seq)
    by_count = place_of(request.tenant, request.by_count)
    held_after = _held_after(db, request)
    batch, rows = _Batch(low), 0
    for place, received_at, size, event_id, origin in db.execute(
        "SELECT place, received_at, length(payload), event_id, origin FROM event WHERE place > ? AND place <= ? "
        "ORDER BY place LIMIT ?",
        (low, high, BATCH_ROWS),
    ):
        if place > by_count and received_at >= request.by_age and batch.size >= request.excess_bytes:
            return batch
        if place > held_after and batch.size >= request.held_excess_bytes:
            return batch
        if batch.size > BATCH_BYTES:
            batch.more = True
            return batch
        rows += 1
        batch.end = place
        batch.size += size
        if received_at >= request.ids_since:
            batch.ids.append((event_id, origin, seq_of(place), received_at))
    batch.more = rows == BATCH_ROWS
    if not batch.more:
        batch.end = max(low, high)
    return batch


def _held_after(db: sqlite3.Connection, request: TrimRequest) -> int:
    """Return the place after which the log is held for the statistics.

    What the file says, not what is pending: after the process was killed, the fold continues from there.
    """
    found = db.execute(
        "SELECT hold FROM figure_fold WHERE tenant_id = (SELECT name FROM tenant WHERE id = ?)", (request.tenant,)
    ).fetchone()
    if found is None or found[0] is None:
        return place_of(request.tenant + 1, 0)
    return place_of(request.tenant, max(found[0], request.held_from))


def _keep_ids(db: sqlite3.Connection, request: TrimRequest, batch: _Batch) -> None:
    """Store identifiers of removed events, and remove those of the tenant that are no longer needed."""
    db.execute(
        "DELETE FROM recent_id WHERE place > ? AND place < ? AND received_at < ?",
        (place_of(request.tenant, 0), place_of(request.tenant + 1, 0), request.ids_since),
    )
    if batch.ids:
        received_at = max(one[3] for one in batch.ids)
        db.execute("INSERT INTO recent_id VALUES (?, ?, ?)", (batch.end, received_at, json.dumps(batch.ids)))


def remove_expired_mail(file: StoreFile, now: float) -> int:
    """Remove at most ``BATCH_ROWS`` expired mailbox items; return how many.

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
    return len(expired)


def remove_old_presence(file: StoreFile, max_records: int) -> None:
    """Remove the records of offline users who were seen longest ago, beyond ``max_records``."""
    file.writer.execute(
        "DELETE FROM attendance WHERE since IS NULL AND NOT told AND last_seen < "
        "(SELECT last_seen FROM attendance ORDER BY last_seen DESC LIMIT 1 OFFSET ?)",
        (max_records,),
    )
