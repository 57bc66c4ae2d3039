"""RedisAccounts: users, sessions and waiting screens in Redis, beside the events of ``RedisBroker``."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from callcenter_ws.broker import account_table
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import Grant, PairingRecord, SessionRecord, UserRecord
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.connection import Argument, Reply
from callcenter_ws.redis.keys import Keys
from callcenter_ws.redis.scripts import (
    ACCOUNT_APPROVE,
    ACCOUNT_CLAIM,
    ACCOUNT_END_SESSIONS,
    ACCOUNT_REMOVE_USER,
    ACCOUNT_SAVE_PAIRING,
    ACCOUNT_SAVE_SESSION,
    ACCOUNT_SAVE_USER,
    Script,
)
from callcenter_ws.runtime.json import encode_json

PAGE = 200
"""Names, or public ids of sessions, that are read in one call."""

_decode_user = msgspec.json.Decoder(UserRecord).decode
_decode_session = msgspec.json.Decoder(SessionRecord).decode
_decode_grant = msgspec.json.Decoder(Grant).decode


class RedisAccounts:
    """Implements ``AccountStore`` in Redis, for all processes that share it.

    Times in Redis are by Redis's clock, so that a session lasts as long at each node, whatever their clocks are. The
    time at which a user was changed is only compared with itself, and is stored as it is.
    """

    def __init__(self, redis: RedisClient, keys: Keys) -> None:
        self._redis = redis
        self._key = keys.account
        self._users = keys.account("users")

    async def _run(self, script: Script, *arguments: Argument) -> Reply:
        return await self._redis.run(script, [self._users], *arguments)

    # Users

    async def user(self, name: str) -> UserRecord | None:
        """Return a user; see ``interfaces.AccountStore``, as for all methods."""
        line = await self._redis.send("HGET", self._users, name)
        return None if line is None else _decode_user(line)

    async def users(self, tenant_id: str | None, after: str, limit: int) -> Sequence[UserRecord]:
        """Return users by name, read in parts: no call takes longer with many users."""
        found: list[UserRecord] = []
        start = "-" if not after else f"({after}"
        while len(found) < limit:
            names = await self._lex("usernames", start)
            if not names:
                break
            lines = await self._redis.send("HMGET", self._users, *names)
            users = [_decode_user(line) for line in lines if line is not None]
            found += [user for user in users if tenant_id is None or user.tenant_id == tenant_id]
            start = f"({names[-1].decode()}"
        return found[:limit]

    async def save_user(self, record: UserRecord, *, create: bool) -> bool:
        """Add or replace a user."""
        most = account_table.MAX_USERS
        saved = await self._run(ACCOUNT_SAVE_USER, record.name, encode_json(record), _how(create), most)
        if saved < 0:
            raise Refusal(ErrorCode.OVERLOADED, f"the limit of {most} users is reached")
        return bool(saved)

    async def remove_user(self, name: str) -> UserRecord | None:
        """Remove a user with all sessions."""
        line = await self._run(ACCOUNT_REMOVE_USER, name)
        return None if line is None else _decode_user(line)

    # Sessions

    async def session(self, session_id: str, now: float) -> SessionRecord | None:
        """Return a session that has not ended."""
        line = await self._redis.send("HGET", self._key("sessions"), session_id)
        found = self._decoded([line])
        return found[0] if found and found[0].expires_at > now else None

    async def save_session(self, record: SessionRecord, now: float, *, create: bool) -> bool:
        """Add or replace a session."""
        own, most = account_table.MAX_SESSIONS_PER_USER, account_table.MAX_SESSIONS
        line = encode_json(_shifted(record, self._clock_error))
        saved = await self._run(ACCOUNT_SAVE_SESSION, line, self._time(now), _how(create), own, most)
        if saved < 0:
            raise Refusal(ErrorCode.OVERLOADED, f"the limit of {most} sessions is reached")
        return bool(saved)

    async def sessions(
        self, tenant_id: str | None, name: str | None, after: str, limit: int, now: float
    ) -> Sequence[SessionRecord]:
        """Return sessions by their public id, read in parts."""

        def wanted(sessions: Sequence[SessionRecord]) -> list[SessionRecord]:
            return [
                one
                for one in sessions
                if one.public_id > after and one.expires_at > now and (tenant_id is None or one.tenant_id == tenant_id)
            ]

        if name is not None:
            ids = await self._redis.send("ZRANGE", self._key(f"of:person:{name}"), 0, -1)
            return sorted(wanted(await self._read(ids)), key=lambda one: one.public_id)[:limit]
        found: list[SessionRecord] = []
        # A member is a public id and an id; ";" follows ":".
        start = "-" if not after else f"({after};"
        while len(found) < limit:
            members = await self._lex("listed", start)
            if not members:
                break
            found += wanted(await self._read([member.partition(b":")[2] for member in members]))
            start = f"({members[-1].decode()}"
        return found[:limit]

    async def end_sessions(
        self, now: float, *, name: str | None = None, public_id: str | None = None
    ) -> Sequence[SessionRecord]:
        """End sessions."""
        ended = self._decoded(await self._run(ACCOUNT_END_SESSIONS, name or "", public_id or ""))
        return sorted((one for one in ended if one.expires_at > now), key=lambda one: one.public_id)

    # Screens that wait

    async def save_pairing(self, record: PairingRecord, now: float) -> bool:
        """Add a screen that waits."""
        times, most = (self._time(record.expires_at), self._time(now)), account_table.MAX_PAIRINGS
        return bool(await self._run(ACCOUNT_SAVE_PAIRING, record.code, record.poll, *times, most, record.network))

    async def approve_pairing(self, code: str, grant: Grant, now: float) -> str | None:
        """Record what a screen is granted; return its network."""
        network = await self._run(ACCOUNT_APPROVE, code, encode_json(grant), self._time(now))
        return None if network is None else network.decode()

    async def claim_pairing(self, poll: str, now: float) -> Grant | Literal["waiting"] | None:
        """Return what a screen was granted."""
        line = await self._run(ACCOUNT_CLAIM, poll, self._time(now))
        if line is None:
            return None
        return _decode_grant(line) if line else "waiting"

    # Parts

    def _lex(self, name: str, start: str) -> Awaitable[Sequence[bytes]]:
        return self._redis.send("ZRANGE", self._key(name), start, "+", "BYLEX", "LIMIT", 0, PAGE)

    async def _read(self, ids: Sequence[bytes]) -> list[SessionRecord]:
        return self._decoded(await self._redis.send("HMGET", self._key("sessions"), *ids)) if ids else []

    def _decoded(self, lines: Sequence[bytes | None]) -> list[SessionRecord]:
        return [_shifted(_decode_session(line), -self._clock_error) for line in lines if line is not None]

    @property
    def _clock_error(self) -> float:
        return self._redis.clock_error

    def _time(self, now: float) -> str:
        """Return a time of this machine by Redis's clock."""
        return repr(now + self._clock_error)


def _shifted(record: SessionRecord, seconds: float) -> SessionRecord:
    """Return a session with times of another clock."""
    if not seconds:
        return record
    return replace(
        record,
        created_at=record.created_at + seconds,
        used_at=record.used_at + seconds,
        expires_at=record.expires_at + seconds,
    )


def _how(create: bool) -> str:
    return "create" if create else "replace"
