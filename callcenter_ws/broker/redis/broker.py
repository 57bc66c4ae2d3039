"""RedisBroker: a broker that keeps everything in Redis, shared by any number of nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from twisted.internet.defer import Deferred, succeed

from callcenter_ws.broker.chat_messages import DEFAULT_MESSAGES
from callcenter_ws.broker.counters import StoreCounters
from callcenter_ws.broker.redis.accounts import RedisAccounts
from callcenter_ws.broker.redis.commands import RedisCommands
from callcenter_ws.broker.redis.figures import RedisFigures
from callcenter_ws.broker.redis.follower import Follower
from callcenter_ws.broker.redis.followers import Followers
from callcenter_ws.broker.redis.pending_mail import PendingMailWrites
from callcenter_ws.broker.redis.publisher import Publisher
from callcenter_ws.broker.redis.tenant_discovery import SCAN_COUNT, TenantDiscovery
from callcenter_ws.broker.redis.tenant_registry import TenantRegistry
from callcenter_ws.broker.redis.tenant_store import KnownEvent, TenantStore
from callcenter_ws.broker.submission import Outcome
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import EntityKey
from callcenter_ws.events.entity import Entity
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
    ignore_interruption,
)
from callcenter_ws.redis.address import RedisAddress
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.keys import Keys
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.runtime.reactor import Reactor

_CLOSED = "the store is closed"


class RedisBroker:
    """Implements ``interfaces.Broker`` in a Redis.

    Args:
        prefix: prefix of the names of all keys.
        ca_file: PEM certificates by which a TLS server's certificate is verified; None: those of the system.
        timeout: seconds after which a Redis that does not answer counts as unavailable.
        history_events, history_bytes, history_seconds: how much of each tenant's stream is kept in Redis.
        memory_events: how many publications of each tenant that is followed are kept in memory as well.
        memory_bytes: limit of the memory for them, over all tenants.
        chat_messages: messages of each open chat in the state.
        unfolded_events, unfolded_bytes: the limits of a history that the statistics still need.
        figure_lease: seconds for which a claim of a tenant's statistics holds without being extended.

    Attributes:
        redis, keys, tenants: for other data in the same Redis.
        accounts: users of the pages that the gateway serves.
        commands: what clients have asked to be done.
        counters: for the metrics.
    """

    def __init__(
        self,
        reactor: Reactor,
        clock: Clock,
        spawn: Spawn,
        address: RedisAddress,
        *,
        prefix: str = "callcenter-ws",
        ca_file: Path | None = None,
        timeout: float = 3.0,
        history_events: int = 10_000,
        history_bytes: int = 268_435_456,
        history_seconds: float = 86_400,
        memory_events: int = 1_000,
        memory_bytes: int = 268_435_456,
        chat_messages: int = DEFAULT_MESSAGES,
        unfolded_events: int = 1_000_000,
        unfolded_bytes: int = 536_870_912,
        figure_lease: float = 10.0,
    ) -> None:
        self._clock = clock
        self._spawn = spawn
        self._timeout = timeout
        self._history_events = history_events
        self._history_seconds = history_seconds
        self._chat_messages = chat_messages
        self._new_id = UlidFactory(clock.time)
        self._is_stopping = False
        self._deliver: Deliver | None = None
        self._interrupted: Interrupted = ignore_interruption
        self.counters = StoreCounters()
        self.keys = Keys(prefix, address.database)
        self.redis = RedisClient(
            reactor,
            address,
            ca_file=ca_file,
            timeout=timeout,
            channels=self._channels,
            on_message=self._message_received,
            on_subscribed=self._subscribed,
            on_connected=self._connected,
        )
        self.figures = RedisFigures(
            self.redis,
            self.keys,
            self.tenant_store,
            self._new_id,
            max_events=unfolded_events,
            max_bytes=unfolded_bytes,
            lease=figure_lease,
        )
        self.accounts = RedisAccounts(self.redis, self.keys)
        self.commands = RedisCommands(self.redis, self.keys, self.tenant_store, self.subscribe)
        self.tenants = TenantRegistry(self.redis, self.keys)
        self._followers = Followers(
            clock,
            lambda follow: TenantDiscovery(self.redis, self.keys, clock, spawn, follow),
            self._make_follower,
            lambda tenant_id: self.redis.subscribe(self.keys.channel(tenant_id)),
            lambda tenant_id: self.redis.unsubscribe(self.keys.channel(tenant_id)),
            memory_events=min(memory_events, history_events),
            memory_bytes=memory_bytes,
            history_seconds=history_seconds,
        )
        self._publisher = Publisher(
            self.redis,
            self.tenants,
            clock,
            spawn,
            self.tenant_store,
            self._last_delivered,
            self._published,
            self.counters,
            history_events=history_events,
            history_bytes=history_bytes,
            history_seconds=history_seconds,
        )
        self._pending_mail = PendingMailWrites(self.tenant_store, clock, spawn, lambda: self.redis.is_connected)
        # Of channels that are not a tenant's.
        self._message_handlers: dict[str, Callable[[bytes], None]] = {
            self.keys.tenants_channel: self._followers.tenant_announced
        }
        self._connection_handlers: list[Callable[[], None]] = []

    def tenant_store(self, tenant_id: str) -> TenantStore:
        """Return the store of one tenant's data."""
        return TenantStore(self.redis, self.keys, self._clock, self._new_id, tenant_id, self._chat_messages)

    def _make_follower(self, tenant_id: str, trim_memory: Callable[[Follower], None], from_the_start: bool) -> Follower:
        return Follower(
            self.tenant_store(tenant_id),
            self._clock,
            self._spawn,
            self._deliver_publications,
            self._report_interruption,
            trim_memory,
            from_the_start=from_the_start,
        )

    async def start(self, deliver: Deliver, interrupted: Interrupted = ignore_interruption) -> None:
        """Begin to connect; until connected, all requests are refused with ``unavailable``."""
        self._deliver, self._interrupted, self._is_stopping = deliver, interrupted, False
        self.redis.start()
        self._followers.start()

    async def stop(self) -> None:
        """Finish the accepted events if Redis answers, then close the connections."""
        if self._deliver is None or self._is_stopping:
            return
        self._is_stopping = True
        await self._publisher.finish()
        await self.figures.stop()
        with suppress(Refusal):
            # Commands are processed in order: when this is answered, so are all mail marks.
            await self.redis.send("PING")
        self._pending_mail.stop()
        self._followers.stop(Refusal(ErrorCode.UNAVAILABLE, _CLOSED))
        self._deliver = None
        await self.redis.stop()

    def attach(self, tenant_id: str) -> None:
        """Follow the tenant; see ``interfaces.Broker.attach``."""
        self._followers.attach(tenant_id)

    def detach(self, tenant_id: str) -> None:
        """Follow the tenant only a little longer; see ``interfaces.Broker.detach``."""
        self._followers.detach(tenant_id)

    def subscribe(self, channel: str, handler: Callable[[bytes], None]) -> None:
        """Subscribe to a channel that is not a tenant's.

        Args:
            handler: called with each message; with an empty one when messages may have been missed.
        """
        self._message_handlers[channel] = handler
        self.redis.subscribe(channel)

    def on_connected(self, handler: Callable[[], None]) -> None:
        """Have ``handler`` called whenever the connection for commands has been made."""
        self._connection_handlers.append(handler)

    def _deliver_publications(self, publications: Sequence[Publication]) -> None:
        if self._deliver is not None:
            self._deliver(publications)

    def _report_interruption(self, tenant_id: str, position: Position) -> None:
        if self._deliver is not None:
            self._interrupted(tenant_id, position)

    # Events of the Redis client

    def _channels(self) -> list[str]:
        return [*self._message_handlers, *(self.keys.channel(follower.tenant_id) for follower in self._followers)]

    def _connected(self) -> None:
        """Check everything: it may be another Redis, or one that has lost data."""
        self.tenants.clear()
        self.figures.connected()
        for follower in self._followers:
            follower.synchronise()
        self._pending_mail.write()
        self._followers.scan_tenants()
        for handler in self._connection_handlers:
            handler()

    def _subscribed(self, channel: str) -> None:
        """Messages before the subscription was confirmed may have been missed."""
        handler = self._message_handlers.get(channel)
        if handler is not None:
            handler(b"")
            return
        follower = self._followers.get(self.keys.tenant_of(channel))
        if follower is not None:
            follower.synchronise()
            self.figures.announced(follower.tenant_id, None)

    def _message_received(self, channel: str, data: bytes) -> None:
        handler = self._message_handlers.get(channel)
        if handler is not None:
            handler(data)
            return
        follower = self._followers.get(self.keys.tenant_of(channel))
        if follower is not None:
            try:
                if data.startswith(b"=\n"):
                    self.figures.receive(follower.tenant_id, data[2:])
                    return
                epoch, first, last, text = data.split(b"\n", 3)
                follower.announced(epoch.decode(), int(first), int(last), text)
            except (ValueError, msgspec.DecodeError):
                # Not an announcement of a gateway: read what Redis holds.
                follower.synchronise()

    # Publishing

    def publish(self, events: Sequence[Event]) -> Deferred[list[Outcome]]:
        """Append the events; see ``interfaces.Broker.publish``."""
        if not events:
            return succeed([])
        if self._deliver is None or self._is_stopping:
            return succeed([Refusal(ErrorCode.UNAVAILABLE, _CLOSED) for _ in events])
        return self._publisher.publish(events)

    def _last_delivered(self, tenant_id: str) -> KnownEvent | None:
        follower = self._followers.get(tenant_id)
        return follower.last_event if follower is not None and follower.epoch else None

    def _published(self, tenant_id: str, epoch: str, publications: list[Publication]) -> None:
        follower = self._followers.get(tenant_id)
        if follower is not None:
            follower.published(epoch, publications)

    # Reading

    async def position(self, tenant_id: str, known: Position | None = None) -> Position:
        """Return the head of the tenant's stream; see ``interfaces.Broker.position``."""
        follower = self._followers.get(tenant_id)
        tenant_store = self.tenant_store(tenant_id)
        if follower is None:
            last_event = self._publisher.last_event(tenant_id)
            status = await tenant_store.stream_status(last_event, known.epoch if known else "")
            is_valid = known is not None and known.seq <= status.valid_up_to
            return Position(known.epoch if known and is_valid else status.epoch, status.head)
        await follower.wait_for(0)
        while known is not None and (known.epoch != follower.epoch or known.seq > follower.head):
            status = await tenant_store.stream_status(follower.last_event, known.epoch)
            if status.epoch != follower.epoch:
                await follower.confirm_history()
                continue
            if known.seq <= (status.head if known.epoch == status.epoch else status.valid_up_to):
                # Another node may have delivered more than this one.
                await follower.wait_for(known.seq)
                return Position(known.epoch, follower.head)
            break
        return Position(follower.epoch, follower.head)

    async def read(self, tenant_id: str, after: int, limit: int) -> HistoryPage:
        """Return at most ``limit`` publications after a position, from memory if that reaches back so far."""
        follower = self._followers.get(tenant_id)
        publications: Sequence[Publication]
        # At least one publication is read: its age shows whether the history still reaches back so far.
        if follower is not None:
            await follower.wait_for(0)
            epoch, head = follower.epoch, follower.head
            if after >= head:
                return HistoryPage(epoch, [], True, head)
            if after >= follower.history.floor:
                publications = follower.history.after(after, max(limit, 1))
                return self._history_page(epoch, publications, head, after, limit)
        found = await self.tenant_store(tenant_id).read_log(after, max(limit, 1))
        if follower is None:
            head = found.head
        publications = [publication for publication in found.publications if publication.seq <= head]
        epoch = found.epoch or (await self.position(tenant_id)).epoch
        if after >= head:
            return HistoryPage(epoch, [], True, head)
        return self._history_page(epoch, publications, head, after, limit)

    def _history_page(
        self, epoch: str, publications: Sequence[Publication], head: int, after: int, limit: int
    ) -> HistoryPage:
        oldest = self._clock.monotonic() - self._history_seconds
        is_whole = (
            bool(publications) and publications[0].seq == after + 1 and publications[0].event.received_at >= oldest
        )
        if not is_whole or after < head - self._history_events:
            return HistoryPage(epoch, [], False, head)
        return HistoryPage(epoch, publications[:limit], True, head)

    async def snapshot(self, tenant_id: str) -> Snapshot:
        """Return the tenant's state at its head."""
        follower = self._followers.get(tenant_id)
        if follower is not None:
            seq, publications = await follower.state()
            return Snapshot(follower.epoch, seq, publications)
        temporary = self._temporary_follower(tenant_id)
        try:
            seq, publications = await temporary.state()
        finally:
            temporary.stop(Refusal(ErrorCode.UNAVAILABLE, _CLOSED))
        return Snapshot(temporary.epoch, seq, publications)

    async def entities(self, tenant_id: str, kind: str) -> list[tuple[EntityKey, Entity]]:
        """Return the entities of a kind; see ``interfaces.Broker.entities``."""
        follower = self._followers.get(tenant_id)
        if follower is not None:
            return await follower.entities(kind)
        temporary = self._temporary_follower(tenant_id)
        try:
            return await temporary.entities(kind)
        finally:
            temporary.stop(Refusal(ErrorCode.UNAVAILABLE, _CLOSED))

    async def entity(self, tenant_id: str, key: EntityKey) -> Entity | None:
        """Return one entity of the tenant's state, with its owner."""
        follower = self._followers.get(tenant_id)
        if follower is not None:
            return await follower.entity(key)
        # Its state is not in memory, and may be large.
        return await self.tenant_store(tenant_id).entity(key)

    def _temporary_follower(self, tenant_id: str) -> Follower:
        """Return a follower of a tenant that is not followed here, for one request."""
        tenant_store = self.tenant_store(tenant_id)
        return Follower(tenant_store, self._clock, self._spawn, lambda _: None, ignore_interruption, lambda _: None)

    def newest_of(self, tenant_id: str, conflation_key: tuple[str, ...]) -> int:
        """Return the ``seq`` of the newest publication in memory with this key; 0 when none is known."""
        follower = self._followers.get(tenant_id)
        return 0 if follower is None else follower.history.newest_of(conflation_key)

    # Mailboxes

    async def read_mailbox(self, tenant_id: str, user_id: str, after: int, limit: int) -> MailboxPage:
        """Return a page of a user's mailbox; see ``interfaces.Broker.read_mailbox``."""
        follower = self._followers.get(tenant_id)
        mail_count = 0
        if follower is not None:
            await follower.wait_for(0)
            if follower.mail_users is not None and user_id not in follower.mail_users:
                return MailboxPage([], None)
            mail_count = follower.mail_count
        page = await self.tenant_store(tenant_id).read_mailbox(user_id, after, limit)
        is_empty = not (after or page.items or page.gap)
        # Not if mail was delivered meanwhile: it may be for this user.
        if is_empty and follower is not None and follower.mail_count == mail_count and follower.mail_users is not None:
            follower.mail_users.discard(user_id)
        return page

    def mark_mail_sent(self, tenant_id: str, user_id: str, event_ids: Sequence[str]) -> None:
        """Record that mailbox items were written to a socket of the user."""
        self.counters.mail_sent += len(event_ids)
        self._pending_mail.add(tenant_id, user_id, "sent", event_ids)

    def acknowledge_mail(self, tenant_id: str, user_id: str, event_ids: Sequence[str]) -> None:
        """Remove items that the user has received from the mailbox."""
        self.counters.mail_acknowledged += len(event_ids)
        self._pending_mail.add(tenant_id, user_id, "acknowledged", event_ids)

    # Operations

    async def known_tenants(self) -> list[str]:
        """Return the tenants that have published.

        Raises:
            Refusal: Redis cannot be reached.
        """
        names: set[str] = set()
        cursor = b"0"
        while True:
            cursor, found = await self.redis.send("SSCAN", self.keys.tenants, cursor, "COUNT", SCAN_COUNT)
            names.update(name.decode() for name in found)
            if cursor == b"0":
                return sorted(names)

    def state(self) -> JsonObject:
        """Return this broker's part of ``/ws/stats``."""
        return {
            "kind": "redis",
            "ready": self.not_ready() is None,
            "tenants": len(self._followers),
            "memory_bytes": self._followers.bytes,
            "waiting_events": self._publisher.waiting_events,
        }

    def not_ready(self) -> str | None:
        """Return why the broker cannot serve now; None when it can."""
        return _CLOSED if self._deliver is None or self._is_stopping else self.redis.problem
