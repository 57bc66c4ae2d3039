"""Transaction: what is written in one transaction, and how.

Everything in here runs in the store's writing thread, in few and long statements; ``sqlite_file.insert`` says why.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from callcenter_ws.broker.mailboxes import MAX_ITEMS, is_loss
from callcenter_ws.broker.sqlite.codec import COLUMNS, WIDTH, Row
from callcenter_ws.broker.sqlite.file import StoreFile
from callcenter_ws.broker.sqlite.schema import place_of, seq_of
from callcenter_ws.interfaces import PresenceRecord, Revocation
from callcenter_ws.runtime.sqlite import insert, roll_back

TRIM_EVENTS = 500
"""Events that are forgotten in one transaction, so that the next group does not wait for long."""

_MAIL_WIDTH = WIDTH + 2

MailKey = tuple[int, str, str]
"""Tenant's number, user, event id."""


@dataclass(slots=True)
class Checkpoint:
    """What a tenant's stream came to, as the difference to the checkpoint before.

    Attributes:
        seq: the position that it describes.
        fresh, stale: positions whose events the state is made of now, and is not any more.
        calls: what is known of the calls that changed; None: nothing any more.
        calls_since: calls that were touched before this Unix time are forgotten.
    """

    tenant: int
    seq: int
    fresh: Sequence[int]
    stale: Sequence[int]
    calls: Sequence[tuple[str, tuple[str | None, str, float] | None]]
    calls_since: float


@dataclass(slots=True)
class Transaction:
    """One transaction.

    Attributes:
        tenants: numbers and names of tenants whose history begins, for the first time or again, and the Unix time
            when it does.
        told: users who know by now what their mailboxes have lost.
        events, values: rows of events, how many and all their values in a row.
        letters: rows of events for mailboxes, with the tenant's number and the Unix time when they end.
        announced: tenants and users whose coming or going is among the events, and which of the two.
        facts: notes about the store itself.
    """

    tenants: list[tuple[int, str, float]] = field(default_factory=list)
    events: int = 0
    values: list[Any] = field(default_factory=list)
    items: list[Row] = field(default_factory=list)
    sent: list[MailKey] = field(default_factory=list)
    taken: list[MailKey] = field(default_factory=list)
    told: list[tuple[int, str]] = field(default_factory=list)
    attendance: list[PresenceRecord] = field(default_factory=list)
    revocations: list[Revocation] = field(default_factory=list)
    announced: dict[tuple[str, str], bool] = field(default_factory=dict)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        notes = (self.sent, self.taken, self.told, self.attendance, self.revocations, self.facts)
        return any((self.tenants, self.events, self.checkpoints, *notes))


def write(file: StoreFile, group: Transaction) -> None:
    """Write a group, all of it or nothing.

    Raises:
        sqlite3.Error: nothing was written.
    """
    db = file.writer
    db.execute("BEGIN IMMEDIATE")
    try:
        _begin_histories(db, group.tenants)
        # What is noted about mail concerns what was delivered before.
        _note_mail(db, group)
        insert(db, f"event ({COLUMNS})", WIDTH, group.values)
        if group.items:
            insert(db, f"mail ({COLUMNS}, tenant, ends_at)", _MAIL_WIDTH, _flat(group.items))
            _bound_mailboxes(db, group.items)
        _note_attendance(db, group.attendance)
        _note_announcements(db, group.announced)
        _note_revocations(db, group.revocations)
        for checkpoint in group.checkpoints:
            _write_checkpoint(db, checkpoint)
        if group.facts:
            file.put(**group.facts)
        db.execute("COMMIT")
    except BaseException:
        roll_back(db)
        raise


def _flat(rows: Iterable[Row]) -> list[Any]:
    return [value for row in rows for value in row]


def _begin_histories(db: sqlite3.Connection, tenants: Iterable[tuple[int, str, float]]) -> None:
    for tenant in tenants:
        db.execute(
            "INSERT INTO tenant (id, name, oldest) VALUES (?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET oldest = excluded.oldest",
            tenant,
        )


# Mailboxes


def _listed(rows: Iterable[tuple[Any, ...]]) -> str:
    """Rows as JSON. SQLite's ends a text at its first NUL, which would name another: such names are left out."""
    return json.dumps([row for row in rows if not any(isinstance(part, str) and "\0" in part for part in row)])


# In all of these the names lead, one by one, to the rows, and not the tenant to all its rows: ``IN (SELECT …)`` with
# more than one column uses the first column of an index alone.
_OVERFULL = """
    DELETE FROM mail WHERE place IN (
        SELECT mail.place FROM json_each(?1) AS user CROSS JOIN mail
        WHERE mail.tenant = user.value ->> 0 AND mail.user_id = user.value ->> 1 AND mail.place <= (
            SELECT place FROM mail AS newer
            WHERE newer.tenant = user.value ->> 0 AND newer.user_id = user.value ->> 1
            ORDER BY place DESC LIMIT 1 OFFSET ?2
        )
    ) RETURNING tenant, user_id, place
"""
_NAMED = """
    SELECT mail.place FROM json_each(?) AS letter CROSS JOIN mail
    WHERE mail.tenant = letter.value ->> 0 AND mail.user_id = letter.value ->> 1 AND mail.event_id = letter.value ->> 2
"""
_MARK_SENT = f"UPDATE mail SET sent = 1 WHERE place IN ({_NAMED})"  # noqa: S608 - our own text
_STRIKE_OFF = f"DELETE FROM mail WHERE place IN ({_NAMED}) RETURNING tenant, user_id"  # noqa: S608 - our own text


def _bound_mailboxes(db: sqlite3.Connection, items: Iterable[Row]) -> None:
    """Let the oldest fall out of mailboxes that hold too much by now."""
    users = {(row[WIDTH], row[4]) for row in items}
    _note_losses(db, db.execute(_OVERFULL, (_listed(users), MAX_ITEMS)).fetchall())


def _note_losses(db: sqlite3.Connection, lost: Iterable[tuple[int, str, int]]) -> None:
    rows = [(tenant, user_id, seq_of(place), seq_of(place)) for tenant, user_id, place in lost]
    for row in rows:
        db.execute(
            """
            INSERT INTO mail_loss VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
            SET from_seq = min(from_seq, excluded.from_seq), to_seq = max(to_seq, excluded.to_seq)
            """,
            row,
        )


def _note_mail(db: sqlite3.Connection, group: Transaction) -> None:
    told = set(group.told)
    if group.sent:
        db.execute(_MARK_SENT, (_listed(group.sent),))
    if group.taken:
        # What was lost was told before what has been taken now.
        told.update(db.execute(_STRIKE_OFF, (_listed(group.taken),)).fetchall())
    if told and db.execute("SELECT 1 FROM mail_loss LIMIT 1").fetchone():
        for user in told:
            db.execute("DELETE FROM mail_loss WHERE tenant = ? AND user_id = ?", user)


def end_mail(file: StoreFile, now: float) -> bool:
    """Let messages fall out of mailboxes whose time is over, a bounded number; tell whether there may be more."""
    db = file.writer
    db.execute("BEGIN IMMEDIATE")
    try:
        ended = db.execute(
            "DELETE FROM mail WHERE place IN (SELECT place FROM mail WHERE ends_at <= ? LIMIT ?) "
            "RETURNING tenant, user_id, place, received_at, ends_at",
            (now, TRIM_EVENTS),
        ).fetchall()
        _note_losses(db, [row[:3] for row in ended if is_loss(row[3], row[4])])
        db.execute("COMMIT")
    except BaseException:
        roll_back(db)
        raise
    return len(ended) == TRIM_EVENTS


# Who was here


def _note_attendance(db: sqlite3.Connection, notes: Sequence[PresenceRecord]) -> None:
    rows = [(note.tenant_id, note.user_id, note.visitor, note.since, note.last_seen) for note in notes]
    columns = "attendance (tenant_id, user_id, visitor, since, last_seen)"
    insert(
        db, columns, 5, _flat(rows), "ON CONFLICT DO UPDATE SET since = excluded.since, last_seen = excluded.last_seen"
    )


def _note_announcements(db: sqlite3.Connection, announced: dict[tuple[str, str], bool]) -> None:
    for told in (True, False):
        users = [key for key, online in announced.items() if online is told]
        if users:
            db.execute(
                """
                UPDATE attendance SET told = ?1 FROM json_each(?2) AS user
                WHERE tenant_id = user.value ->> 0 AND user_id = user.value ->> 1 AND visitor = 0
                """,
                (told, _listed(users)),
            )


def _note_revocations(db: sqlite3.Connection, revocations: Sequence[Revocation]) -> None:
    rows = [(one.tenant_id, "token", one.jti, one.at) for one in revocations if one.jti is not None]
    rows += [(one.tenant_id, "user", one.user_id, one.at) for one in revocations if one.user_id is not None]
    # What is named twice in one statement would be a conflict within it.
    latest = {row[:3]: row for row in rows}
    insert(db, "revocation", 4, _flat(latest.values()), "ON CONFLICT DO UPDATE SET at = excluded.at")


# Checkpoints and retention


def _write_checkpoint(db: sqlite3.Connection, checkpoint: Checkpoint) -> None:
    tenant = checkpoint.tenant
    if checkpoint.fresh:
        places = json.dumps([place_of(tenant, seq) for seq in checkpoint.fresh])
        db.execute(
            f"INSERT INTO state SELECT {COLUMNS} FROM event WHERE place IN (SELECT value FROM json_each(?))",  # noqa: S608 - our own names
            (places,),
        )
    if checkpoint.stale:
        places = json.dumps([place_of(tenant, seq) for seq in checkpoint.stale])
        db.execute("DELETE FROM state WHERE place IN (SELECT value FROM json_each(?))", (places,))
    known = [(tenant, call_id, *call) for call_id, call in checkpoint.calls if call is not None]
    replace = (
        "ON CONFLICT DO UPDATE SET queue_name = excluded.queue_name, agents = excluded.agents, "
        "touched_at = excluded.touched_at"
    )
    insert(db, "call", 5, _flat(known), replace)
    gone = _listed([(call_id,) for call_id, call in checkpoint.calls if call is None])
    db.execute(
        "DELETE FROM call "
        "WHERE tenant = ?1 AND (call_id IN (SELECT value ->> 0 FROM json_each(?2)) OR touched_at < ?3)",
        (tenant, gone, checkpoint.calls_since),
    )
    db.execute("UPDATE tenant SET checkpoint = ? WHERE id = ?", (checkpoint.seq, tenant))


@dataclass(frozen=True, slots=True)
class Trim:
    """What of a tenant's history may go.

    Attributes:
        floor: the position up to which it has gone.
        by_count: it goes up to here, whatever its age.
        by_age: what was received before this Unix time goes, too.
        most: but nothing beyond this position.
    """

    tenant: int
    floor: int
    by_count: int
    by_age: float
    most: int


@dataclass(frozen=True, slots=True)
class Trimmed:
    """How far the history has gone, whether more of it may, and since when (Unix time) there is any."""

    floor: int
    more: bool
    oldest: float | None


def trim(file: StoreFile, wanted: Trim) -> Trimmed:
    """Forget the oldest events of a tenant, at most ``TRIM_EVENTS``."""
    db = file.writer
    low, high = place_of(wanted.tenant, wanted.floor), place_of(wanted.tenant, wanted.most)
    db.execute("BEGIN IMMEDIATE")
    try:
        kept = db.execute(
            "SELECT place, received_at FROM event WHERE place > ? AND place <= ? AND place > ? AND received_at >= ? "
            "ORDER BY place LIMIT 1",
            (low, low + TRIM_EVENTS, place_of(wanted.tenant, wanted.by_count), wanted.by_age),
        ).fetchone()
        end = min(high, low + TRIM_EVENTS, *([] if kept is None else [kept[0] - 1]))
        db.execute("DELETE FROM event WHERE place > ? AND place <= ?", (low, end))
        oldest = db.execute(
            "SELECT received_at FROM event WHERE place > ? AND place < ? ORDER BY place LIMIT 1",
            (end, place_of(wanted.tenant + 1, 0)),
        ).fetchone()
        floor = max(wanted.floor, seq_of(end))
        begins = None if oldest is None else oldest[0]
        db.execute("UPDATE tenant SET floor = max(floor, ?), oldest = ? WHERE id = ?", (floor, begins, wanted.tenant))
        db.execute("COMMIT")
    except BaseException:
        roll_back(db)
        raise
    return Trimmed(floor, kept is None and end == low + TRIM_EVENTS and end < high, begins)


def forget_attendance(file: StoreFile, most: int) -> None:
    """Forget the users who were seen longest ago, beyond ``most``."""
    file.writer.execute(
        "DELETE FROM attendance WHERE since IS NULL AND NOT told AND last_seen < "
        "(SELECT last_seen FROM attendance ORDER BY last_seen DESC LIMIT 1 OFFSET ?)",
        (most,),
    )
