"""What is read back from the file; every function runs in a reading thread and sees what was committed before it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from callcenter_ws.broker.calls import Call
from callcenter_ws.broker.recent_ids import MAX_IDS, WINDOW
from callcenter_ws.broker.sqlite.codec import COLUMNS, Row, event_of, publication_of, recall_call
from callcenter_ws.broker.sqlite.file import StoreFile
from callcenter_ws.broker.sqlite.schema import place_of, seq_of
from callcenter_ws.broker.stream import Stream
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import MailboxGap, MailboxItem, MailboxPage, PresenceRecord, Revocation
from callcenter_ws.runtime.json import decode_json

MAX_MAIL_USERS = 50_000
"""Users of one tenant of whom it is known in memory that they may have mail."""

CHUNK_BYTES = 262_144
"""Payload bytes after which a stretch ends, so that nobody's large events fill the memory."""


@dataclass(slots=True)
class Loaded:
    """A tenant as the file has it.

    Attributes:
        number: the tenant's; None for one that never published.
        floor: the position up to which the history is gone.
        checkpoint: the position that the stored state and calls describe.
        oldest: the Unix time when the history begins; None: there is none.
        mail_users: who may have mail; None: too many to know.
        stored_state: the positions whose events the file keeps for the state.
        changed_calls: the calls that have changed since the checkpoint.
    """

    number: int | None = None
    floor: int = 0
    checkpoint: int = 0
    oldest: float | None = None
    mail_users: set[str] | None = field(default_factory=set)
    stored_state: set[int] = field(default_factory=set)
    changed_calls: set[str] = field(default_factory=set)
    stream: Stream = field(default_factory=Stream)


def load(file: StoreFile, tenant_id: str, now: float, clock_offset: float) -> Loaded:
    """Return a tenant's stream: the state and the calls of its checkpoint, and what has come since applied to them.

    Args:
        now: the monotonic clock's.
    """
    db = file.reader()
    db.execute("BEGIN")
    try:
        found = db.execute("SELECT id, floor, checkpoint, oldest FROM tenant WHERE name = ?", (tenant_id,)).fetchone()
        if found is None:
            return Loaded()
        loaded = Loaded(*found)
        _load_state(db, loaded, tenant_id, clock_offset)
        _load_calls(db, loaded, clock_offset)
        _load_history(db, loaded, tenant_id, clock_offset)
        _load_identifiers(db, loaded, now, clock_offset)
        _load_mail_users(db, loaded)
        return loaded
    finally:
        db.execute("COMMIT")


def _load_state(db: sqlite3.Connection, loaded: Loaded, tenant_id: str, clock_offset: float) -> None:
    for row in _rows(db, "state", loaded.number, 0):
        loaded.stored_state.add(seq_of(row[0]))
        loaded.stream.state.restore(publication_of(row, tenant_id, clock_offset))


def _load_calls(db: sqlite3.Connection, loaded: Loaded, clock_offset: float) -> None:
    known = db.execute(
        "SELECT call_id, queue_name, agents, touched_at FROM call WHERE tenant = ? ORDER BY touched_at",
        (loaded.number,),
    )
    for call_id, queue_name, agents, touched_at in known:
        loaded.stream.calls.restore(call_id, Call(queue_name, tuple(decode_json(agents)), touched_at - clock_offset))


def _load_history(db: sqlite3.Connection, loaded: Loaded, tenant_id: str, clock_offset: float) -> None:
    stream = loaded.stream
    stream.history.head = loaded.checkpoint
    for row in _rows(db, "event", loaded.number, loaded.checkpoint):
        event = event_of(row, tenant_id, clock_offset)
        stream.calls.complete(event)
        if event.call_id is not None:
            loaded.changed_calls.add(event.call_id)
        # The same by construction, unless a later release knows more about calls: then what was delivered counts.
        recall_call(event, row)
        stream.settle(Publication(event, seq_of(row[0])))
    stream.staged = stream.history.head


def _load_identifiers(db: sqlite3.Connection, loaded: Loaded, now: float, clock_offset: float) -> None:
    recent = []
    places = (place_of(loaded.number or 0, 0), place_of((loaded.number or 0) + 1, 0))
    for event_id, place, received_at in db.execute(
        "SELECT event_id, place, received_at FROM event WHERE place > ? AND place < ? ORDER BY place DESC LIMIT ?",
        (*places, MAX_IDS),
    ):
        if received_at - clock_offset < now - WINDOW:
            break
        recent.append((event_id, seq_of(place), received_at - clock_offset))
    for event_id, seq, received_at in reversed(recent):
        loaded.stream.recent.remember(event_id, seq, received_at)


def _load_mail_users(db: sqlite3.Connection, loaded: Loaded) -> None:
    # From one user of the index to the next, without looking at the messages of each.
    found = db.execute(
        """
        WITH RECURSIVE user (id) AS (
            SELECT min(user_id) FROM mail WHERE tenant = ?1
            UNION ALL
            SELECT (SELECT min(user_id) FROM mail WHERE tenant = ?1 AND user_id > user.id)
            FROM user WHERE user.id IS NOT NULL
        )
        SELECT id FROM user WHERE id IS NOT NULL UNION SELECT user_id FROM mail_loss WHERE tenant = ?1 LIMIT ?2
        """,
        (loaded.number, MAX_MAIL_USERS + 1),
    )
    users = {user_id for (user_id,) in found}
    loaded.mail_users = users if len(users) <= MAX_MAIL_USERS else None


def _rows(db: sqlite3.Connection, table: str, number: int | None, after: int) -> sqlite3.Cursor:
    low, high = place_of(number or 0, after), place_of((number or 0) + 1, 0)
    return db.execute(
        f"SELECT {COLUMNS} FROM {table} WHERE place > ? AND place < ? ORDER BY place",  # noqa: S608 - our own names
        (low, high),
    )


def stretch(
    file: StoreFile, tenant_id: str, number: int, after: int, limit: int, clock_offset: float
) -> Sequence[Publication]:
    """Return at most ``limit`` messages that follow ``after`` without a hole; none when that one is gone."""
    low, high = place_of(number, after), place_of(number + 1, 0)
    found = file.reader().execute(
        f"SELECT {COLUMNS} FROM event WHERE place > ? AND place < ? ORDER BY place LIMIT ?",  # noqa: S608 - our own names
        (low, high, limit),
    )
    publications: list[Publication] = []
    size = 0
    for row in found:
        if seq_of(row[0]) != after + len(publications) + 1:
            break
        publications.append(publication_of(row, tenant_id, clock_offset))
        size += len(row[10])
        if size > CHUNK_BYTES:
            break
    return publications


def mail(
    file: StoreFile, tenant_id: str, number: int, user_id: str, after: int, limit: int, now: float, clock_offset: float
) -> MailboxPage:
    """Return a stretch of a user's mailbox. ``now`` is Unix time."""
    db = file.reader()
    found = db.execute(
        f"SELECT {COLUMNS}, sent FROM mail WHERE tenant = ? AND user_id = ? AND place > ? AND ends_at > ? "  # noqa: S608 - our own names
        "ORDER BY place LIMIT ?",
        (number, user_id, place_of(number, after), now, limit),
    )
    items = []
    size = 0
    for row in found:
        items.append(MailboxItem(_whole(row, tenant_id, clock_offset), bool(row[-1])))
        size += len(row[10])
        if size > CHUNK_BYTES:
            break
    gap = db.execute(
        "SELECT from_seq, to_seq FROM mail_loss WHERE tenant = ? AND user_id = ?", (number, user_id)
    ).fetchone()
    return MailboxPage(items, None if gap is None else MailboxGap(*gap))


def _whole(row: Row, tenant_id: str, clock_offset: float) -> Publication:
    return publication_of(row[:-1], tenant_id, clock_offset)


def attendance(db: sqlite3.Connection, most: int) -> list[PresenceRecord]:
    """Return what was noted of at most so many users, those seen last, longest ago first.

    Who had not left was seen until the process that noted it wrote for the last time.
    """
    alive = db.execute("SELECT value FROM store WHERE name = 'alive_at'").fetchone()
    alive_at = 0.0 if alive is None else float(alive[0])
    found = db.execute(
        "SELECT tenant_id, user_id, visitor, since, last_seen, told FROM attendance ORDER BY last_seen DESC LIMIT ?",
        (most,),
    ).fetchall()
    return [
        PresenceRecord(
            tenant_id, user_id, bool(visitor), since, seen if since is None else max(seen, alive_at), told=bool(told)
        )
        for tenant_id, user_id, visitor, since, seen, told in reversed(found)
    ]


def revocations(db: sqlite3.Connection) -> list[Revocation]:
    """Return everything that was revoked."""
    return [
        Revocation(tenant_id, name if kind == "token" else None, name if kind == "user" else None, at)
        for tenant_id, kind, name, at in db.execute("SELECT tenant_id, kind, name, at FROM revocation ORDER BY at")
    ]


def dormant(file: StoreFile, before: float, most: int) -> list[str]:
    """Return tenants whose history begins before that Unix time."""
    found = file.reader().execute("SELECT name FROM tenant WHERE oldest < ? ORDER BY oldest LIMIT ?", (before, most))
    return [str(name) for (name,) in found]
