"""MemoryAccounts: users, sessions and waiting screens in the memory of this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from callcenter_ws.broker.account_table import AccountTable
from callcenter_ws.interfaces import Grant, PairingRecord, SessionRecord, UserRecord


class MemoryAccounts:
    """Implements ``AccountStore`` with an AccountTable. What it holds ends with the process.

    A store that keeps it elsewhere overrides ``_stored``.
    """

    def __init__(self) -> None:
        self.table = AccountTable()

    async def _stored(self) -> None:
        """Make the changes of the present call durable."""
        self.table.take_changes()

    async def user(self, name: str) -> UserRecord | None:
        """Return a user; see ``interfaces.AccountStore``, as for all methods."""
        return self.table.user(name)

    async def users(self, tenant_id: str | None, after: str, limit: int) -> Sequence[UserRecord]:
        """Return users by name."""
        return self.table.users(tenant_id, after, limit)

    async def save_user(self, record: UserRecord, *, create: bool) -> bool:
        """Add or replace a user."""
        is_saved = self.table.save_user(record, create=create)
        await self._stored()
        return is_saved

    async def remove_user(self, name: str) -> UserRecord | None:
        """Remove a user with all sessions."""
        user = self.table.remove_user(name)
        await self._stored()
        return user

    async def session(self, session_id: str, now: float) -> SessionRecord | None:
        """Return a session that has not ended."""
        return self.table.session(session_id, now)

    async def save_session(self, record: SessionRecord, now: float, *, create: bool) -> bool:
        """Add or replace a session."""
        is_saved = self.table.save_session(record, now, create=create)
        await self._stored()
        return is_saved

    async def sessions(
        self, tenant_id: str | None, name: str | None, after: str, limit: int, now: float
    ) -> Sequence[SessionRecord]:
        """Return sessions by their public id."""
        return self.table.sessions(tenant_id, name, after, limit, now)

    async def end_sessions(
        self, now: float, *, name: str | None = None, public_id: str | None = None
    ) -> Sequence[SessionRecord]:
        """End sessions."""
        ended = self.table.end_sessions(now, name=name, public_id=public_id)
        await self._stored()
        return ended

    async def save_pairing(self, record: PairingRecord, now: float) -> bool:
        """Add a screen that waits."""
        is_saved = self.table.save_pairing(record, now)
        await self._stored()
        return is_saved

    async def approve_pairing(self, code: str, grant: Grant, now: float) -> str | None:
        """Record what a screen is granted; return its network."""
        network = self.table.approve_pairing(code, grant, now)
        await self._stored()
        return network

    async def claim_pairing(self, poll: str, now: float) -> Grant | Literal["waiting"] | None:
        """Return what a screen was granted."""
        claimed = self.table.claim_pairing(poll, now)
        await self._stored()
        return claimed
