"""Small writes that are made with the next transaction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from callcenter_ws.broker.account_table import Record
from callcenter_ws.broker.sqlite.account_rows import AccountKey
from callcenter_ws.broker.sqlite.figure_rows import FigureChanges
from callcenter_ws.broker.sqlite.transaction import MailKey, Transaction
from callcenter_ws.events.commands import CommandKey, CommandRecord
from callcenter_ws.interfaces import PresenceRecord, Revocation, SourceRecord

MAX_PENDING_WRITES = 50_000
"""Of each kind; above that the oldest is dropped: a message is then delivered twice, or ``last_seen`` is too early."""

UserKey = tuple[str, str, bool]
"""Tenant, user, and whether the user is a visitor."""


@dataclass(slots=True)
class PendingWrites:
    """What is to be written besides events. Keys occur once and are ordered by time.

    Attributes:
        sent: mailbox items that were written to a socket of their user.
        acknowledged: mailbox items that their user has received.
        reported_gaps: tenants' numbers and users to whom the gap of their mailbox was reported.
        presence: the latest record of each user.
        revocations: not bounded here; the list of revocations is (``auth.revocation``).
        sources: the records of sources, by scope and name; None: to be removed. Bounded by ``sources.claim``.
        figures: rows of folds by tenant. Not bounded here; those who fold bound the entities.
        accounts: users, sessions and waiting screens by kind and key; None: to be removed. Bounded by
            ``broker.account_table``.
        commands: by key; None: to be removed. Bounded by ``broker.command_table``.
        figure_rows: at least the number of these rows.
        metadata: values about the store itself.
    """

    sent: dict[MailKey, None] = field(default_factory=dict)
    acknowledged: dict[MailKey, None] = field(default_factory=dict)
    reported_gaps: dict[tuple[int, str], None] = field(default_factory=dict)
    presence: dict[UserKey, PresenceRecord] = field(default_factory=dict)
    revocations: list[Revocation] = field(default_factory=list)
    sources: dict[tuple[str, str], SourceRecord | None] = field(default_factory=dict)
    figures: dict[str, FigureChanges] = field(default_factory=dict)
    figure_rows: int = 0
    accounts: dict[AccountKey, Record | None] = field(default_factory=dict)
    commands: dict[CommandKey, CommandRecord | None] = field(default_factory=dict)
    metadata: dict[str, object] = field(default_factory=dict)

    def mark_sent(self, tenant: int, user_id: str, event_ids: Iterable[str]) -> None:
        """Add mailbox items that were written to a socket of their user."""
        self.sent.update(dict.fromkeys((tenant, user_id, event_id) for event_id in event_ids))
        _limit(self.sent)

    def acknowledge(self, tenant: int, user_id: str, event_ids: Iterable[str]) -> None:
        """Add mailbox items that their user has received."""
        self.acknowledged.update(dict.fromkeys((tenant, user_id, event_id) for event_id in event_ids))
        _limit(self.acknowledged)

    def report_gap(self, tenant: int, user_id: str) -> None:
        """Add a user to whom the gap of the mailbox was reported."""
        self.reported_gaps[tenant, user_id] = None
        _limit(self.reported_gaps)

    def save_presence(self, record: PresenceRecord) -> None:
        """Add the latest record of a user."""
        key = (record.tenant_id, record.user_id, record.visitor)
        self.presence.pop(key, None)
        self.presence[key] = record
        _limit(self.presence)

    def move_to(self, transaction: Transaction) -> PendingWrites:
        """Move everything to a transaction; return what was moved."""
        moved = PendingWrites(
            self.sent,
            self.acknowledged,
            self.reported_gaps,
            self.presence,
            self.revocations,
            self.sources,
            self.figures,
            self.figure_rows,
            self.accounts,
            self.commands,
            self.metadata,
        )
        transaction.sent += self.sent
        transaction.acknowledged += self.acknowledged
        transaction.reported_gaps += self.reported_gaps
        transaction.presence += self.presence.values()
        transaction.revocations += self.revocations
        transaction.sources.update(self.sources)
        transaction.figures += self.figures.values()
        transaction.accounts.update(self.accounts)
        transaction.commands.update(self.commands)
        transaction.metadata.update(self.metadata)
        self.sent, self.acknowledged, self.reported_gaps, self.presence = {}, {}, {}, {}
        self.revocations, self.sources, self.figures, self.metadata = [], {}, {}, {}
        self.figure_rows = 0
        self.accounts, self.commands = {}, {}
        return moved

    def put_back(self, moved: PendingWrites) -> None:
        """Add what was moved to a transaction that failed; newer values take precedence."""
        self.sent = {**moved.sent, **self.sent}
        self.acknowledged = {**moved.acknowledged, **self.acknowledged}
        self.reported_gaps = {**moved.reported_gaps, **self.reported_gaps}
        self.presence = {**moved.presence, **self.presence}
        for writes in (self.sent, self.acknowledged, self.reported_gaps, self.presence):
            _limit(writes)
        self.revocations = moved.revocations + self.revocations
        self.sources = {**moved.sources, **self.sources}
        for tenant_id, older in moved.figures.items():
            newer = self.figures.get(tenant_id)
            self.figures[tenant_id] = older if newer is None else newer.with_older(older)
        self.figure_rows += moved.figure_rows
        self.accounts = {**moved.accounts, **self.accounts}
        self.commands = {**moved.commands, **self.commands}
        self.metadata = {**moved.metadata, **self.metadata}


def _limit(writes: dict[Any, Any]) -> None:  # keys and values differ by kind
    while len(writes) > MAX_PENDING_WRITES:
        del writes[next(iter(writes))]
