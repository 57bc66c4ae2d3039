"""TenantStore: the questions about one tenant that Redis answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from callcenter_ws.broker.redis.codec import publications_in
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import MailboxGap, MailboxItem, MailboxPage
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.connection import Argument
from callcenter_ws.redis.keys import Keys
from callcenter_ws.redis.scripts import LOAD, MAIL, PAGE, READ, SYNC, TAKE, Script
from callcenter_ws.runtime.clock import Clock

CHUNK_BYTES = 262_144
"""Bytes after which a stretch ends, so that nobody's large events fill the memory."""

Known = tuple[str, int, str]
"""The last event that a node knows of a tenant: epoch, position, identifier."""

NOTHING: Known = ("", 0, "")

_decode_standing = msgspec.json.Decoder(tuple[str, int, int, int]).decode


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """Where a stream stands.

    Attributes:
        begun: the epoch's first event came behind this position.
        good_up_to: positions of the epoch that was asked about are good up to here, although it has ended; -1: none.
    """

    epoch: str
    head: int
    begun: int
    good_up_to: int


@dataclass(frozen=True, slots=True)
class LogRange:
    """A piece of the log, and where the stream stands."""

    epoch: str
    head: int
    publications: list[Publication]


@dataclass(frozen=True, slots=True)
class Page(LogRange):
    """Events of a tenant's state; ``taken`` positions were looked at."""

    taken: int


class TenantStore:
    """One tenant's part of Redis. Everything raises ``Refusal``, ``unavailable``, when Redis does not answer."""

    def __init__(self, redis: RedisClient, keys: Keys, clock: Clock, new_id: Callable[[], str], tenant_id: str) -> None:
        self._redis = redis
        self._keys = keys
        self._clock = clock
        self._new_id = new_id
        self.tenant_id = tenant_id
        self.meta = keys.meta(tenant_id)
        self._log = keys.of(tenant_id, "log")
        self._slots = keys.of(tenant_id, "slots")

    @property
    def clock_offset(self) -> float:
        """Redis's Unix time less the monotonic clock's."""
        return self.now - self._clock.monotonic()

    @property
    def now(self) -> float:
        """Unix time by Redis's clock: what is kept for so long is kept so for all nodes, whatever their clocks say."""
        return self._clock.time() + self._redis.clock_error

    def history_arguments(self, known: Known) -> tuple[Argument, ...]:
        """What every script is given that looks whether the history goes on."""
        here = self._redis.incarnation
        return (self._new_id(), here.run, int(here.vouched), *known, self._keys.channel(self.tenant_id))

    def run(self, script: Script, *arguments: Argument) -> Deferred[Any]:
        """Run a script that works on the tenant's keys."""
        return self._redis.run(script, [self.meta], *arguments)

    async def standing(self, known: Known, asked_epoch: str) -> StreamStatus:
        """Where the stream stands; looks whether what is known is still true, and begins an epoch if it is not."""
        reply = await self.run(SYNC, *self.history_arguments(known), asked_epoch)
        return StreamStatus(*_decode_standing(reply))

    async def stretch(self, after: int, limit: int) -> LogRange:
        """At most ``limit`` events that come behind a position."""
        epoch, head, text = await self._redis.run(READ, [self.meta, self._log], after, limit, CHUNK_BYTES)
        return LogRange(epoch.decode(), int(head), publications_in(text, self.tenant_id, self.clock_offset))

    async def state_places(self, known: Known) -> tuple[str, int, list[int]]:
        """Where the events are that the state is made of, as of one moment: epoch, head, positions in no order."""
        epoch, head, text = await self.run(LOAD, *self.history_arguments(known))
        return epoch.decode(), int(head), [int(seq) for seq in text.split(b",") if seq]

    async def state_page(self, places: Sequence[int]) -> Page:
        """Events of the state at some of these positions, the first ones; without those that it has let go."""
        epoch, head, taken, text = await self._redis.run(PAGE, [self.meta, self._slots], CHUNK_BYTES, *places)
        return Page(epoch.decode(), int(head), publications_in(text, self.tenant_id, self.clock_offset), taken)

    async def mail_users(self, most: int) -> set[str] | None:
        """Who may have mail; None: more than so many."""
        name = self._keys.of(self.tenant_id, "mailusers")
        if await self._redis.send("SCARD", name) > most:
            return None
        return {user.decode() for user in await self._redis.send("SMEMBERS", name)}

    async def mail(self, user_id: str, after: int, limit: int) -> MailboxPage:
        """A stretch of a user's mailbox."""
        gap, text = await self.run(MAIL, user_id, after, limit, repr(self.now))
        lines = text.split(b"\n") if text else []
        publications = publications_in(b"\n".join(line[2:] for line in lines), self.tenant_id, self.clock_offset)
        items = [
            MailboxItem(publication, line[:1] == b"1") for publication, line in zip(publications, lines, strict=True)
        ]
        return MailboxPage(items, MailboxGap(*map(int, gap.split())) if gap else None)

    def note_mail(self, user_id: str, what: str, event_ids: list[str]) -> Deferred[Any]:
        """Note that messages were sent or taken; a Deferred that fires when that is done."""
        return self.run(TAKE, user_id, what, *event_ids)
