"""Builds the store that ``store.url`` names, with the presence tracking and the directory that belong to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.broker.counters import StoreCounters
from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.broker.redis.broker import RedisBroker
from callcenter_ws.broker.sqlite.broker import SqliteBroker
from callcenter_ws.broker.sqlite.file import StoreUnusable
from callcenter_ws.call_log.service import CallLog
from callcenter_ws.cluster.local_directory import LocalDirectory
from callcenter_ws.cluster.local_presence import LocalPresence
from callcenter_ws.cluster.node import Cluster
from callcenter_ws.config.settings import Settings
from callcenter_ws.delivery.drain import longest_absence
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.delivery.limits import Limits, OverUserLimit
from callcenter_ws.events.event import Origin
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.figures.service import Figures
from callcenter_ws.interfaces import AccountStore, Broker, Deliver, Directory, Interrupted, Position, PresenceTracker
from callcenter_ws.redis.address import redis_address
from callcenter_ws.redis.counters import RedisCounters
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.start_failed import StartFailed
from callcenter_ws.sources.announcer import SourceAnnouncer
from callcenter_ws.sources.local import LocalSources
from callcenter_ws.sources.registry import SourceRegistry
from callcenter_ws.sources.shared import SharedSources
from callcenter_ws.statistics.store import FigureStore

_log = Logger()


class EventStore(Protocol):
    """A broker, and the presence tracking and directory that have the same scope: this process, or all nodes."""

    @property
    def broker(self) -> Broker:
        """The broker, which makes events durable."""

    @property
    def presence(self) -> PresenceTracker:
        """The presence tracker, for the Hub."""

    @property
    def sources(self) -> SourceRegistry:
        """The registry of sources, for the edges."""

    @property
    def accounts(self) -> AccountStore:
        """The users and sessions of the pages."""

    @property
    def counters(self) -> StoreCounters:
        """The counters of the broker, for the metrics."""

    @property
    def redis_counters(self) -> RedisCounters | None:
        """The counters of the connections to Redis; None for another store."""

    def live_processes(self) -> int | None:
        """Return how many processes that share the store are alive; None if only this one can use it."""

    def directory(self, hub: Hub) -> Directory:
        """Return the directory of connected users; to be called once."""

    def change_limits(self, limits: Limits, over_user_limit: OverUserLimit) -> None:
        """Use other limits from now on."""

    async def others_take_over(self) -> bool:
        """Return whether other nodes with the same store are alive, as far as this node knows, and can take clients.

        If it is cancelled, what was known last is the result.
        """

    @property
    def figures(self) -> FigureStore:
        """Where the rows of the statistics are."""

    async def known_tenants(self) -> Sequence[str]:
        """Return the tenants that have published, unless each event is delivered to this process anyway.

        Raises:
            Refusal: the store cannot be reached.
        """

    def open(self, hub: Hub, figures: Figures, commands: Deliver, call_log: CallLog) -> None:
        """Open the store, and deliver its events to ``hub``, ``commands``, ``call_log`` and then ``figures``.

        Raises:
            StartFailed: the store cannot be opened; the reason has been logged.
        """

    async def close(self) -> None:
        """Close the store, after the last client has disconnected."""


def event_store(
    reactor: Reactor,
    clock: ReactorClock,
    settings: Settings,
    instance: str,
    close_revoked_sessions: Callable[[], int],
) -> EventStore:
    """Return the store that ``store.url`` names, not opened yet.

    Args:
        instance: the name of this process among those that share the store.
        close_revoked_sessions: closes the AMP sessions whose token was revoked, and returns how many it closed.

    Raises:
        OSError, ValueError: a file that is needed to connect to Redis cannot be read.
    """
    if settings.redis_is_used:
        return RedisStore(reactor, clock, settings, instance, close_revoked_sessions)
    return LocalStore(reactor, clock, settings)


class LocalStore:
    """A store that only this process uses: a SQLite file, or memory."""

    redis_counters: RedisCounters | None = None

    def __init__(self, reactor: Reactor, clock: ReactorClock, settings: Settings) -> None:
        self._clock = clock
        self._limits = settings.limits
        self.broker = _local_broker(reactor, clock, settings)
        self.accounts: AccountStore = self.broker.accounts
        self.counters = self.broker.counters
        self.figures: FigureStore = self.broker.figures
        broadcaster = EventBroadcaster(self.broker, clock)

        async def publish_presence(tenant_id: str, payload: dict[str, object]) -> None:
            await broadcaster.publish(tenant_id, "presence.changed", payload, origin=Origin.GATEWAY)

        grace = settings.limits.presence_grace
        self.presence = LocalPresence(clock, spawn, publish_presence, self.broker, grace, _drain_grace(settings.limits))
        new_id = UlidFactory(clock.time)
        announcer = SourceAnnouncer(self.broker, clock, new_id)
        self.sources = LocalSources(self.broker, announcer, clock, spawn, new_id, lease=settings.amp.source_lease)

    def live_processes(self) -> None:
        """Return nothing: no other process uses the store."""

    def directory(self, hub: Hub) -> LocalDirectory:
        """Return the directory of this node."""
        return LocalDirectory(hub, self.presence, self.broker, self._clock)

    def change_limits(self, limits: Limits, over_user_limit: OverUserLimit) -> None:
        """Use another grace from now on; the connections of a user are limited by ``requests.admission`` alone."""
        self.presence.grace = limits.presence_grace
        self.presence.drain_grace = _drain_grace(limits)

    async def others_take_over(self) -> bool:
        """Return False: the store has one process."""
        return False

    async def known_tenants(self) -> Sequence[str]:
        """Return nothing: each event is delivered to this process."""
        return ()

    def open(self, hub: Hub, figures: Figures, commands: Deliver, call_log: CallLog) -> None:
        """Open the store; restore presence and revocations from it.

        Raises:
            StartFailed: the file cannot be used. Without it the gateway would lose the events that it accepts.
        """
        failures: list[Failure] = []
        deliver = _each_of(hub.deliver, commands, call_log.delivered, figures.deliver)
        # A file is opened within the call, before anything else runs, so the outcome is known when it returns.
        Deferred.fromCoroutine(self.broker.start(deliver)).addErrback(failures.append)
        if not failures:
            # The previous process has asked its clients to reconnect, the last of them after this time.
            self.presence.resume(longest_absence(self._limits.drain_timeout))
            hub.revocations.merge(self.broker.load_revocations())
            self.sources.start()
            return
        error = failures[0].value
        if not isinstance(error, StoreUnusable):
            failures[0].raiseException()
        _log.critical("cannot open the store: {reason}", reason=error)
        raise StartFailed(f"cannot open the store: {error}")

    async def close(self) -> None:
        """Close the store."""
        self.sources.stop()
        await self.broker.stop()


class RedisStore:
    """A Redis that several nodes may share."""

    def __init__(
        self,
        reactor: Reactor,
        clock: ReactorClock,
        settings: Settings,
        instance: str,
        close_revoked_sessions: Callable[[], int],
    ) -> None:
        store = settings.store
        password = None if store.password_file is None else store.password_file.read_text().strip()
        self.broker = RedisBroker(
            reactor,
            clock,
            spawn,
            redis_address(store.url, password),
            prefix=store.key_prefix,
            ca_file=store.ca_file,
            timeout=store.timeout,
            history_events=store.history_events,
            history_bytes=store.history_bytes,
            history_seconds=store.history_seconds,
            memory_events=store.memory_events,
            memory_bytes=store.memory_bytes,
            chat_messages=settings.public.history,
            unfolded_events=settings.statistics.unfolded_events,
            unfolded_bytes=settings.statistics.unfolded_bytes,
            figure_lease=settings.statistics.lease,
        )
        self.accounts: AccountStore = self.broker.accounts
        self.counters = self.broker.counters
        self.figures: FigureStore = self.broker.figures
        self.redis_counters: RedisCounters | None = self.broker.redis.counters
        new_id = UlidFactory(clock.time)
        announcer = SourceAnnouncer(self.broker, clock, new_id)
        self.sources = SharedSources(self.broker, announcer, clock, spawn, new_id, lease=settings.amp.source_lease)
        self._cluster = Cluster(
            self.broker,
            clock,
            spawn,
            settings.limits,
            node=instance,
            lease=settings.cluster.lease,
            history_limits=(store.history_events, store.history_seconds),
            revoked=close_revoked_sessions,
            over_user_limit=settings.policy.over_user_limit,
        )
        self.presence = self._cluster.presence

    def live_processes(self) -> int:
        """Return how many processes of the cluster are alive, as far as this one knows."""
        return self._cluster.live_processes()

    def directory(self, hub: Hub) -> Directory:
        """Return the directory of all nodes."""
        return self._cluster.directory(hub)

    def change_limits(self, limits: Limits, over_user_limit: OverUserLimit) -> None:
        """Use other limits from now on, for the users of this node."""
        self._cluster.change_limits(limits, over_user_limit)

    async def others_take_over(self) -> bool:
        """Return whether there is another node beside this one and its workers."""
        return await self._cluster.has_other_nodes()

    async def known_tenants(self) -> Sequence[str]:
        """Return the tenants that have published."""
        return await self.broker.known_tenants()

    def open(self, hub: Hub, figures: Figures, commands: Deliver, call_log: CallLog) -> None:
        """Start to connect. While Redis cannot be reached, ``/readyz`` reports it and connecting is retried."""
        interrupted = _each_interrupted(hub.interrupted, call_log.interrupted, figures.interrupted)
        spawn(self.broker.start(_each_of(hub.deliver, commands, call_log.delivered, figures.deliver), interrupted))
        self._cluster.start()
        self.sources.start()

    async def close(self) -> None:
        """Leave the cluster, then close the connections to Redis."""
        self.sources.stop()
        await self._cluster.stop()
        await self.broker.stop()


def _drain_grace(limits: Limits) -> float:
    """Return the seconds that users of a process that stops have to reconnect."""
    return limits.presence_grace + longest_absence(limits.drain_timeout)


def _local_broker(reactor: Reactor, clock: ReactorClock, settings: Settings) -> MemoryBroker | SqliteBroker:
    store, file = settings.store, settings.store_file
    if file is None:
        return MemoryBroker(
            clock,
            memory_events=min(store.memory_events, store.history_events),
            memory_bytes=store.memory_bytes,
            history_bytes=store.history_bytes,
            chat_messages=settings.public.history,
            history_seconds=store.history_seconds,
            unfolded_events=settings.statistics.unfolded_events,
            unfolded_bytes=settings.statistics.unfolded_bytes,
        )
    return SqliteBroker(
        reactor,
        clock,
        file,
        synchronous=store.synchronous,
        history_events=store.history_events,
        history_bytes=store.history_bytes,
        history_seconds=store.history_seconds,
        memory_events=store.memory_events,
        memory_bytes=store.memory_bytes,
        chat_messages=settings.public.history,
        unfolded_events=settings.statistics.unfolded_events,
        unfolded_bytes=settings.statistics.unfolded_bytes,
    )


def _each_of(*receivers: Deliver) -> Deliver:
    """Return a ``Deliver`` that calls several."""

    def deliver(publications: Sequence[Publication]) -> None:
        for receiver in receivers:
            receiver(publications)

    return deliver


def _each_interrupted(*receivers: Interrupted) -> Interrupted:
    """Return an ``Interrupted`` that calls several."""

    def interrupted(tenant_id: str, position: Position) -> None:
        for receiver in receivers:
            receiver(tenant_id, position)

    return interrupted
