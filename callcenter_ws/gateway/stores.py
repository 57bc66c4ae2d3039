"""The store that the settings name, and what depends on its kind: who is here, and who is told of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.broker.redis.broker import RedisBroker
from callcenter_ws.broker.sqlite.broker import SqliteBroker
from callcenter_ws.broker.sqlite.file import StoreUnusable
from callcenter_ws.cluster.local_directory import LocalDirectory
from callcenter_ws.cluster.local_presence import LocalPresence
from callcenter_ws.cluster.node import Cluster
from callcenter_ws.config.settings import Settings
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.events.event import Origin
from callcenter_ws.interfaces import Broker, Directory, PresenceTracker
from callcenter_ws.redis.address import redis_address
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import ReactorClock

_log = Logger()


class Store(Protocol):
    """A broker and what goes with it."""

    @property
    def broker(self) -> Broker:
        """Where events become durable."""

    @property
    def presence(self) -> PresenceTracker:
        """Is told who comes and goes."""

    def directory(self, hub: Hub) -> Directory:
        """Return what the edges may ask; to be called once."""

    def open(self, hub: Hub) -> None:
        """Open the store, or say why not and end the start."""

    async def close(self) -> None:
        """Close the store, when the last client has gone."""


def store_of(reactor: Any, clock: ReactorClock, settings: Settings, instance: str, revoked: Callable[[], int]) -> Store:
    """Return the store that the settings name.

    Args:
        instance: this process among those that share the store.
        revoked: closes what else a revoked token is used for here, and returns how many that were.

    Raises:
        OSError, ValueError: a file that is needed to reach it cannot be read.
    """
    if settings.redis_is_used:
        return SharedStore(reactor, clock, settings, instance, revoked)
    return OwnStore(reactor, clock, settings)


class OwnStore:
    """A store of this process alone: a file, or memory."""

    def __init__(self, reactor: Any, clock: ReactorClock, settings: Settings) -> None:
        self._clock = clock
        self._limits = settings.limits
        self.broker = _own_broker(reactor, clock, settings)
        broadcaster = EventBroadcaster(self.broker, clock)

        async def announce(tenant_id: str, payload: dict[str, Any]) -> None:
            await broadcaster.publish(tenant_id, "presence.changed", payload, origin=Origin.GATEWAY)

        self.presence = LocalPresence(clock, spawn, announce, self.broker, settings.limits.presence_grace)

    def directory(self, hub: Hub) -> LocalDirectory:
        """Return what the edges may ask: it concerns this node."""
        return LocalDirectory(hub, self.presence, self.broker, self._clock)

    def open(self, hub: Hub) -> None:
        """Open the store, or say why not and end the start: without it the gateway would lose what it is told."""
        failures: list[Failure] = []
        # A file is opened before anything else runs, so that the outcome is known at once.
        Deferred.fromCoroutine(self.broker.start(hub.deliver)).addErrback(failures.append)
        if not failures:
            # Who was here when this process ended was told to come back within the time to drain.
            self.presence.resume(self._limits.drain_timeout)
            hub.revocations.recall(self.broker.load_revocations())
            return
        error = failures[0].value
        if not isinstance(error, StoreUnusable):
            failures[0].raiseException()
        _log.critical("cannot open the store: {reason}", reason=error)
        raise SystemExit(1)

    async def close(self) -> None:
        """Close the store."""
        await self.broker.stop()


class SharedStore:
    """A Redis that other nodes use, too."""

    def __init__(
        self, reactor: Any, clock: ReactorClock, settings: Settings, instance: str, revoked: Callable[[], int]
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
            history_seconds=store.history_seconds,
            memory_events=store.memory_events,
            memory_bytes=store.memory_bytes,
        )
        self._cluster = Cluster(
            self.broker,
            clock,
            spawn,
            settings.limits,
            node=instance,
            lease=settings.cluster.lease,
            history_limits=(store.history_events, store.history_seconds),
            revoked=revoked,
        )
        self.presence = self._cluster.presence

    def directory(self, hub: Hub) -> Directory:
        """Return what the edges may ask: it concerns all nodes."""
        return self._cluster.directory(hub)

    def open(self, hub: Hub) -> None:
        """Begin to connect. A Redis that is away is waited for: ``/readyz`` says so."""
        spawn(self.broker.start(hub.deliver, hub.interrupted))
        self._cluster.start()

    async def close(self) -> None:
        """Take leave of the other nodes, then close the connections."""
        await self._cluster.stop()
        await self.broker.stop()


def _own_broker(reactor: Any, clock: ReactorClock, settings: Settings) -> MemoryBroker | SqliteBroker:
    store, file = settings.store, settings.store_file
    if file is None:
        return MemoryBroker(
            clock,
            memory_events=min(store.memory_events, store.history_events),
            memory_bytes=store.memory_bytes,
            history_seconds=store.history_seconds,
        )
    return SqliteBroker(
        reactor,
        clock,
        file,
        synchronous=store.synchronous,
        history_events=store.history_events,
        history_seconds=store.history_seconds,
        memory_events=store.memory_events,
        memory_bytes=store.memory_bytes,
    )
