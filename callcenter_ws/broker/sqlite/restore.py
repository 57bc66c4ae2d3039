"""Restores tenants, presence and revocations from the file: after a start, and for tenants evicted from memory.

A tenant's stream is restored from its last checkpoint, which holds its state and its calls, and from the events after
it. ``restore_tenant`` runs in a reading thread and sees what was committed before it.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field

import msgspec

from callcenter_ws.broker.recent_ids import WINDOW_SECONDS
from callcenter_ws.broker.source_marks import SourceMark
from callcenter_ws.broker.sqlite.codec import (
    COLUMNS,
    changed_row,
    event_of,
    publication_of,
    restore_call,
    restore_values,
)
from callcenter_ws.broker.sqlite.file import StoreFile
from callcenter_ws.broker.sqlite.schema import place_of, seq_of
from callcenter_ws.broker.stream import Stream
from callcenter_ws.events.catalogue import EntityKey
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import REVOCATION_LIFETIME_SECONDS, PresenceRecord, Revocation, SourceRecord

MAX_MAIL_USERS = 50_000
"""Users of one tenant that are remembered as having mail; with more of them, every mailbox is read."""


_decode_source = msgspec.json.Decoder(SourceRecord).decode


MANY_REVOCATIONS = 50_000
"""Above this, revocations that may be forgotten are removed from the file when it is opened."""


@dataclass(slots=True)
class RestoredTenant:
    """A tenant as the file has it.

    Attributes:
        number: the tenant's number in the file; None for a tenant that never published.
        floor: the position up to which the history was trimmed.
        checkpoint: the position of the stored state and calls.
        oldest: the time of the oldest event in the history, in Unix seconds; None if the history is empty.
        checkpoint_bytes: bytes of payload of the history up to the checkpoint.
        bytes_since_checkpoint: bytes of payload of the events after it.
        mail_users: the users with items in their mailboxes; None: more than ``MAX_MAIL_USERS``.
        stored_state: the positions of the events stored for the state.
        stored_owners: those of entities that had events of several senders, as of the checkpoint.
        changed_calls: the keys of the rows of calls and chats that have changed since the checkpoint.
    """

    number: int | None = None
    floor: int = 0
    checkpoint: int = 0
    oldest: float | None = None
    checkpoint_bytes: int = 0
    bytes_since_checkpoint: int = 0
    mail_users: set[str] | None = field(default_factory=set)
    stored_state: set[int] = field(default_factory=set)
    stored_owners: dict[EntityKey, str | None] = field(default_factory=dict)
    changed_calls: set[str] = field(default_factory=set)
    stream: Stream = field(default_factory=Stream)


def restore_tenant(
    file: StoreFile, tenant_id: str, now: float, clock_offset: float, chat_messages: int
) -> RestoredTenant:
    """Return a tenant with its stream.

    Args:
        now: seconds of the monotonic clock.
        clock_offset: Unix time less the time of the monotonic clock.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    db = file.reader()
    db.execute("BEGIN")
    try:
        found = db.execute(
            "SELECT id, floor, checkpoint, oldest, bytes FROM tenant WHERE name = ?", (tenant_id,)
        ).fetchone()
        stream = Stream(chat_messages)
        if found is None:
            # A source may have a mark, though: its only event was refused.
            tenant = RestoredTenant(stream=stream)
            _restore_marks(db, tenant, tenant_id)
            return tenant
        tenant = RestoredTenant(*found)
        tenant.stream = stream
        _restore_state(db, tenant, tenant_id, clock_offset)
        _restore_calls(db, tenant, clock_offset)
        _apply_events_since_checkpoint(db, tenant, tenant_id, clock_offset)
        _restore_recent_ids(db, tenant, now, clock_offset)
        _restore_mail_users(db, tenant)
        _restore_marks(db, tenant, tenant_id)
        return tenant
    finally:
        db.execute("COMMIT")


def _restore_state(db: sqlite3.Connection, tenant: RestoredTenant, tenant_id: str, clock_offset: float) -> None:
    for row in _rows(db, "state", tenant.number, 0):
        tenant.stored_state.add(seq_of(row[0]))
        publication = publication_of(row, tenant_id, clock_offset)
        tenant.stream.state.restore(publication)
        if publication.event.type.of_chat:
            # A chat that was opened before this release has no row of its own.
            tenant.stream.chats.complete(event_of(row, tenant_id, clock_offset))
    tenant.stream.state.end_restore()
    owners = db.execute("SELECT entity, source FROM entity_owner WHERE tenant = ?", (tenant.number,))
    tenant.stored_owners = {tuple(json.loads(key)): source for key, source in owners}
    tenant.stream.state.restore_owners(tenant.stored_owners)


def _restore_calls(db: sqlite3.Connection, tenant: RestoredTenant, clock_offset: float) -> None:
    known = db.execute(
        "SELECT call_id, queue_name, agents, touched_at FROM call WHERE tenant = ? ORDER BY touched_at",
        (tenant.number,),
    )
    for key, *values in known:
        restore_values(tenant.stream, key, (values[0], values[1], values[2]), clock_offset)


def _apply_events_since_checkpoint(
    db: sqlite3.Connection, tenant: RestoredTenant, tenant_id: str, clock_offset: float
) -> None:
    stream = tenant.stream
    stream.history.head = tenant.checkpoint
    for row in _rows(db, "event", tenant.number, tenant.checkpoint):
        event = event_of(row, tenant_id, clock_offset)
        stream.complete(event)
        if event.call_id is not None or event.type.of_chat:
            tenant.changed_calls.add(changed_row(event))
        # Equal to the completed event, unless this release completes events differently: use what was delivered.
        restore_call(event, row)
        stream.append(Publication(event, seq_of(row[0])))
        tenant.bytes_since_checkpoint += len(event.payload)
    stream.staged = stream.history.head


def _restore_recent_ids(db: sqlite3.Connection, tenant: RestoredTenant, now: float, clock_offset: float) -> None:
    places = (place_of(tenant.number or 0, 0), place_of((tenant.number or 0) + 1, 0))
    since = now + clock_offset - WINDOW_SECONDS
    remember = tenant.stream.remember_id
    for (ids,) in db.execute(
        "SELECT ids FROM recent_id WHERE place > ? AND place < ? AND received_at >= ? ORDER BY place", (*places, since)
    ):
        for event_id, origin, seq, received_at in json.loads(ids):
            if received_at >= since:
                remember(event_id, origin, seq, received_at - clock_offset)
    recent = []
    for event_id, place, received_at, origin in db.execute(
        "SELECT event_id, place, received_at, origin FROM event WHERE place > ? AND place < ? ORDER BY place DESC",
        places,
    ):
        if received_at < since:
            break
        recent.append((event_id, origin, seq_of(place), received_at - clock_offset))
    for found in reversed(recent):
        remember(*found)


def _restore_mail_users(db: sqlite3.Connection, tenant: RestoredTenant) -> None:
    # Each step finds the next user in the index; the items of a user are not scanned.
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
        (tenant.number, MAX_MAIL_USERS + 1),
    )
    users = {user_id for (user_id,) in found}
    tenant.mail_users = users if len(users) <= MAX_MAIL_USERS else None


def _restore_marks(db: sqlite3.Connection, tenant: RestoredTenant, tenant_id: str) -> None:
    found = db.execute(
        "SELECT source, generation, source_seq, announced FROM source_mark WHERE tenant_id = ?", (tenant_id,)
    )
    for source, *numbers in found:
        tenant.stream.marks.restore(source, SourceMark(*numbers))


def _rows(db: sqlite3.Connection, table: str, number: int | None, after: int) -> sqlite3.Cursor:
    low, high = place_of(number or 0, after), place_of((number or 0) + 1, 0)
    return db.execute(
        f"SELECT {COLUMNS} FROM {table} WHERE place > ? AND place < ? ORDER BY place",  # noqa: S608 - names from our code
        (low, high),
    )


def restore_presence(db: sqlite3.Connection, max_records: int) -> list[PresenceRecord]:
    """Return at most ``max_records`` presence records, those of the users seen last, oldest first.

    Users who were online when the process ended were seen until it wrote for the last time.
    """
    alive = db.execute("SELECT value FROM store WHERE name = 'alive_at'").fetchone()
    alive_at = 0.0 if alive is None else float(alive[0])
    found = db.execute(
        "SELECT tenant_id, user_id, visitor, since, last_seen, told FROM attendance ORDER BY last_seen DESC LIMIT ?",
        (max_records,),
    ).fetchall()
    return [
        PresenceRecord(
            tenant_id,
            user_id,
            bool(visitor),
            since,
            seen if since is None else max(seen, alive_at),
            announced=bool(told),
        )
        for tenant_id, user_id, visitor, since, seen, told in reversed(found)
    ]


def restore_sources(db: sqlite3.Connection) -> list[SourceRecord]:
    """Return the registered sources."""
    return [_decode_source(record) for (record,) in db.execute("SELECT record FROM source ORDER BY scope, name")]


def restore_revocations(db: sqlite3.Connection, now: float) -> list[Revocation]:
    """Return all revocations, oldest first; remove those that may be forgotten if there are many."""
    (count,) = db.execute("SELECT count(*) FROM revocation").fetchone()
    if count > MANY_REVOCATIONS:
        db.execute("DELETE FROM revocation WHERE at < ?", (now - REVOCATION_LIFETIME_SECONDS,))
    return [
        Revocation(tenant_id, name if kind == "token" else None, name if kind == "user" else None, at)
        for tenant_id, kind, name, at in db.execute("SELECT tenant_id, kind, name, at FROM revocation ORDER BY at")
    ]
