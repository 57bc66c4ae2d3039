"""Metrics of accepted events, of the store, and of sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from callcenter_ws.broker.counters import StoreCounters
from callcenter_ws.broker.ingest import IngestCounters
from callcenter_ws.errors import ErrorCode
from callcenter_ws.ops.families import counter, counters, gauge, histogram
from callcenter_ws.redis.counters import RedisCounters
from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.sources.registry import SourceCounters

_STORE_REFUSALS = (ErrorCode.OVERLOADED, ErrorCode.UNAVAILABLE)


class EventMetrics:
    """Reads the counters of the EventBroadcaster, the store and the registry of sources.

    Args:
        state: returns the state of the broker (``interfaces.Broker.state``).
        redis: None for a store without a Redis, which then has no such metrics.
        live_processes: returns how many processes share the store; None: only this one.
    """

    def __init__(
        self,
        ingest: IngestCounters,
        state: Callable[[], JsonObject],
        store: StoreCounters,
        redis: RedisCounters | None,
        live_processes: Callable[[], int | None],
        sources: SourceCounters,
    ) -> None:
        self._ingest = ingest
        self._state = state
        self._store = store
        self._redis = redis
        self._live_processes = live_processes
        self._sources = sources

    def __call__(self) -> Iterator[Metric]:
        """Return the families with their present values."""
        yield from self._events()
        yield from self._of_store()
        yield from self._mailboxes()
        if self._redis is not None:
            yield from self._of_redis(self._redis)
        yield from self._of_sources()

    def _events(self) -> Iterator[Metric]:
        ingest = self._ingest
        yield counter("events_accepted", "Events stored durably.", ingest.accepted)
        yield counter("events_duplicate", "Events that had been published before.", ingest.duplicates)
        numbered = "Events of sources that were known by their source_seq; part of events_duplicate."
        yield counter("source_events_duplicate", numbered, ingest.source_duplicates)
        unused = "queue.stats of senders that were accepted, but not published: the gateway derives the figures."
        yield counter("unused_queue_stats", unused, ingest.unused_queue_stats)
        yield counters("events_refused", "Events refused.", "reason", ingest.refused, _STORE_REFUSALS)
        classes: dict[str, int] = {}
        for name, count in ingest.valid.items():
            part = name.partition(".")[0]
            classes[part] = classes.get(part, 0) + count
        valid = "Valid events received, by the part of their type before the dot, whatever the store answered."
        yield counters("events_received", valid, "class", classes)

    def _of_store(self) -> Iterator[Metric]:
        state, store = self._state(), self._store
        yield gauge("store_ready", "Whether the store accepts events: 1 or 0.", int(state["ready"]))
        yield gauge("store_waiting_events", "Events waiting for the store.", state.get("waiting_events", 0))
        yield gauge(
            "store_ids_removed_early",
            "Event ids of tenants in memory that were forgotten within five minutes.",
            state.get("ids_removed_early", 0),
        )
        yield gauge("store_memory_bytes", "Bytes of events in memory.", state.get("memory_bytes", 0))
        yield histogram(
            "store_commit_seconds", "Time to make a group of events durable, in seconds.", store.commit_seconds
        )
        yield counter("store_commits_failed", "Groups of events that could not be made durable.", store.commits_failed)

    def _mailboxes(self) -> Iterator[Metric]:
        store = self._store
        yield counter("mailbox_stored", "Events put into the mailbox of their user.", store.mail_stored)
        yield counter("mailbox_sent", "Mailbox items written to a socket, repetitions included.", store.mail_sent)
        yield counter("mailbox_acknowledged", "Mailbox items that users have received.", store.mail_acknowledged)
        yield counter(
            "mailbox_displaced",
            "Mailbox items removed undelivered for newer ones, or for memory.",
            store.mail_displaced,
        )
        yield counter("mailbox_expired", "Mailbox items removed undelivered because of their age.", store.mail_expired)

    def _of_redis(self, redis: RedisCounters) -> Iterator[Metric]:
        yield gauge("redis_connected", "Whether commands can be sent to Redis: 1 or 0.", int(redis.connected))
        yield counter(
            "redis_connections", "Connections to Redis made; all but the first are reconnects.", redis.connections
        )
        yield histogram(
            "redis_round_trip_seconds",
            "Time from a command to Redis to its reply, in seconds.",
            redis.round_trip_seconds,
        )
        yield gauge(
            "redis_clock_difference_seconds",
            "By how much Redis's clock was ahead of this machine's at the last connect.",
            redis.clock_difference,
        )
        processes = self._live_processes()
        if processes is not None:
            yield gauge(
                "cluster_processes", "Processes of the cluster that are alive, as seen from this one.", processes
            )

    def _of_sources(self) -> Iterator[Metric]:
        sources = self._sources
        yield gauge("sources_connected", "Sources of events that are connected.", sources.connected)
        if sources.waiting is not None:
            waiting = "Sources of events without a connection whose lease has not ended."
            yield gauge("sources_waiting", waiting, sources.waiting)
        yield counter("sources_lost", "Leases of sources that this process has ended.", sources.lost)
        yield counter("source_syncs", "SyncState commands of sources that took effect.", sources.syncs)
        reconciled = "Events that were published because the state differed from what a source told with SyncState."
        yield counter("reconciled_events", reconciled, sources.reconciled_events)
        yield histogram(
            "source_event_delay_seconds",
            "Time from the timestamp of a source's event to its storage, in seconds; one event of each call.",
            sources.delay_seconds,
        )
