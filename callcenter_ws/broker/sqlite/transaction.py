"""A transaction of the group commit: its content, and how it is written.

``write`` runs in the store's writing thread and uses few and long statements; ``runtime.sqlite.insert`` says why.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from callcenter_ws.broker.account_table import Record
from callcenter_ws.broker.mailboxes import MAX_ITEMS
from callcenter_ws.broker.source_marks import SourceMark
from callcenter_ws.broker.sqlite.account_rows import AccountKey, save_accounts
from callcenter_ws.broker.sqlite.codec import COLUMNS, WIDTH, CallValues, Row
from callcenter_ws.broker.sqlite.command_rows import save_commands
from callcenter_ws.broker.sqlite.figure_rows import FigureChanges, save_figures
from callcenter_ws.broker.sqlite.file import StoreFile
from callcenter_ws.broker.sqlite.schema import place_of, seq_of
from callcenter_ws.events.commands import CommandKey, CommandRecord
from callcenter_ws.interfaces import PresenceRecord, Revocation, SourceRecord
from callcenter_ws.runtime.json import encode_json
from callcenter_ws.runtime.sqlite import insert, roll_back

_MAIL_WIDTH = WIDTH + 2

MailKey = tuple[int, str, str]
"""A mailbox item: number of the tenant, user, event id."""


@dataclass(slots=True)
class Checkpoint:
    """State and calls of a tenant's stream, as the difference from the last checkpoint.

    Attributes:
        tenant: its number.
        seq: the position of the checkpoint.
        size: bytes of payload of the events since the last checkpoint.
        added, removed: the positions of events that are part of the state now, and of those that no longer are.
        calls: the calls and chats that have changed, by the keys of their rows; None: no longer remembered.
        calls_since: calls and chats without an event since this Unix time are removed.
        owners: the entities of several senders that were added, by their keys as JSON, with their owners.
        disowned: the keys of those that no longer are.
    """

    tenant: int
    seq: int
    size: int
    added: Sequence[int]
    removed: Sequence[int]
    calls: Sequence[tuple[str, CallValues | None]]
    calls_since: float
    owners: Sequence[tuple[str, str | None]] = ()
    disowned: Sequence[str] = ()


@dataclass(slots=True)
class Transaction:
    """What one transaction writes.

    Attributes:
        begun_histories: number, name and Unix time of the first event, of tenants whose history begins: for the first
            time, or after it was trimmed completely.
        event_count: the number of events.
        event_values: the values of their rows, one after the other.
        mail_rows: rows of events for mailboxes, with the tenant's number and the Unix time when they expire.
        sent: mailbox items that were written to a socket of their user.
        acknowledged: mailbox items that their user has received.
        reported_gaps: tenants' numbers and users to whom the gap of their mailbox was reported.
        presence: the records to be saved, one for each user.
        marks: those of sources that the events raise, by tenant and source.
        sources: the records of sources to be saved, by scope and name; None: to be removed.
        announced: by tenant and user, whether the last ``presence.changed`` among the events says ``online``.
        figures: rows of folds, of each tenant once.
        accounts: users, sessions and waiting screens by kind and key; None: to be removed.
        commands: by key; None: to be removed.
        metadata: values about the store itself.
        seconds: how long writing took. This and ``mail_displaced`` are set by ``write``.
        mail_displaced: mailbox items that gave way to newer ones.
    """

    begun_histories: list[tuple[int, str, float]] = field(default_factory=list)
    event_count: int = 0
    event_values: list[object] = field(default_factory=list)  # values of several types, see codec.COLUMNS
    mail_rows: list[Row] = field(default_factory=list)
    sent: list[MailKey] = field(default_factory=list)
    acknowledged: list[MailKey] = field(default_factory=list)
    reported_gaps: list[tuple[int, str]] = field(default_factory=list)
    presence: list[PresenceRecord] = field(default_factory=list)
    revocations: list[Revocation] = field(default_factory=list)
    marks: dict[tuple[str, str], SourceMark] = field(default_factory=dict)
    sources: dict[tuple[str, str], SourceRecord | None] = field(default_factory=dict)
    announced: dict[tuple[str, str], bool] = field(default_factory=dict)
    checkpoints: list[Checkpoint] = field(default_factory=list)
    figures: list[FigureChanges] = field(default_factory=list)
    accounts: dict[AccountKey, Record | None] = field(default_factory=dict)
    commands: dict[CommandKey, CommandRecord | None] = field(default_factory=dict)
    metadata: dict[str, object] = field(default_factory=dict)
    seconds: float = 0.0
    mail_displaced: int = 0

    def __bool__(self) -> bool:
        """Return whether there is anything to write."""
        mail = (self.sent, self.acknowledged, self.reported_gaps)
        others = (self.presence, self.revocations, self.metadata, self.marks, self.sources, self.figures)
        asked = (self.accounts, self.commands)
        return any((self.begun_histories, self.event_count, self.checkpoints, *mail, *others, *asked))


def write(file: StoreFile, transaction: Transaction) -> None:
    """Write a transaction, all of it or nothing.

    Raises:
        sqlite3.Error: nothing was written.
    """
    db, began = file.writer, time.monotonic()
    db.execute("BEGIN IMMEDIATE")
    try:
        _begin_histories(db, transaction.begun_histories)
        # Before new items: acknowledgements concern items that were delivered earlier.
        _update_mailboxes(db, transaction)
        insert(db, f"event ({COLUMNS})", WIDTH, transaction.event_values)
        if transaction.mail_rows:
            insert(db, f"mail ({COLUMNS}, tenant, ends_at)", _MAIL_WIDTH, _flat(transaction.mail_rows))
            transaction.mail_displaced = _limit_mailboxes(db, transaction.mail_rows)
        _save_presence(db, transaction.presence)
        _save_announcements(db, transaction.announced)
        _save_revocations(db, transaction.revocations)
        _save_marks(db, transaction.marks)
        _save_sources(db, transaction.sources)
        for checkpoint in transaction.checkpoints:
            _write_checkpoint(db, checkpoint)
        save_figures(db, transaction.figures)
        save_accounts(db, transaction.accounts)
        save_commands(db, transaction.commands)
        if transaction.metadata:
            file.set_metadata(**transaction.metadata)
        db.execute("COMMIT")
    except BaseException:
        roll_back(db)
        raise
    transaction.seconds = time.monotonic() - began


def _flat(rows: Iterable[Row]) -> list[object]:
    return [value for row in rows for value in row]


def _begin_histories(db: sqlite3.Connection, tenants: Iterable[tuple[int, str, float]]) -> None:
    for tenant in tenants:
        db.execute(
            "INSERT INTO tenant (id, name, oldest) VALUES (?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET oldest = excluded.oldest",
            tenant,
        )


# Mailboxes


def _json_rows(rows: Iterable[tuple[object, ...]]) -> str:
    """Return rows as JSON, without those that contain a NUL.

    SQLite ends a text from JSON at its first NUL. The rest would be another identifier.
    """
    return json.dumps([row for row in rows if not any(isinstance(part, str) and "\0" in part for part in row)])


# In these statements each key finds its row by an index. ``IN (SELECT …)`` with more than one column would use only the
# first column of the index, and scan all rows of the tenant.
_REMOVE_EXCESS = """
    DELETE FROM mail WHERE place IN (
        SELECT mail.place FROM json_each(?1) AS user CROSS JOIN mail
        WHERE mail.tenant = user.value ->> 0 AND mail.user_id = user.value ->> 1 AND mail.place <= (
            SELECT place FROM mail AS newer
            WHERE newer.tenant = user.value ->> 0 AND newer.user_id = user.value ->> 1
            ORDER BY place DESC LIMIT 1 OFFSET ?2
        )
    ) RETURNING tenant, user_id, place
"""
_PLACES = """
    SELECT mail.place FROM json_each(?) AS item CROSS JOIN mail
    WHERE mail.tenant = item.value ->> 0 AND mail.user_id = item.value ->> 1 AND mail.event_id = item.value ->> 2
"""
_MARK_SENT = f"UPDATE mail SET sent = 1 WHERE place IN ({_PLACES})"  # noqa: S608 - text from our code
_ACKNOWLEDGE = f"DELETE FROM mail WHERE place IN ({_PLACES}) RETURNING tenant, user_id"  # noqa: S608 - text from our code


def _limit_mailboxes(db: sqlite3.Connection, mail_rows: Iterable[Row]) -> int:
    """Remove the oldest items of mailboxes that have become too large; return how many."""
    users = {(row[WIDTH], row[4]) for row in mail_rows}
    removed = db.execute(_REMOVE_EXCESS, (_json_rows(users), MAX_ITEMS)).fetchall()
    extend_gaps(db, removed)
    return len(removed)


def extend_gaps(db: sqlite3.Connection, removed: Iterable[tuple[int, str, int]]) -> None:
    """Extend the gaps of mailboxes by items that were removed undelivered.

    Args:
        removed: number of the tenant, user and place of each item.
    """
    for tenant, user_id, place in removed:
        db.execute(
            """
            INSERT INTO mail_loss VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
            SET from_seq = min(from_seq, excluded.from_seq), to_seq = max(to_seq, excluded.to_seq)
            """,
            (tenant, user_id, seq_of(place), seq_of(place)),
        )


def _update_mailboxes(db: sqlite3.Connection, transaction: Transaction) -> None:
    reported = set(transaction.reported_gaps)
    if transaction.sent:
        db.execute(_MARK_SENT, (_json_rows(transaction.sent),))
    if transaction.acknowledged:
        # The gap was reported before the items that are acknowledged now.
        reported.update(db.execute(_ACKNOWLEDGE, (_json_rows(transaction.acknowledged),)).fetchall())
    if reported and db.execute("SELECT 1 FROM mail_loss LIMIT 1").fetchone():
        for user in reported:
            db.execute("DELETE FROM mail_loss WHERE tenant = ? AND user_id = ?", user)


# Presence and revocations


def _save_presence(db: sqlite3.Connection, records: Sequence[PresenceRecord]) -> None:
    rows = [(one.tenant_id, one.user_id, one.visitor, one.since, one.last_seen) for one in records]
    columns = "attendance (tenant_id, user_id, visitor, since, last_seen)"
    insert(
        db, columns, 5, _flat(rows), "ON CONFLICT DO UPDATE SET since = excluded.since, last_seen = excluded.last_seen"
    )


def _save_announcements(db: sqlite3.Connection, announced: dict[tuple[str, str], bool]) -> None:
    for state in (True, False):
        users = [key for key, online in announced.items() if online is state]
        if users:
            db.execute(
                """
                UPDATE attendance SET told = ?1 FROM json_each(?2) AS user
                WHERE tenant_id = user.value ->> 0 AND user_id = user.value ->> 1 AND visitor = 0
                """,
                (state, _json_rows(users)),
            )


def _save_revocations(db: sqlite3.Connection, revocations: Sequence[Revocation]) -> None:
    rows = [(one.tenant_id, "token", one.jti, one.at) for one in revocations if one.jti is not None]
    rows += [(one.tenant_id, "user", one.user_id, one.at) for one in revocations if one.user_id is not None]
    # A key must not occur twice in one statement. The later time is kept, as in ``auth.revocation``.
    latest = {row[:3]: row for row in sorted(rows, key=lambda row: row[3])}
    insert(db, "revocation", 4, _flat(latest.values()), "ON CONFLICT DO UPDATE SET at = max(at, excluded.at)")


# Sources


def _save_marks(db: sqlite3.Connection, marks: dict[tuple[str, str], SourceMark]) -> None:
    rows = [(*key, mark.generation, mark.seq, mark.announced) for key, mark in marks.items()]
    columns = "source_mark (tenant_id, source, generation, source_seq, announced)"
    replace = (
        "ON CONFLICT DO UPDATE SET generation = excluded.generation, source_seq = excluded.source_seq, "
        "announced = excluded.announced"
    )
    insert(db, columns, 5, _flat(rows), replace)


def _save_sources(db: sqlite3.Connection, sources: dict[tuple[str, str], SourceRecord | None]) -> None:
    rows = [(*key, encode_json(record).decode()) for key, record in sources.items() if record is not None]
    insert(db, "source (scope, name, record)", 3, _flat(rows), "ON CONFLICT DO UPDATE SET record = excluded.record")
    for key, record in sources.items():
        if record is None:
            db.execute("DELETE FROM source WHERE scope = ? AND name = ?", key)


# Checkpoints


def _write_checkpoint(db: sqlite3.Connection, checkpoint: Checkpoint) -> None:
    tenant = checkpoint.tenant
    if checkpoint.added:
        places = json.dumps([place_of(tenant, seq) for seq in checkpoint.added])
        db.execute(
            f"INSERT INTO state SELECT {COLUMNS} FROM event WHERE place IN (SELECT value FROM json_each(?))",  # noqa: S608 - names from our code
            (places,),
        )
    if checkpoint.removed:
        places = json.dumps([place_of(tenant, seq) for seq in checkpoint.removed])
        db.execute("DELETE FROM state WHERE place IN (SELECT value FROM json_each(?))", (places,))
    known = [(tenant, call_id, *call) for call_id, call in checkpoint.calls if call is not None]
    replace = (
        "ON CONFLICT DO UPDATE SET queue_name = excluded.queue_name, agents = excluded.agents, "
        "touched_at = excluded.touched_at"
    )
    insert(db, "call", 5, _flat(known), replace)
    forgotten = _json_rows([(call_id,) for call_id, call in checkpoint.calls if call is None])
    db.execute(
        "DELETE FROM call "
        "WHERE tenant = ?1 AND (call_id IN (SELECT value ->> 0 FROM json_each(?2)) OR touched_at < ?3)",
        (tenant, forgotten, checkpoint.calls_since),
    )
    _write_owners(db, checkpoint)
    db.execute(
        "UPDATE tenant SET checkpoint = ?, bytes = bytes + ? WHERE id = ?", (checkpoint.seq, checkpoint.size, tenant)
    )


def _write_owners(db: sqlite3.Connection, checkpoint: Checkpoint) -> None:
    if checkpoint.disowned:
        gone = json.dumps(checkpoint.disowned)
        db.execute(
            "DELETE FROM entity_owner WHERE tenant = ? AND entity IN (SELECT value FROM json_each(?))",
            (checkpoint.tenant, gone),
        )
    rows = [(checkpoint.tenant, entity, source) for entity, source in checkpoint.owners]
    insert(db, "entity_owner", 3, _flat(rows), "ON CONFLICT DO UPDATE SET source = excluded.source")
