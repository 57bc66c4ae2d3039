"""PendingWrites: small facts that go along with the next group, bounded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from callcenter_ws.broker.sqlite.transaction import MailKey, Transaction
from callcenter_ws.interfaces import PresenceRecord, Revocation

MAX_NOTES = 50_000
"""Of each kind. The oldest is forgotten first, which makes a message come twice, or a ``last_seen`` too early."""

UserKey = tuple[str, str, bool]


@dataclass(slots=True)
class PendingWrites:
    """What is to be written down besides events.

    Attributes:
        sent, taken: messages of mailboxes.
        told: users who know by now what their mailboxes have lost.
        attendance: the latest of each user.
        revocations: tokens and users that are refused.
        facts: about the store itself.
    """

    sent: dict[MailKey, None] = field(default_factory=dict)
    taken: dict[MailKey, None] = field(default_factory=dict)
    told: dict[tuple[int, str], None] = field(default_factory=dict)
    attendance: dict[UserKey, PresenceRecord] = field(default_factory=dict)
    revocations: list[Revocation] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)

    def send(self, tenant: int, user_id: str, event_ids: Iterable[str]) -> None:
        """Note that messages were written to a socket of their user."""
        self.sent.update(dict.fromkeys((tenant, user_id, event_id) for event_id in event_ids))
        _bound(self.sent)

    def acknowledge(self, tenant: int, user_id: str, event_ids: Iterable[str]) -> None:
        """Note that a user has messages."""
        self.taken.update(dict.fromkeys((tenant, user_id, event_id) for event_id in event_ids))
        _bound(self.taken)

    def tell(self, tenant: int, user_id: str) -> None:
        """Note that a user was told what the mailbox has lost."""
        self.told[tenant, user_id] = None
        _bound(self.told)

    def attend(self, note: PresenceRecord) -> None:
        """Note a user's presence."""
        key = (note.tenant_id, note.user_id, note.visitor)
        self.attendance.pop(key, None)
        self.attendance[key] = note
        _bound(self.attendance)

    def take(self, group: Transaction) -> PendingWrites:
        """Put everything into a group, and return what was put there."""
        taken = PendingWrites(self.sent, self.taken, self.told, self.attendance, self.revocations, self.facts)
        group.sent += self.sent
        group.taken += self.taken
        group.told += self.told
        group.attendance += self.attendance.values()
        group.revocations += self.revocations
        group.facts.update(self.facts)
        self.sent, self.taken, self.told, self.attendance, self.revocations, self.facts = {}, {}, {}, {}, [], {}
        return taken

    def put_back(self, earlier: PendingWrites) -> None:
        """A group was not written: what was taken for it goes with the next one."""
        self.sent = {**earlier.sent, **self.sent}
        self.taken = {**earlier.taken, **self.taken}
        self.told = {**earlier.told, **self.told}
        self.attendance = {**earlier.attendance, **self.attendance}
        for notes in (self.sent, self.taken, self.told, self.attendance):
            _bound(notes)
        self.revocations = earlier.revocations + self.revocations
        self.facts = {**earlier.facts, **self.facts}


def _bound(notes: dict[Any, Any]) -> None:
    while len(notes) > MAX_NOTES:
        del notes[next(iter(notes))]
