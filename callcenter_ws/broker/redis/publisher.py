"""Publisher: from events that were handed in to events in Redis, one call at a time for each tenant.

What comes while a tenant's call is under way makes up the next: the busier, the larger the calls. One at a time also
keeps the order: no event overtakes one that has failed.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from callcenter_ws.broker.redis.codec import settle_call, submitted
from callcenter_ws.broker.redis.tenant_store import NOTHING, Known, TenantStore
from callcenter_ws.broker.submission import Entry, Outcome, Submission, settle
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Event
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.keys import Keys
from callcenter_ws.redis.scripts import PUBLISH
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock

CALL_EVENTS = 200
CALL_BYTES = 1_048_576
"""Events, and bytes of payload, in one call, so that Redis is not kept from others for long."""

MAX_WAITING_EVENTS = 20_000
MAX_WAITING_BYTES = 67_108_864
"""What waits for Redis at most; more is refused with ``overloaded``."""

_SPAN = 300.0
"""Seconds; identifiers are remembered by spans of this length."""

MAX_KNOWN = 10_000
"""Tenants of which the last event is remembered, by which a Redis that has lost it is found out."""

_log = Logger("callcenter_ws.broker")

_decode_reply = msgspec.json.Decoder(tuple[str, list[int], list[tuple[int, str | None, list[str]]]]).decode


class Publisher:
    """Publishes for all tenants.

    Args:
        tenancy: gives a tenant's part of Redis.
        known: gives what the node knows of a tenant that it follows.
        published: is given the epoch and the messages of each call, before they are answered.

    Attributes:
        waiting_events: handed in and not answered.
    """

    def __init__(
        self,
        redis: RedisClient,
        keys: Keys,
        clock: Clock,
        spawn: Spawn,
        tenant_store: Callable[[str], TenantStore],
        known: Callable[[str], Known | None],
        published: Callable[[str, str, list[Publication]], None],
        *,
        history_events: int,
        history_seconds: float,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._clock = clock
        self._spawn = spawn
        self._tenant_store = tenant_store
        self._known_here = known
        self._published = published
        self._limits = (history_events, repr(float(history_seconds)))
        self._queues: dict[str, deque[Entry]] = {}
        self._introduced: set[str] = set()
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._bytes = 0
        self._idle: list[Deferred[None]] = []
        self.waiting_events = 0

    def publish(self, events: Sequence[Event]) -> Deferred[list[Outcome]]:
        """Append the events; see ``interfaces.Broker.publish``."""
        refusal = self._refusal(len(events))
        if refusal is not None:
            return succeed([refusal for _ in events])
        submission = Submission.of(events)
        for place, event in enumerate(events):
            queue = self._queues.get(event.tenant_id)
            if queue is None:
                queue = self._queues[event.tenant_id] = deque()
                # In the next turn, of all that comes until then.
                self._clock.call_later(0, self._begin, event.tenant_id)
            queue.append((submission, place, event))
            self._bytes += len(event.payload)
        self.waiting_events += len(events)
        return submission.answer

    def _refusal(self, more: int) -> Refusal | None:
        if not self._redis.is_connected:
            return self._redis.unavailable()
        if self.waiting_events + more > MAX_WAITING_EVENTS or self._bytes > MAX_WAITING_BYTES:
            return Refusal(ErrorCode.OVERLOADED, f"{self.waiting_events} events wait for Redis", retry_after=1)
        return None

    def finish(self) -> Deferred[None]:
        """Fires when everything that was handed in is answered."""
        answer: Deferred[None] = Deferred()
        if self._queues:
            self._idle.append(answer)
        else:
            answer.callback(None)
        return answer

    def last_known(self, tenant_id: str) -> Known:
        """The last event that is known of a tenant."""
        return self._known_here(tenant_id) or self._known.get(tenant_id, NOTHING)

    def _begin(self, tenant_id: str) -> None:
        self._spawn(self._serve(tenant_id, self._queues[tenant_id]))

    async def _serve(self, tenant_id: str, queue: deque[Entry]) -> None:
        """Make call after call until nothing waits."""
        tenant_store = self._tenant_store(tenant_id)
        while queue:
            if tenant_id not in self._introduced:
                await self._introduce(tenant_id)
            batch = self._next(queue, tenant_store.clock_offset)
            try:
                await self._append(tenant_store, batch)
            except Refusal as refusal:
                # Twisted's Failure and what was raised hold each other, and the frames hold the events.
                refusal.__traceback__ = None
                self._settle(batch, [refusal] * len(batch))
            except Exception:
                # Nobody is to wait for ever for an answer.
                _log.failure("publishing met a bug")
                self._settle(batch, [Refusal(ErrorCode.UNAVAILABLE, "the gateway has met a bug")] * len(batch))
        del self._queues[tenant_id]
        if not self._queues:
            idle, self._idle = self._idle, []
            for answer in idle:
                answer.callback(None)

    async def _introduce(self, tenant_id: str) -> None:
        """Have the tenant known to those who want to hear of all, before it says its first word."""
        with suppress(Refusal):  # then nothing can be published either
            if await self._redis.send("SADD", self._keys.tenants, tenant_id):
                await self._redis.send("SPUBLISH", self._keys.tenants_channel, tenant_id)
            self._introduced.add(tenant_id)

    def introduce_anew(self) -> None:
        """It may be another Redis."""
        self._introduced.clear()

    def _next(self, queue: deque[Entry], clock_offset: float) -> list[Entry]:
        """Events for one call, received in the same span of time (see ``stream.lua``)."""
        batch: list[Entry] = []
        size = 0
        span = _span(queue[0], clock_offset)
        while queue and len(batch) < CALL_EVENTS and size < CALL_BYTES and _span(queue[0], clock_offset) == span:
            batch.append(queue.popleft())
            size += len(batch[-1][2].payload)
        return batch

    async def _append(self, tenant_store: TenantStore, batch: list[Entry]) -> None:
        known = self.last_known(tenant_store.tenant_id)
        offset = tenant_store.clock_offset
        arguments: list[Any] = [*tenant_store.history_arguments(known), *self._limits]
        for _, _, event in batch:
            arguments += submitted(event, offset)
        reply = await tenant_store.run(PUBLISH, *arguments)
        epoch, seqs, calls = _decode_reply(reply)
        if known[0] not in ("", epoch):
            # With the history Redis may have lost what tenants there are.
            self.introduce_anew()
            await self._introduce(tenant_store.tenant_id)
        for place, queue_name, agents in calls:
            settle_call(batch[place][2], queue_name, agents)
        publications = [Publication(entry[2], seq) for entry, seq in zip(batch, seqs, strict=True) if seq > 0]
        if publications:
            self._remember(tenant_store.tenant_id, (epoch, publications[-1].seq, publications[-1].event.event_id))
            self._published(tenant_store.tenant_id, epoch, publications)
        outcomes = [
            PublishResult(epoch, abs(seq), entry[2].event_id, duplicate=seq < 0)
            for entry, seq in zip(batch, seqs, strict=True)
        ]
        self._settle(batch, outcomes)

    def _remember(self, tenant_id: str, known: Known) -> None:
        self._known[tenant_id] = known
        self._known.move_to_end(tenant_id)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def _settle(self, batch: list[Entry], outcomes: Sequence[Outcome]) -> None:
        for entry, outcome in zip(batch, outcomes, strict=True):
            self.waiting_events -= 1
            self._bytes -= len(entry[2].payload)
            settle(entry, outcome)


def _span(entry: Entry, clock_offset: float) -> int:
    return int((entry[2].received_at + clock_offset) // _SPAN)
