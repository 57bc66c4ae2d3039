"""Notes: small facts that go along with the next group, bounded."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from callcenter_ws.broker.sqlite.group import Group, MailKey
from callcenter_ws.interfaces import Attendance

MAX_NOTES = 50_000
"""Of each kind. The oldest is forgotten first, which makes a message come twice, or a ``last_seen`` too early."""

UserKey = tuple[str, str, bool]


def _bounded() -> deque[MailKey]:
    return deque(maxlen=MAX_NOTES)


@dataclass(slots=True)
class Notes:
    """What is to be written down besides events.

    Attributes:
        sent, taken: messages of mailboxes.
        told: users who know by now what their mailboxes have lost.
        attendance: the latest of each user.
        facts: about the store itself.
    """

    sent: deque[MailKey] = field(default_factory=_bounded)
    taken: deque[MailKey] = field(default_factory=_bounded)
    told: list[tuple[int, str]] = field(default_factory=list)
    attendance: dict[UserKey, Attendance] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)

    def attend(self, note: Attendance) -> None:
        """Note a user's presence."""
        key = (note.tenant_id, note.user_id, note.visitor)
        self.attendance.pop(key, None)
        self.attendance[key] = note
        if len(self.attendance) > MAX_NOTES:
            del self.attendance[next(iter(self.attendance))]

    def take(self, group: Group) -> Notes:
        """Put everything into a group, and return what was put there."""
        taken = Notes(self.sent, self.taken, self.told, self.attendance, self.facts)
        group.sent += self.sent
        group.taken += self.taken
        group.told += self.told
        group.attendance += self.attendance.values()
        group.facts.update(self.facts)
        self.sent, self.taken, self.told, self.attendance, self.facts = _bounded(), _bounded(), [], {}, {}
        return taken

    def put_back(self, earlier: Notes) -> None:
        """A group was not written: what was taken for it goes with the next one."""
        self.sent.extendleft(reversed(earlier.sent))
        self.taken.extendleft(reversed(earlier.taken))
        self.told = earlier.told + self.told
        self.attendance = {**earlier.attendance, **self.attendance}
        self.facts = {**earlier.facts, **self.facts}
