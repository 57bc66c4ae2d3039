"""AccountTable: the users, sessions and waiting screens of a store that one process uses, with the rules for them.

It is synchronous and does no I/O. A store that writes to a file takes the changes of a call, and undoes them if they
cannot be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nsmallest
from itertools import islice
from typing import Literal, NamedTuple

from msgspec.structs import replace

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import Grant, PairingRecord, SessionRecord, UserRecord

MAX_USERS = 10_000
MAX_SESSIONS = 20_000
MAX_SESSIONS_PER_USER = 20
"""Sessions of a user with a password, and of one role of the demo; beyond, the one used least recently ends."""

MAX_PAIRINGS = 1_000
"""Screens that wait at the same time."""

FORGET_SECONDS = 60.0
"""Seconds between two searches for what has ended: one of ``MAX_SESSIONS`` takes some milliseconds."""

MAX_FORGOTTEN = 500
"""Sessions, and screens that wait, that are removed at once: the next call goes on."""

Kind = Literal["user", "session", "pairing"]
Record = UserRecord | SessionRecord | PairingRecord


class AccountChange(NamedTuple):
    """A record that was added (``before`` is None), replaced, or removed (``after`` is None)."""

    kind: Kind
    key: str
    before: Record | None
    after: Record | None


class AccountTable:
    """The records by their keys; see ``interfaces.AccountStore`` for what the methods do.

    Attributes:
        changes: what the calls since ``take_changes`` have changed.
    """

    def __init__(self) -> None:
        self._users: dict[str, UserRecord] = {}
        self._sessions: dict[str, SessionRecord] = {}
        self._pairings: dict[str, PairingRecord] = {}
        self._by_owner: dict[tuple[str, str], set[str]] = {}
        self._by_public_id: dict[str, str] = {}
        self._by_poll: dict[str, str] = {}
        self._next_search = 0.0
        self.changes: list[AccountChange] = []

    def take_changes(self) -> list[AccountChange]:
        """Return the changes since the last call."""
        changes, self.changes = self.changes, []
        return changes

    def undo(self, changes: Sequence[AccountChange]) -> None:
        """Undo changes that could not be stored, unless the record was changed again since."""
        for change in reversed(changes):
            if self.get(change.kind, change.key) is change.after:
                self._put(change.kind, change.key, change.before)

    def restore(self, records: Iterable[Record]) -> None:
        """Add records that were stored before this process started."""
        for record in records:
            self._put(*_kind_and_key(record), record)

    # Users

    def user(self, name: str) -> UserRecord | None:
        """Return a user."""
        return self._users.get(name)

    def users(self, tenant_id: str | None, after: str, limit: int) -> list[UserRecord]:
        """Return users by name."""
        names = sorted(
            name
            for name, user in self._users.items()
            if name > after and (tenant_id is None or user.tenant_id == tenant_id)
        )
        return [self._users[name] for name in names[:limit]]

    def save_user(self, record: UserRecord, *, create: bool) -> bool:
        """Add or replace a user."""
        if (record.name in self._users) is create:
            return False
        if create and len(self._users) >= MAX_USERS:
            raise Refusal(ErrorCode.OVERLOADED, f"the limit of {MAX_USERS} users is reached")
        self._change("user", record.name, record)
        return True

    def remove_user(self, name: str) -> UserRecord | None:
        """Remove a user with all sessions."""
        user = self._users.get(name)
        if user is not None:
            self._change("user", name, None)
            self._end([self._sessions[one] for one in self._by_owner.get(("person", name), ())])
        return user

    # Sessions

    def session(self, session_id: str, now: float) -> SessionRecord | None:
        """Return a session that has not ended."""
        session = self._sessions.get(session_id)
        return session if session is not None and session.expires_at > now else None

    def save_session(self, record: SessionRecord, now: float, *, create: bool) -> bool:
        """Add a session, or replace one that has not ended."""
        if (self.session(record.id, now) is not None) is create:
            return False
        if create:
            self._make_room(record, now)
        self._change("session", record.id, record)
        return True

    def sessions(
        self, tenant_id: str | None, name: str | None, after: str, limit: int, now: float
    ) -> list[SessionRecord]:
        """Return sessions by their public id."""
        owned = None if name is None else self._by_owner.get(("person", name), ())
        all_of_them = self._sessions.values() if owned is None else [self._sessions[one] for one in owned]
        ids = (
            one.public_id
            for one in all_of_them
            if one.public_id > after and one.expires_at > now and (tenant_id is None or one.tenant_id == tenant_id)
        )
        return [self._sessions[self._by_public_id[one]] for one in nsmallest(limit, ids)]

    def end_sessions(self, now: float, *, name: str | None = None, public_id: str | None = None) -> list[SessionRecord]:
        """End the sessions of a user, or one session."""
        ids = set() if name is None else set(self._by_owner.get(("person", name), ()))
        if public_id in self._by_public_id:
            ids.add(self._by_public_id[public_id])
        ended = [self._sessions[one] for one in ids]
        self._end(ended)
        return sorted((one for one in ended if one.expires_at > now), key=lambda one: one.public_id)

    def _make_room(self, record: SessionRecord, now: float) -> None:
        own = [self._sessions[one] for one in self._by_owner.get(_owner(record), ())]
        own.sort(key=lambda one: one.used_at)
        self._end(own[: max(0, len(own) + 1 - MAX_SESSIONS_PER_USER)])
        self.forget_ended(now, at_once=len(self._sessions) >= MAX_SESSIONS)
        if len(self._sessions) >= MAX_SESSIONS:
            raise Refusal(ErrorCode.OVERLOADED, f"the limit of {MAX_SESSIONS} sessions is reached")

    def _end(self, sessions: Iterable[SessionRecord]) -> None:
        for session in list(sessions):
            self._change("session", session.id, None)

    # Screens that wait

    def save_pairing(self, record: PairingRecord, now: float) -> bool:
        """Add a screen that waits."""
        self.forget_ended(now, at_once=len(self._pairings) >= MAX_PAIRINGS)
        known = self._pairings.get(record.code)
        if len(self._pairings) >= MAX_PAIRINGS or (known is not None and known.expires_at > now):
            return False
        self._change("pairing", record.code, record)
        return True

    def approve_pairing(self, code: str, grant: Grant, now: float) -> str | None:
        """Record what a screen is granted, once; return its network."""
        record = self._pairings.get(code)
        if record is None or record.expires_at <= now or record.grant is not None:
            return None
        self._change("pairing", code, replace(record, grant=grant))
        return record.network

    def claim_pairing(self, poll: str, now: float) -> Grant | Literal["waiting"] | None:
        """Return what a screen was granted, once."""
        record = self._pairings.get(self._by_poll.get(poll, ""))
        if record is None or record.expires_at <= now:
            return None
        if record.grant is None:
            return "waiting"
        self._change("pairing", record.code, None)
        return record.grant

    # All records

    def forget_ended(self, now: float, *, at_once: bool = False) -> None:
        """Remove what has ended, unless all was within ``FORGET_SECONDS``; at most ``MAX_FORGOTTEN`` of a kind."""
        if now < self._next_search and not at_once:
            return
        sessions = list(islice((one for one in self._sessions.values() if one.expires_at <= now), MAX_FORGOTTEN))
        pairings = list(islice((one for one in self._pairings.values() if one.expires_at <= now), MAX_FORGOTTEN))
        for session in sessions:
            self._change("session", session.id, None)
        for pairing in pairings:
            self._change("pairing", pairing.code, None)
        if max(len(sessions), len(pairings)) < MAX_FORGOTTEN:
            self._next_search = now + FORGET_SECONDS

    def _change(self, kind: Kind, key: str, after: Record | None) -> None:
        self.changes.append(AccountChange(kind, key, self.get(kind, key), after))
        self._put(kind, key, after)

    def get(self, kind: Kind, key: str) -> Record | None:
        """Return a record, also one that has ended."""
        if kind == "user":
            return self._users.get(key)
        return self._sessions.get(key) if kind == "session" else self._pairings.get(key)

    def _put(self, kind: Kind, key: str, record: Record | None) -> None:
        before = self.get(kind, key)
        if isinstance(before, SessionRecord):
            self._forget_session(before)
        elif isinstance(before, PairingRecord):
            del self._by_poll[before.poll]
            del self._pairings[key]
        elif before is not None:
            del self._users[key]
        if isinstance(record, SessionRecord):
            self._sessions[key] = record
            self._by_public_id[record.public_id] = key
            self._by_owner.setdefault(_owner(record), set()).add(key)
        elif isinstance(record, PairingRecord):
            self._pairings[key] = record
            self._by_poll[record.poll] = key
        elif record is not None:
            self._users[key] = record

    def _forget_session(self, session: SessionRecord) -> None:
        del self._sessions[session.id]
        del self._by_public_id[session.public_id]
        own = self._by_owner[_owner(session)]
        own.discard(session.id)
        if not own:
            del self._by_owner[_owner(session)]


def _owner(session: SessionRecord) -> tuple[str, str]:
    """Return whose sessions are counted together: those of a user, or of one role of the demo; each screen alone."""
    if session.kind == "person":
        return "person", session.name
    return session.kind, session.user_id if session.kind == "demo" else session.id


def _kind_and_key(record: Record) -> tuple[Kind, str]:
    if isinstance(record, UserRecord):
        return "user", record.name
    return ("session", record.id) if isinstance(record, SessionRecord) else ("pairing", record.code)
