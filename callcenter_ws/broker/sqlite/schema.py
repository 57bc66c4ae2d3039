"""The schema of the file, by version, and the migration from each version to the next.

The ``place`` of an event is the number of its tenant and its ``seq`` in one integer. It is the key of the table: the
events of a tenant lie together, in order, and the table needs no other index (measured: a third less time per event
than with a key of two columns). ``state`` and ``call`` hold the state and the calls of a tenant at its ``checkpoint``;
the events after the checkpoint complete them; ``tenant.bytes`` are those of the payloads up to it. ``recent_id`` holds
identifiers of events that were removed within the window of ``broker.recent_ids``, in lists that end at ``place``.
``entity_owner`` holds the creators of the entities at the checkpoint that had events of several senders.
``source_mark`` holds how far the events of each source are stored (``broker.source_marks``), and ``source`` the
registered sources. ``figure`` holds the rows of the statistics (``statistics.checkpoint``), which belong to the
position of their tenant in ``figure_fold``; events after ``figure_fold.hold`` are not trimmed. ``account``,
``account_session`` and ``pairing`` hold users, sessions and waiting screens (``broker.account_table``).
``command`` holds commands (``broker.command_table``); ``closed_ms`` is 0 for those without an outcome. ``store`` holds
values about the store itself. Names kept for compatibility: ``attendance`` holds the presence records,
``attendance.told`` is ``PresenceRecord.announced``, and ``mail_loss`` holds the gaps of mailboxes.
"""

from __future__ import annotations

APPLICATION_ID = 0x43435753
"""``CCWS``, the application that the file belongs to (https://www.sqlite.org/pragma.html#pragma_application_id)."""

SEQ_BITS = 43
"""Bits of ``seq`` in a place; the others are the tenant's number. They suffice for two years of 100,000 events/s."""

_EVENT = """
    place INTEGER PRIMARY KEY,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    user_id TEXT,
    persist INTEGER NOT NULL,
    origin TEXT NOT NULL,
    received_at REAL NOT NULL,
    queue_name TEXT,
    agents TEXT,
    payload BLOB NOT NULL
"""

_VERSION_1 = f"""
CREATE TABLE store (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE tenant (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    floor INTEGER NOT NULL DEFAULT 0,
    checkpoint INTEGER NOT NULL DEFAULT 0,
    oldest REAL
);
CREATE INDEX tenant_by_age ON tenant (oldest) WHERE oldest IS NOT NULL;
CREATE TABLE event ({_EVENT});
CREATE TABLE state ({_EVENT});
CREATE TABLE call (
    tenant INTEGER NOT NULL,
    call_id TEXT NOT NULL,
    queue_name TEXT,
    agents TEXT NOT NULL,
    touched_at REAL NOT NULL,
    PRIMARY KEY (tenant, call_id)
) WITHOUT ROWID;
CREATE TABLE mail (
    {_EVENT.strip()},
    tenant INTEGER NOT NULL,
    ends_at REAL NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX mail_of_user ON mail (tenant, user_id, place);
CREATE INDEX mail_by_id ON mail (tenant, user_id, event_id);
CREATE INDEX mail_by_end ON mail (ends_at);
CREATE TABLE mail_loss (
    tenant INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    from_seq INTEGER NOT NULL,
    to_seq INTEGER NOT NULL,
    PRIMARY KEY (tenant, user_id)
) WITHOUT ROWID;
CREATE TABLE attendance (
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    visitor INTEGER NOT NULL,
    since REAL,
    last_seen REAL NOT NULL,
    told INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, user_id, visitor)
) WITHOUT ROWID;
CREATE TABLE revocation (
    tenant_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('token', 'user')),
    name TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (tenant_id, kind, name)
) WITHOUT ROWID;
CREATE INDEX attendance_by_age ON attendance (last_seen);
"""

_VERSION_2 = """
ALTER TABLE event ADD COLUMN source TEXT;
ALTER TABLE state ADD COLUMN source TEXT;
ALTER TABLE mail ADD COLUMN source TEXT;
CREATE TABLE source (
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (scope, name)
) WITHOUT ROWID;
CREATE TABLE source_mark (
    tenant_id TEXT NOT NULL,
    source TEXT NOT NULL,
    generation INTEGER NOT NULL,
    source_seq INTEGER NOT NULL,
    announced INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, source)
) WITHOUT ROWID
"""

_VERSION_3 = """
ALTER TABLE tenant ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE tenant SET bytes = (
    SELECT coalesce(sum(length(payload)), 0) FROM event
    WHERE place > tenant.id << 43 AND place <= (tenant.id << 43 | tenant.checkpoint)
);
CREATE TABLE recent_id (
    place INTEGER PRIMARY KEY,
    received_at REAL NOT NULL,
    ids TEXT NOT NULL
)
"""

_VERSION_4 = """
CREATE TABLE entity_owner (
    tenant INTEGER NOT NULL,
    entity TEXT NOT NULL,
    source TEXT,
    PRIMARY KEY (tenant, entity)
) WITHOUT ROWID
"""

_VERSION_5 = """
CREATE TABLE figure_fold (
    id INTEGER PRIMARY KEY,
    tenant_id TEXT NOT NULL UNIQUE,
    seq INTEGER NOT NULL,
    hold INTEGER,
    version INTEGER NOT NULL
);
CREATE TABLE figure (
    id INTEGER PRIMARY KEY,
    tenant INTEGER NOT NULL,
    day INTEGER NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    value BLOB NOT NULL
);
CREATE UNIQUE INDEX figure_by_key ON figure (tenant, day, kind, name)
"""

_VERSION_6 = """
CREATE TABLE account (name TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE account_session (id TEXT PRIMARY KEY, ends_at REAL NOT NULL, record TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX account_session_by_end ON account_session (ends_at);
CREATE TABLE pairing (code TEXT PRIMARY KEY, ends_at REAL NOT NULL, record TEXT NOT NULL) WITHOUT ROWID
"""

_VERSION_7 = """
CREATE TABLE command (
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    command_id TEXT NOT NULL,
    accepted_ms INTEGER NOT NULL,
    closed_ms INTEGER NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (tenant_id, user_id, command_id)
)
"""

MIGRATIONS = (_VERSION_1, _VERSION_2, _VERSION_3, _VERSION_4, _VERSION_5, _VERSION_6, _VERSION_7)
"""The scripts that make version ``n + 1`` of version ``n``; an empty file is version 0. Append only; never edit one."""

VERSION = len(MIGRATIONS)

FIRST_WITH_ACCOUNTS = 6
"""The first version that has users and sessions of the pages."""

FIRST_WITH_COMMANDS = 7
"""The first version that has commands."""


def place_of(tenant: int, seq: int) -> int:
    """Return the place of an event: of the tenant with this number, at this ``seq``."""
    return tenant << SEQ_BITS | seq


def seq_of(place: int) -> int:
    """Return the ``seq`` in a place."""
    return place & ((1 << SEQ_BITS) - 1)
