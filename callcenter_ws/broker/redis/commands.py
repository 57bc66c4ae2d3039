"""RedisCommands: commands in Redis, for all processes that share it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice

import msgspec
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

from callcenter_ws.broker import command_table
from callcenter_ws.broker.redis.command_codec import decode_command, encode_key, encode_record
from callcenter_ws.broker.redis.tenant_store import TenantStore
from callcenter_ws.errors import Refusal
from callcenter_ws.events.commands import LIFETIME_SECONDS, CommandKey, CommandRecord, CommandState
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.connection import Argument, Reply
from callcenter_ws.redis.keys import Keys
from callcenter_ws.redis.scripts import (
    COMMAND_ACCEPT,
    COMMAND_DISPATCH,
    COMMAND_OVERDUE,
    COMMAND_READ,
    COMMAND_TENANT_REMOVE,
    COMMAND_WAITING,
    Script,
)
from callcenter_ws.runtime.json import encode_json

TENANTS_PER_CALL = 100
"""Tenants for which Redis is asked at once."""

MAX_ASKED_UNSEEN = 10
"""Tenants of a source that are asked for waiting commands without reading first which tenants have any: the list has
all tenants of the installation."""

_ACCEPTED, _DISPATCHED = CommandState.ACCEPTED.encode(), CommandState.DISPATCHED.encode()

_decode_source = msgspec.json.Decoder(tuple[str, str, str]).decode


class RedisCommands:
    """Implements ``CommandStore`` in Redis.

    Args:
        tenant_store: returns a tenant's store.
        subscribe: has a function called with each message of a channel.
    """

    def __init__(
        self,
        redis: RedisClient,
        keys: Keys,
        tenant_store: Callable[[str], TenantStore],
        subscribe: Callable[[str, Callable[[bytes], None]], None],
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._tenant_store = tenant_store
        self._subscribe = subscribe
        self._listeners: list[Callable[[str, str, str], None]] = []

    async def accept(self, record: CommandRecord) -> CommandRecord | None:
        """Add a command; see ``interfaces.CommandStore``, as for all methods."""
        store, tenant_id, shift = (
            self._tenant_store(record.key.tenant_id),
            record.key.tenant_id,
            self._earliest_error_ms,
        )
        # Before the command: the sweep of every node must find it.
        await self._note_active(tenant_id, record.deadline_ms + shift)
        arguments: list[Argument] = [
            encode_key(record.key),
            encode_record(record, shift),
            record.accepted_ms + shift - LIFETIME_SECONDS * 1_000,
            command_table.MAX_OPEN,
            command_table.MAX_COMMANDS,
        ]
        # Once more, together with the command: if this process was suspended until after the deadline, the sweep of
        # another node has removed the tenant meanwhile.
        self._note_active(tenant_id, record.deadline_ms + shift).addErrback(_ignore)
        outcome, *known = await store.run(COMMAND_ACCEPT, *arguments)
        if outcome < 0:
            raise command_table.too_many_open()
        if known:
            return decode_command(known[0], known[1], self._clock_error_ms)
        self._redis.accepts_writes()
        with suppress(Refusal):
            # What is not announced is found by ``waiting``.
            source = encode_json((tenant_id, record.source_scope, record.source))
            await self._redis.send("SPUBLISH", self._keys.commands_channel, source)
        return None

    async def dispatch(self, key: CommandKey, now_ms: int) -> CommandRecord | None:
        """Record that a command is about to be sent to its source."""
        now_ms += self._latest_error_ms
        record = await self._tenant_store(key.tenant_id).run(COMMAND_DISPATCH, encode_key(key), now_ms)
        return None if record is None else decode_command(record, _DISPATCHED, self._clock_error_ms)

    async def command(self, key: CommandKey) -> CommandRecord | None:
        """Return a command."""
        record, state = await self._tenant_store(key.tenant_id).run(COMMAND_READ, encode_key(key))
        return None if record is None or state is None else decode_command(record, state, self._clock_error_ms)

    async def waiting(self, source_scope: str, source: str, tenants: Sequence[str]) -> Sequence[CommandRecord]:
        """Return the commands of a source that are ``accepted``."""
        wanted = list(dict.fromkeys(tenants))
        if len(wanted) > MAX_ASKED_UNSEEN:
            active = await self._active()
            wanted = [tenant_id for tenant_id in wanted if tenant_id in active]
        shift = self._clock_error_ms
        replies = await self._run_each(wanted, COMMAND_WAITING, source_scope, source, command_table.MAX_WAITING)
        return command_table.in_turn(_decoded(((record, _ACCEPTED) for record in reply), shift) for reply in replies)

    async def overdue(self, before_ms: int, limit: int) -> Sequence[CommandRecord]:
        """Return open commands whose deadline has passed; remove tenants without any from those that are asked."""
        before_ms += self._earliest_error_ms
        active = await self._active()
        found: list[CommandRecord] = []
        tenants = list(active)
        for start in range(0, len(tenants), TENANTS_PER_CALL):
            part = tenants[start : start + TENANTS_PER_CALL]
            replies = await self._run_each(part, COMMAND_OVERDUE, before_ms, limit)
            for tenant_id, reply in zip(part, replies, strict=True):
                pairs = zip(reply[::2], reply[1::2], strict=True)
                found += islice(_decoded(pairs, self._clock_error_ms), limit - len(found))
                if not reply and active[tenant_id] < before_ms:
                    # The deadlines of all that it has ever accepted have passed, and none of them is open.
                    await self._redis.run(
                        COMMAND_TENANT_REMOVE, [self._keys.command_tenants], tenant_id, repr(active[tenant_id])
                    )
            if len(found) >= limit:
                break
        return found

    def listen(self, accepted: Callable[[str, str, str], None]) -> None:
        """Call ``accepted`` after each acceptance at any node."""
        if not self._listeners:
            self._subscribe(self._keys.commands_channel, self._announced)
        self._listeners.append(accepted)

    def _announced(self, data: bytes) -> None:
        try:
            source = _decode_source(data)
        except msgspec.DecodeError:
            # The subscription was made, or it is not an announcement of a gateway.
            return
        for accepted in self._listeners:
            accepted(*source)

    def _note_active(self, tenant_id: str, deadline_ms: int) -> Deferred[Reply]:
        """Have the tenant asked for overdue commands until after this deadline, which is by Redis's clock."""
        return self._redis.send("ZADD", self._keys.command_tenants, "GT", deadline_ms, tenant_id)

    async def _active(self) -> dict[str, float]:
        """Return the tenants that may have open commands, and the latest deadline of each."""
        reply = await self._redis.send("ZRANGE", self._keys.command_tenants, 0, -1, "WITHSCORES")
        return {name.decode(): float(score) for name, score in zip(reply[::2], reply[1::2], strict=True)}

    async def _run_each(self, tenants: Sequence[str], script: Script, *arguments: Argument) -> Sequence[Reply]:
        """Run a script for each tenant, for many at once.

        Raises:
            Refusal: one of the calls failed.
        """
        replies: list[Reply] = []
        for start in range(0, len(tenants), TENANTS_PER_CALL):
            part = tenants[start : start + TENANTS_PER_CALL]
            calls: list[Deferred[Reply]] = [self._tenant_store(name).run(script, *arguments) for name in part]
            try:
                replies += await gatherResults(calls, consumeErrors=True)
            except FirstError as error:
                error.subFailure.raiseException()
        return replies

    @property
    def _clock_error_ms(self) -> int:
        return round(self._redis.clock_error * 1_000)

    # This machine's clock may have been set since it was compared with Redis's. Until it is compared again no command
    # is closed too early, which would concern those of all nodes, and none is dispatched too late.

    @property
    def _earliest_error_ms(self) -> int:
        return self._clock_error_ms - max(0, round(self._redis.clock_step * 1_000))

    @property
    def _latest_error_ms(self) -> int:
        return self._clock_error_ms - min(0, round(self._redis.clock_step * 1_000))


def _ignore(failure: Failure) -> None:
    failure.trap(Refusal)


def _decoded(pairs: Iterable[tuple[bytes | None, bytes | None]], clock_error_ms: int) -> Iterator[CommandRecord]:
    """Decode records with their states, as many as are needed: there may be many."""
    for record, state in pairs:
        if record is not None and state is not None:
            yield decode_command(record, state, clock_error_ms)
