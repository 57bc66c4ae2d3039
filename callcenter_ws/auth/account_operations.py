"""AccountOperations: what operators do with users, their sessions, and screens that wait to be paired."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from callcenter_ws.auth.account_rules import check_rights, check_user, normal_name
from callcenter_ws.auth.accounts import Accounts
from callcenter_ws.auth.pairing_codes import read_code
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import Grant, SessionRecord, UserRecord
from callcenter_ws.runtime.clock import Clock


class UserChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is changed of a user; what is not given stays.

    Attributes:
        password: a record of ``auth.passwords``, never a password.
    """

    role: str | UnsetType = UNSET
    queues: tuple[str, ...] | UnsetType | None = UNSET
    display_name: str | UnsetType = UNSET
    password: str | UnsetType = UNSET

    def __repr__(self) -> str:
        return "UserChange(…)"


class AccountOperations:
    """Carries out what operators ask. Every method raises ``Refusal``: ``signing_in_off``, ``unavailable``.

    Args:
        revoke: refuses all tokens that a user of a tenant has, and closes the user's connections; returns how many.
    """

    def __init__(self, accounts: Accounts, clock: Clock, revoke: Callable[[str, str], Awaitable[int]]) -> None:
        self._accounts = accounts
        self._clock = clock
        self._revoke = revoke

    async def add_user(self, record: UserRecord) -> None:
        """Add a user; ``changed_at`` is set here.

        Raises:
            Refusal: ``user_exists``; ``invalid_message`` for what no user can be; ``overloaded``.
        """
        record = replace(record, name=normal_name(record.name), changed_at=self._clock.time())
        check_user(record)
        if not await self._accounts.store.save_user(record, create=True):
            raise Refusal(ErrorCode.USER_EXISTS)

    async def change_user(self, name: str, change: UserChange) -> int:
        """Change a user. The user's sessions end, and the tokens are refused; return how many connections were closed.

        Raises:
            Refusal: ``unknown_user``; ``invalid_message`` for what no user can be.
        """
        before = await self.user(name)
        given = {field: value for field, value in msgspec.structs.asdict(change).items() if value is not UNSET}
        # Never the same twice, whatever the clock does: sessions compare it.
        changed_at = max(self._clock.time(), math.nextafter(before.changed_at, math.inf))
        record = replace(before, **given, changed_at=changed_at)
        check_user(record)
        if not await self._accounts.store.save_user(record, create=False):
            raise Refusal(ErrorCode.UNKNOWN_USER)
        _, closed = await self._end(record)
        return closed

    async def remove_user(self, name: str) -> int:
        """Remove a user; return how many connections were closed.

        Raises:
            Refusal: ``unknown_user``.
        """
        user = await self._accounts.store.remove_user(normal_name(name))
        if user is None:
            raise Refusal(ErrorCode.UNKNOWN_USER)
        return await self._revoke(user.tenant_id, user.user_id)

    async def user(self, name: str) -> UserRecord:
        """Return a user.

        Raises:
            Refusal: ``unknown_user``.
        """
        user = await self._accounts.store.user(normal_name(name))
        if user is None:
            raise Refusal(ErrorCode.UNKNOWN_USER)
        return user

    async def users(self, tenant_id: str | None, after: str, limit: int) -> Sequence[UserRecord]:
        """Return at most ``limit`` users, by name, that follow ``after``."""
        return await self._accounts.store.users(tenant_id, after, limit)

    async def sessions(
        self, tenant_id: str | None, name: str | None, after: str, limit: int
    ) -> Sequence[SessionRecord]:
        """Return at most ``limit`` sessions, by their public id, that follow ``after``.

        Raises:
            Refusal: ``unknown_user`` if a name is given that no user has.
        """
        known = None if name is None else (await self.user(name)).name
        return await self._accounts.store.sessions(tenant_id, known, after, limit, self._clock.time())

    async def end_sessions_of(self, name: str) -> tuple[int, int]:
        """End the sessions of a user; return how many, and how many connections were closed.

        Raises:
            Refusal: ``unknown_user``.
        """
        return await self._end(await self.user(name))

    async def end_session(self, public_id: str) -> tuple[int, int]:
        """End one session; return how many there were, and how many connections were closed: all those of its user."""
        ended = await self._accounts.store.end_sessions(self._clock.time(), public_id=public_id)
        closed = 0
        for session in ended:
            closed += await self._revoke(session.tenant_id, session.user_id)
        return len(ended), closed

    async def approve(self, code: str, grant: Grant) -> str:
        """Let the screen that shows a code sign in; return its network.

        Raises:
            Refusal: ``unknown_code``; ``invalid_message`` for what cannot be granted.
        """
        check_rights(grant.tenant_id, grant.role, grant.queues, grant.display_name)
        read, store = read_code(code), self._accounts.store
        if read is None:
            raise Refusal(ErrorCode.UNKNOWN_CODE)
        # The keys may have been changed since the screen shows it, or not yet at the node that the screen has asked.
        for digest in self._accounts.tokens.code_digests(read):
            network = await store.approve_pairing(digest, grant, self._clock.time())
            if network is not None:
                return network
        raise Refusal(ErrorCode.UNKNOWN_CODE)

    async def _end(self, user: UserRecord) -> tuple[int, int]:
        ended = await self._accounts.store.end_sessions(self._clock.time(), name=user.name)
        return len(ended), await self._revoke(user.tenant_id, user.user_id)
