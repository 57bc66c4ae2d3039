"""RedisBroker: the store that many nodes share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed

from callcenter_ws.broker.redis.follower import Follower
from callcenter_ws.broker.redis.followers import Followers
from callcenter_ws.broker.redis.pending_mail import PendingMailWrites
from callcenter_ws.broker.redis.publisher import Publisher
from callcenter_ws.broker.redis.tenant_discovery import TenantDiscovery
from callcenter_ws.broker.redis.tenant_store import Known, TenantStore
from callcenter_ws.broker.submission import Outcome
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Event
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.interfaces import (
    Deliver,
    HistoryPage,
    Interrupted,
    MailboxPage,
    Position,
    Snapshot,
    nobody_is_interrupted,
)
from callcenter_ws.redis.address import RedisAddress
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.keys import Keys
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock

_CLOSED = "the store is closed"


class RedisBroker:
    """Implements ``interfaces.Broker`` in a Redis.

    Args:
        prefix: of the names of all keys.
        ca_file: PEM certificates that a TLS server's has to come from; None: the system's.
        timeout: seconds after which a Redis that does not answer counts as gone.
        history_events, history_seconds: how much of each tenant's stream is kept.
        memory_events: messages of each tenant with clients here that are held in memory as well.
        memory_bytes: bytes of them over all tenants.

    Attributes:
        engine, keys: for what else is kept in the same Redis.
    """

    def __init__(
        self,
        reactor: Any,
        clock: Clock,
        spawn: Spawn,
        address: RedisAddress,
        *,
        prefix: str = "callcenter-ws",
        ca_file: Path | None = None,
        timeout: float = 3.0,
        history_events: int = 10_000,
        history_seconds: float = 86_400,
        memory_events: int = 1_000,
        memory_bytes: int = 268_435_456,
    ) -> None:
        self._clock = clock
        self._spawn = spawn
        self._timeout = timeout
        self._history_events = history_events
        self._history_seconds = history_seconds
        self._new_id = UlidFactory(clock.time)
        self._is_stopping = False
        self._deliver: Deliver | None = None
        self._interrupted: Interrupted = nobody_is_interrupted
        self.keys = Keys(prefix, address.database)
        self.redis = RedisClient(
            reactor,
            address,
            ca_file=ca_file,
            timeout=timeout,
            channels=self._channels,
            announced=self._announced,
            listening=self._listening,
            connected=self._connected,
        )
        self._following = Followers(
            clock,
            lambda follow: TenantDiscovery(self.redis, self.keys, clock, spawn, follow),
            self._follower,
            lambda tenant_id: self.redis.listen(self.keys.channel(tenant_id)),
            lambda tenant_id: self.redis.forget(self.keys.channel(tenant_id)),
            memory_events=min(memory_events, history_events),
            memory_bytes=memory_bytes,
            history_seconds=history_seconds,
        )
        self._publisher = Publisher(
            self.redis,
            self.keys,
            clock,
            spawn,
            self.tenant_store,
            self._known,
            self._published,
            history_events=history_events,
            history_seconds=history_seconds,
        )
        self._notes = PendingMailWrites(self.tenant_store, clock, spawn, lambda: self.redis.is_connected)
        self._hearers: dict[str, Callable[[bytes], None]] = {
            self.keys.tenants_channel: lambda name: self._following.tenant_announced(name)
        }
        self._when_connected: list[Callable[[], None]] = []

    def tenant_store(self, tenant_id: str) -> TenantStore:
        """One tenant's part of Redis."""
        return TenantStore(self.redis, self.keys, self._clock, self._new_id, tenant_id)

    def _follower(self, tenant_id: str, keep: Callable[[Follower], None], from_the_start: bool) -> Follower:
        tenant_store = self.tenant_store(tenant_id)
        return Follower(
            tenant_store,
            self._clock,
            self._spawn,
            self._hand_over,
            self._interrupt,
            keep,
            from_the_start=from_the_start,
        )

    # Life

    async def start(self, deliver: Deliver, interrupted: Interrupted = nobody_is_interrupted) -> None:
        """Begin to connect. Until that is done, everything is refused with ``unavailable``."""
        self._deliver, self._interrupted, self._is_stopping = deliver, interrupted, False
        self.redis.start()
        self._following.start()

    async def stop(self) -> None:
        """Finish what was accepted, as long as Redis answers, then close the connections."""
        if self._deliver is None or self._is_stopping:
            return
        self._is_stopping = True
        await self._publisher.finish()
        with suppress(Refusal):
            # Behind everything that was told to Redis and not waited for.
            await self.redis.send("PING")
        self._notes.stop()
        self._following.stop(Refusal(ErrorCode.UNAVAILABLE, _CLOSED))
        self._deliver = None
        await self.redis.stop()

    def attach(self, tenant_id: str) -> None:
        """Somebody here wants the tenant's events: follow it."""
        self._following.attach(tenant_id)

    def detach(self, tenant_id: str) -> None:
        """Nobody here does: follow it a little longer."""
        self._following.detach(tenant_id)

    def hear(self, channel: str, hearer: Callable[[bytes], None]) -> None:
        """Have ``hearer`` given what is announced on a channel that is no tenant's."""
        self._hearers[channel] = hearer
        self.redis.listen(channel)

    def when_connected(self, call: Callable[[], None]) -> None:
        """Have ``call`` called each time that commands can be sent anew."""
        self._when_connected.append(call)

    def introduce_anew(self) -> None:
        """Have every tenant known to others once more, as soon as it is published for."""
        self._publisher.introduce_anew()

    def _hand_over(self, publications: Sequence[Publication]) -> None:
        if self._deliver is not None:
            self._deliver(publications)

    def _interrupt(self, tenant_id: str, position: Position) -> None:
        if self._deliver is not None:
            self._interrupted(tenant_id, position)

    # What Redis says

    def _channels(self) -> list[str]:
        return [*self._hearers, *(self.keys.channel(follower.tenant_id) for follower in self._following)]

    def _connected(self) -> None:
        """It may be another Redis, or one that has lost something: look before anything else."""
        self._publisher.introduce_anew()
        for follower in self._following:
            follower.synchronise()
        self._notes.tell()
        self._following.look_for_others()
        for call in self._when_connected:
            call()

    def _listening(self, channel: str) -> None:
        if channel in self._hearers:
            # What was announced before this may have been missed.
            self._hearers[channel](b"")
            return
        follower = self._following.get(self.keys.tenant_of(channel))
        if follower is not None:
            follower.synchronise()

    def _announced(self, channel: str, data: bytes) -> None:
        hearer = self._hearers.get(channel)
        if hearer is not None:
            hearer(data)
            return
        follower = self._following.get(self.keys.tenant_of(channel))
        if follower is not None:
            try:
                epoch, first, last, text = data.split(b"\n", 3)
                follower.announced(epoch.decode(), int(first), int(last), text)
            except (ValueError, msgspec.DecodeError):
                # Somebody else's: it is read what Redis really holds.
                follower.synchronise()

    # Publishing

    def publish(self, events: Sequence[Event]) -> Deferred[list[Outcome]]:
        """Append the events; see ``interfaces.Broker.publish``."""
        if not events:
            return succeed([])
        if self._deliver is None or self._is_stopping:
            return succeed([Refusal(ErrorCode.UNAVAILABLE, _CLOSED) for _ in events])
        return self._publisher.publish(events)

    def _known(self, tenant_id: str) -> Known | None:
        follower = self._following.get(tenant_id)
        return follower.known if follower is not None and follower.epoch else None

    def _published(self, tenant_id: str, epoch: str, publications: list[Publication]) -> None:
        follower = self._following.get(tenant_id)
        if follower is not None:
            follower.published(epoch, publications)

    # Reading

    async def position(self, tenant_id: str, known: Position | None = None) -> Position:
        """The head of the tenant's stream; see ``interfaces.Broker.position``."""
        follower = self._following.get(tenant_id)
        tenant_store = self.tenant_store(tenant_id)
        if follower is None:
            standing = await tenant_store.standing(self._publisher.last_known(tenant_id), known.epoch if known else "")
            is_good = known is not None and known.seq <= standing.good_up_to
            return Position(known.epoch if known and is_good else standing.epoch, standing.head)
        await follower.reaches(0)
        while known is not None and (known.epoch != follower.epoch or known.seq > follower.head):
            standing = await tenant_store.standing(follower.known, known.epoch)
            if standing.epoch != follower.epoch:
                await follower.settles()
                continue
            if known.seq <= (standing.head if known.epoch == standing.epoch else standing.good_up_to):
                # Another node may be ahead of this one.
                await follower.reaches(known.seq)
                return Position(known.epoch, follower.head)
            break
        return Position(follower.epoch, follower.head)

    async def read(self, tenant_id: str, after: int, limit: int) -> HistoryPage:
        """At most ``limit`` messages after ``after``, from memory as far as that reaches back, else from Redis."""
        follower = self._following.get(tenant_id)
        publications: Sequence[Publication]
        # One at least, whose age tells whether the history still reaches back so far.
        if follower is not None:
            await follower.reaches(0)
            epoch, head = follower.epoch, follower.head
            if after >= head:
                return HistoryPage(epoch, [], True, head)
            if after >= follower.history.floor:
                publications = follower.history.after(after, max(limit, 1))
                return self._slice(epoch, publications, head, after, limit)
        stretch = await self.tenant_store(tenant_id).stretch(after, max(limit, 1))
        if follower is None:
            head = stretch.head
        publications = [publication for publication in stretch.publications if publication.seq <= head]
        epoch = stretch.epoch or (await self.position(tenant_id)).epoch
        if after >= head:
            return HistoryPage(epoch, [], True, head)
        return self._slice(epoch, publications, head, after, limit)

    def _slice(self, epoch: str, publications: Sequence[Publication], head: int, after: int, limit: int) -> HistoryPage:
        oldest = self._clock.monotonic() - self._history_seconds
        is_whole = (
            bool(publications) and publications[0].seq == after + 1 and publications[0].event.received_at >= oldest
        )
        if not is_whole or after < head - self._history_events:
            return HistoryPage(epoch, [], False, head)
        return HistoryPage(epoch, publications[:limit], True, head)

    async def snapshot(self, tenant_id: str) -> Snapshot:
        """The tenant's state at its head."""
        follower = self._following.get(tenant_id)
        if follower is not None:
            seq, publications = await follower.state()
            return Snapshot(follower.epoch, seq, publications)
        # Nobody watches it here; it is read for this once.
        tenant_store = self.tenant_store(tenant_id)
        passing = Follower(
            tenant_store, self._clock, self._spawn, lambda _: None, nobody_is_interrupted, lambda _: None
        )
        try:
            seq, publications = await passing.state()
        finally:
            passing.stop(Refusal(ErrorCode.UNAVAILABLE, _CLOSED))
        return Snapshot(passing.epoch, seq, publications)

    def newest_of(self, tenant_id: str, conflation_key: tuple[str, ...]) -> int:
        """``seq`` of the newest message in memory with this key, or 0."""
        follower = self._following.get(tenant_id)
        return 0 if follower is None else follower.history.newest_of(conflation_key)

    # Mailboxes

    async def mail(self, tenant_id: str, user_id: str, after: int, limit: int) -> MailboxPage:
        """What waits for a user; see ``interfaces.Broker.mail``."""
        follower = self._following.get(tenant_id)
        items = 0
        if follower is not None:
            await follower.reaches(0)
            if follower.mail_users is not None and user_id not in follower.mail_users:
                return MailboxPage([], None)
            items = follower.items
        mail = await self.tenant_store(tenant_id).mail(user_id, after, limit)
        is_empty = not (after or mail.items or mail.gap)
        if is_empty and follower is not None and follower.items == items and follower.mail_users is not None:
            follower.mail_users.discard(user_id)
        return mail

    def mark_mail_sent(self, tenant_id: str, user_id: str, event_ids: Sequence[str]) -> None:
        """Messages were written to a socket of the user."""
        self._notes.note(tenant_id, user_id, "sent", event_ids)

    def acknowledge_mail(self, tenant_id: str, user_id: str, event_ids: Sequence[str]) -> None:
        """The user has these messages."""
        self._notes.note(tenant_id, user_id, "taken", event_ids)

    # For operators

    def state(self) -> dict[str, Any]:
        """What ``/ws/stats`` shows of this broker."""
        return {
            "kind": "redis",
            "ready": self.not_ready() is None,
            "tenants": len(self._following),
            "memory_bytes": self._following.bytes,
            "waiting_events": self._publisher.waiting_events,
        }

    def not_ready(self) -> str | None:
        """Why nothing can be written now."""
        return _CLOSED if self._deliver is None or self._is_stopping else self.redis.trouble
