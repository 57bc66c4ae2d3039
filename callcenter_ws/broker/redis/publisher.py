"""Publisher: appends submitted events to Redis, with one call at a time for each tenant.

Events that are submitted while a tenant's call is under way make up its next call, so calls grow with the load. With
one call at a time, no event overtakes one that has failed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from callcenter_ws.broker.chats import not_assigned, not_open
from callcenter_ws.broker.command_table import ignore_id
from callcenter_ws.broker.command_table import not_open as command_not_open
from callcenter_ws.broker.counters import StoreCounters
from callcenter_ws.broker.redis.codec import Predecessor, apply_call, encode_event, encode_part, id_kind
from callcenter_ws.broker.redis.tenant_registry import TenantRegistry
from callcenter_ws.broker.redis.tenant_store import NO_EVENT, KnownEvent, TenantStore
from callcenter_ws.broker.source_marks import changed, out_of_order, superseded
from callcenter_ws.broker.submission import Entry, Outcome, SubmissionQueue, set_outcome
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Event
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.reconciliation import Reconciliation
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.connection import Argument, Reply
from callcenter_ws.redis.scripts import PUBLISH, RECONCILE, Script
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock

CALL_EVENTS = 200
CALL_BYTES = 1_048_576
"""Events, and bytes of payload, in one call, so that Redis is not blocked for long."""

_SPAN_SECONDS = 300.0
"""Event ids are stored by spans of this length; see ``stream.lua``."""

MAX_LAST_EVENTS = 10_000
"""Tenants whose last published event is remembered, by which the loss of events in Redis is detected."""


def alert_changed() -> Refusal:
    """Return the refusal of an event whose entity has changed."""
    return Refusal(ErrorCode.UNKNOWN_ALERT, "the alert has changed, or is not raised any more")


_REFUSALS: dict[str, Callable[[], Refusal]] = {
    ErrorCode.UNKNOWN_SESSION: not_open,
    ErrorCode.FORBIDDEN: not_assigned,
    ErrorCode.STALE_GENERATION: superseded,
    ErrorCode.UNKNOWN_ALERT: alert_changed,
    ErrorCode.UNKNOWN_COMMAND: command_not_open,
}
"""The refusals of single events, by the code that ``publish.lua`` returns."""

_PART_REFUSALS: dict[str, Callable[[], Refusal]] = {"early": out_of_order, "stale": superseded, "changed": changed}
"""The refusals of parts of reconciliations, by the verdict that ``reconcile.lua`` returns."""

_log = Logger("callcenter_ws.broker")

_decode_reply = msgspec.json.Decoder(
    tuple[str, list[int | None], list[tuple[int, str | None, list[str]]], list[tuple[int, str]], int]
).decode
_decode_part_reply = msgspec.json.Decoder(tuple[str, str, int, list[tuple[str | None, list[str]] | None]]).decode


class Publisher:
    """Publishes events of all tenants.

    Args:
        tenant_store: returns a tenant's store.
        last_delivered: returns the last event of a tenant that this node follows, else None.
        published: called with the tenant, the epoch and the publications of each call, before the events are answered.
        counters: of the store.
    """

    def __init__(
        self,
        redis: RedisClient,
        registry: TenantRegistry,
        clock: Clock,
        spawn: Spawn,
        tenant_store: Callable[[str], TenantStore],
        last_delivered: Callable[[str], KnownEvent | None],
        published: Callable[[str, str, list[Publication]], None],
        counters: StoreCounters,
        *,
        history_events: int,
        history_bytes: int,
        history_seconds: float,
    ) -> None:
        self._redis = redis
        self._registry = registry
        self._clock = clock
        self._spawn = spawn
        self._tenant_store = tenant_store
        self._last_delivered = last_delivered
        self._published = published
        self._counters = counters
        self._limits = (history_events, repr(float(history_seconds)), history_bytes)
        self._submissions = SubmissionQueue("Redis")
        # Tenants whose events are being published.
        self._publishing: set[str] = set()
        self._last_published: OrderedDict[str, KnownEvent] = OrderedDict()
        self._finished: list[Deferred[None]] = []

    @property
    def waiting_events(self) -> int:
        """The number of submitted events without an outcome."""
        return self._submissions.waiting_events

    def publish(self, events: Sequence[Event]) -> Deferred[list[Outcome]]:
        """Append the events; see ``interfaces.Broker.publish``."""
        if not self._redis.is_connected:
            refusal = self._redis.unavailable()
            return succeed([refusal for _ in events])
        answer = self._submissions.submit(events)
        while (tenant_id := self._submissions.next_tenant()) is not None:
            if tenant_id not in self._publishing:
                self._publishing.add(tenant_id)
                # In the next turn of the reactor, with all events that are submitted until then.
                self._clock.call_later(0, self._start, tenant_id)
        return answer

    def finish(self) -> Deferred[None]:
        """Return a Deferred that fires when all submitted events have an outcome."""
        answer: Deferred[None] = Deferred()
        if self._publishing:
            self._finished.append(answer)
        else:
            answer.callback(None)
        return answer

    def last_event(self, tenant_id: str) -> KnownEvent:
        """Return the last event of a tenant that this node has delivered or published."""
        return self._last_delivered(tenant_id) or self._last_published.get(tenant_id, NO_EVENT)

    def _start(self, tenant_id: str) -> None:
        self._spawn(self._publish_all(tenant_id))

    async def _publish_all(self, tenant_id: str) -> None:
        """Make calls until no event of the tenant is queued."""
        tenant_store = self._tenant_store(tenant_id)
        while self._submissions.has_events(tenant_id):
            if not self._registry.is_registered(tenant_id):
                # Nodes that follow all tenants must learn about this one before its first event.
                with suppress(Refusal):  # then publishing is refused, too
                    await self._registry.register(tenant_id)
            await self._publish_batch(tenant_store)
        self._publishing.discard(tenant_id)
        if not self._publishing:
            finished, self._finished = self._finished, []
            for answer in finished:
                answer.callback(None)

    async def _publish_batch(self, tenant_store: TenantStore) -> None:
        offset = tenant_store.clock_offset
        # Ids of events are stored by spans of time, and a call stores them in one span (see stream.lua). A part of a
        # reconciliation is a call of its own.
        batch, size = self._submissions.take(
            tenant_store.tenant_id,
            CALL_EVENTS,
            CALL_BYTES,
            lambda event: (
                event
                if isinstance(event.source_rule, Reconciliation)
                else int((event.received_at + offset) // _SPAN_SECONDS)
            ),
        )
        outcomes: Sequence[Outcome]
        try:
            if isinstance(rule := batch[0][2].source_rule, Reconciliation):
                outcomes = [await self._reconcile(tenant_store, batch[0][2], rule)]
            else:
                outcomes = await self._append(tenant_store, batch)
        except Refusal as refusal:
            # The traceback's frames hold the events, and the refusal may be kept for long.
            refusal.__traceback__ = None
            outcomes = [refusal] * len(batch)
        except Exception:
            # Every event must get an outcome.
            _log.failure("unhandled error in publishing")
            outcomes = [Refusal(ErrorCode.UNAVAILABLE, "unhandled error in the gateway")] * len(batch)
        self._submissions.release(len(batch), size)
        for entry, outcome in zip(batch, outcomes, strict=True):
            set_outcome(entry, outcome)

    async def _append(self, tenant_store: TenantStore, batch: list[Entry]) -> list[Outcome]:
        tenant_id = tenant_store.tenant_id
        last_event = self.last_event(tenant_id)
        offset = tenant_store.clock_offset
        arguments: list[Argument] = [*tenant_store.history_arguments(last_event), *self._limits]
        for _, _, event in batch:
            ignore_id(event)
        arguments.append("".join([id_kind(event) for _, _, event in batch]))
        clock_error_ms = tenant_store.clock_error_ms
        before: Entry | None = None
        for entry in batch:
            arguments += encode_event(
                entry[2],
                offset,
                tenant_store.chat_messages,
                clock_error_ms=clock_error_ms,
                follows=_predecessor(before, entry),
            )
            before = entry
        epoch, seqs, calls, refused, displaced = _decode_reply(await self._run(tenant_store, PUBLISH, arguments))
        self._counters.mail_displaced += displaced
        await self._check_epoch(tenant_id, last_event, epoch)
        for index, queue_name, agents in calls:
            apply_call(batch[index][2], queue_name, agents)
        publications = [Publication(entry[2], seq) for entry, seq in zip(batch, seqs, strict=True) if seq and seq > 0]
        if publications:
            self._counters.mail_stored += sum(publication.event.is_mail for publication in publications)
            self._appended(tenant_id, epoch, publications)
        outcomes: list[Outcome] = [
            out_of_order() if seq is None else PublishResult(epoch, abs(seq), entry[2].event_id, duplicate=seq <= 0)
            for entry, seq in zip(batch, seqs, strict=True)
        ]
        for index, code in refused:
            outcomes[index] = _REFUSALS[code]()
        return outcomes

    async def _reconcile(self, tenant_store: TenantStore, event: Event, rule: Reconciliation) -> Outcome:
        """Append the events of a part of a reconciliation."""
        tenant_id, offset = tenant_store.tenant_id, tenant_store.clock_offset
        last_event = self.last_event(tenant_id)
        arguments: list[Argument] = [*tenant_store.history_arguments(last_event), *self._limits]
        arguments.append(encode_part(event, rule, offset))
        for one in rule.events:
            arguments += encode_event(one, offset, tenant_store.chat_messages)
        epoch, verdict, head, calls = _decode_part_reply(await self._run(tenant_store, RECONCILE, arguments))
        await self._check_epoch(tenant_id, last_event, epoch)
        if verdict in _PART_REFUSALS:
            return _PART_REFUSALS[verdict]()
        if verdict == "known":
            return PublishResult(epoch, 0, "", duplicate=True)
        for one, call in zip(rule.events, calls, strict=True):
            if call is not None:
                apply_call(one, *call)
        first = head - len(rule.events) + 1
        if rule.events:
            self._appended(tenant_id, epoch, [Publication(one, seq) for seq, one in enumerate(rule.events, first)])
        return PublishResult(epoch, head, "")

    async def _run(self, tenant_store: TenantStore, script: Script, arguments: Sequence[Argument]) -> Reply:
        began = self._clock.monotonic()
        try:
            reply = await tenant_store.run(script, *arguments)
        except Refusal:
            self._counters.commits_failed += 1
            raise
        self._counters.commit_seconds.observe(self._clock.monotonic() - began)
        return reply

    async def _check_epoch(self, tenant_id: str, last_event: KnownEvent, epoch: str) -> None:
        if last_event[0] not in ("", epoch):
            # Redis has lost history, and may have lost the set of tenants as well.
            self._registry.clear()
            with suppress(Refusal):
                await self._registry.register(tenant_id)

    def _appended(self, tenant_id: str, epoch: str, publications: list[Publication]) -> None:
        # A call of which all events are known or too early writes nothing, and says nothing about Redis.
        self._redis.accepts_writes()
        self._remember(tenant_id, (epoch, publications[-1].seq, publications[-1].event.event_id))
        self._published(tenant_id, epoch, publications)

    def _remember(self, tenant_id: str, last_event: KnownEvent) -> None:
        self._last_published[tenant_id] = last_event
        self._last_published.move_to_end(tenant_id)
        if len(self._last_published) > MAX_LAST_EVENTS:
            self._last_published.popitem(last=False)


def _predecessor(before: Entry | None, entry: Entry) -> Predecessor:
    """Return where the event before another in the same call of ``publish`` is; ``before`` precedes it in the batch."""
    submission, index, event = entry
    if event.condition is None or not event.condition.follows or index == 0:
        return "missing"
    if before is not None and before[0] is submission and before[1] == index - 1:
        return "batch"
    outcome = submission.outcomes[index - 1]
    return "appended" if isinstance(outcome, PublishResult) and not outcome.duplicate else "missing"
