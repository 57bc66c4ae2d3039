"""TenantStore: reads and updates one tenant's data in Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from twisted.internet.defer import Deferred

from callcenter_ws.broker.chat_messages import DEFAULT_MESSAGES
from callcenter_ws.broker.redis.codec import decode_publications
from callcenter_ws.broker.state import State
from callcenter_ws.events.catalogue import EntityKey
from callcenter_ws.events.entity import Entity
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.slot_table import ENTITY_LIFETIME
from callcenter_ws.interfaces import MailboxGap, MailboxItem, MailboxPage
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.connection import Argument, Reply
from callcenter_ws.redis.keys import Keys
from callcenter_ws.redis.scripts import (
    MAIL_ACK,
    MAILBOX_READ,
    STATE_ENTITY,
    STATE_EVENTS,
    STATE_POSITIONS,
    STREAM_POSITION,
    STREAM_READ,
    Script,
)
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import encode_json

PAGE_BYTES = 262_144
"""Bytes after which a page of events ends, so that large events do not fill the memory."""

KnownEvent = tuple[str, int, str]
"""The last event that a node knows of a tenant: epoch, position, event id."""

NO_EVENT: KnownEvent = ("", 0, "")

MailMark = Literal["sent", "acknowledged"]
"""What is recorded of a mailbox item; see ``mail_ack.lua``."""


class _EntityRecord(msgspec.Struct):
    """A record of ``stream.lua``; what else it has is not decoded."""

    o: str | None = None


_decode_entity = msgspec.msgpack.Decoder(_EntityRecord).decode
_decode_status = msgspec.json.Decoder(tuple[str, int, int, int]).decode


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """The position of a stream.

    Attributes:
        epoch_start: the position after which the epoch begins.
        valid_up_to: the last position of the epoch in question that is valid although that epoch has ended; -1: none.
    """

    epoch: str
    head: int
    epoch_start: int
    valid_up_to: int


@dataclass(frozen=True, slots=True)
class LogRange:
    """Consecutive publications of the log, and the position of the stream when they were read."""

    epoch: str
    head: int
    publications: list[Publication]


@dataclass(frozen=True, slots=True)
class StatePage:
    """Publications of a tenant's state, and the position of the stream when they were read.

    Attributes:
        positions_read: how many of the requested positions were read.
    """

    epoch: str
    head: int
    publications: list[Publication]
    positions_read: int


class TenantStore:
    """One tenant's data in Redis. All methods raise ``Refusal``, ``unavailable``, when Redis does not answer.

    Args:
        chat_messages: messages of each open chat in the state.
    """

    def __init__(
        self,
        redis: RedisClient,
        keys: Keys,
        clock: Clock,
        new_id: Callable[[], str],
        tenant_id: str,
        chat_messages: int = DEFAULT_MESSAGES,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self.clock = clock
        self._new_id = new_id
        self.tenant_id = tenant_id
        self.chat_messages = chat_messages
        self.meta = keys.meta(tenant_id)
        self._log = keys.of(tenant_id, "log")
        # The lines of the state: of its slots, of the last messages of chats, and of lasting entities.
        self._state_lines = [keys.of(tenant_id, name) for name in ("slots", "messages", "lastinglines")]

    @property
    def clock_offset(self) -> float:
        """Redis's Unix time minus the monotonic clock, in seconds."""
        return self.now - self.clock.monotonic()

    @property
    def clock_error_ms(self) -> int:
        """Milliseconds by which Redis's clock is ahead."""
        return round(self._redis.clock_error * 1_000)

    @property
    def now(self) -> float:
        """Unix time by Redis's clock, so that times to live do not depend on the clocks of nodes."""
        return self.clock.time() + self._redis.clock_error

    def history_arguments(self, last_event: KnownEvent) -> tuple[Argument, ...]:
        """Return the arguments by which a script checks whether the history continues; see ``epoch.lua``."""
        dataset = self._redis.dataset
        return (
            self._new_id(),
            dataset.replication_id,
            int(dataset.is_complete),
            *last_event,
            self._keys.channel(self.tenant_id),
        )

    def run(self, script: Script, *arguments: Argument) -> Deferred[Reply]:
        """Run a script on the tenant's keys; fires with its reply."""
        return self._redis.run(script, [self.meta], *arguments)

    async def stream_status(self, last_event: KnownEvent, asked_epoch: str) -> StreamStatus:
        """Return the position of the stream; begin a new epoch if the last known event is not in Redis.

        Args:
            asked_epoch: the epoch that ``valid_up_to`` is about.
        """
        reply = await self.run(STREAM_POSITION, *self.history_arguments(last_event), asked_epoch)
        return StreamStatus(*_decode_status(reply))

    async def read_log(self, after: int, limit: int) -> LogRange:
        """Return at most ``limit`` publications after a position, and no more than about ``PAGE_BYTES``."""
        epoch, head, text = await self._redis.run(STREAM_READ, [self.meta, self._log], after, limit, PAGE_BYTES)
        return LogRange(epoch.decode(), int(head), decode_publications(text, self.tenant_id, self.clock_offset))

    async def state_positions(self, last_event: KnownEvent) -> tuple[str, int, list[int]]:
        """Return the epoch, the head, and the positions of the state's events at that head, unordered."""
        epoch, head, text = await self.run(STATE_POSITIONS, *self.history_arguments(last_event))
        return epoch.decode(), int(head), [int(seq) for seq in text.split(b",") if seq]

    async def state_events(self, positions: Sequence[int]) -> StatePage:
        """Return the state's events at the first of these positions, without those that the state has dropped since."""
        epoch, head, count, text = await self._redis.run(
            STATE_EVENTS, [self.meta, *self._state_lines], PAGE_BYTES, *positions
        )
        publications = decode_publications(text, self.tenant_id, self.clock_offset)
        return StatePage(epoch.decode(), int(head), publications, count)

    async def entity(self, key: EntityKey) -> Entity | None:
        """Return one entity of the state, with its owner; None if it is not in the state."""
        owner, changed_by, changed_at, text = await self.run(STATE_ENTITY, encode_json(key))
        publications = decode_publications(text, self.tenant_id, self.clock_offset)
        state = State(self.chat_messages)
        for publication in sorted(publications, key=lambda publication: publication.seq):
            state.restore(publication)
        entity = state.entity(key)
        if entity is None:
            return None
        entity.owner = owner.decode() or None
        if changed_by:
            # Its last event may be a message of the chat.
            entity.changed_by, entity.changed_at = int(changed_by), float(changed_at) - self.clock_offset
            if entity.changed_at < self.clock.monotonic() - ENTITY_LIFETIME:
                return None
        return entity

    async def owners(self, keys: Sequence[EntityKey]) -> list[str | None]:
        """Return the owner of each of these entities; None for one that has none or is not in the state."""
        names = [encode_json(key) for key in keys]
        found = await self._redis.send("HMGET", self._keys.of(self.tenant_id, "entities"), *names)
        return [None if record is None else _decode_entity(record).o for record in found]

    async def mail_users(self, max_users: int) -> set[str] | None:
        """Return the users who may have mail; None if there are more than ``max_users``."""
        name = self._keys.of(self.tenant_id, "mailusers")
        if await self._redis.send("SCARD", name) > max_users:
            return None
        return {user.decode() for user in await self._redis.send("SMEMBERS", name)}

    async def read_mailbox(self, user_id: str, after: int, limit: int) -> MailboxPage:
        """Return a page of a user's mailbox."""
        gap, text = await self.run(MAILBOX_READ, user_id, after, limit, repr(self.now))
        lines = text.split(b"\n") if text else []
        publications = decode_publications(b"\n".join(line[2:] for line in lines), self.tenant_id, self.clock_offset)
        items = [
            MailboxItem(publication, line[:1] == b"1") for publication, line in zip(publications, lines, strict=True)
        ]
        return MailboxPage(items, MailboxGap(*map(int, gap.split())) if gap else None)

    def mark_mail(self, user_id: str, mark: MailMark, event_ids: list[str]) -> Deferred[object]:
        """Record that mailbox items were sent, or remove acknowledged ones; fires when that is done."""
        return self.run(MAIL_ACK, user_id, mark, *event_ids)
