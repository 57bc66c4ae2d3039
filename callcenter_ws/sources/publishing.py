"""Publishes what a source sends: checks its numbers, and passes them to the store with the events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from twisted.logger import Logger

from callcenter_ws.broker.ingest import MAX_EXPLAINED_REFUSALS, EventBroadcaster, only_for_gateway, unused_result
from callcenter_ws.broker.source_marks import out_of_order
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.capabilities import declared_commands
from callcenter_ws.events.event import Event, Origin, void_event
from callcenter_ws.events.principal import EVERY_TENANT
from callcenter_ws.events.source_rules import MAX_NUMBER, SOURCE_TYPES, SOURCE_UP, SourceNumber
from callcenter_ws.interfaces import Broker, PublishResult
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.sources.link import SourceLink
from callcenter_ws.sources.link_order import MAX_REFUSED, LinkOrder
from callcenter_ws.sources.registry import SourceCounters

TRANSIENT = frozenset(
    (
        ErrorCode.OVERLOADED,
        ErrorCode.UNAVAILABLE,
        ErrorCode.DRAINING,
        ErrorCode.RATE_LIMITED,
        ErrorCode.CONNECTION_LIMIT,
        ErrorCode.TRY_LATER,
    )
)
"""Refusals after which the same event is sent again; AMP carries them as ``OVERLOADED`` and ``UNAVAILABLE``."""

Outcome = PublishResult | Refusal

_log = Logger("callcenter_ws.sources")


@dataclass(slots=True)
class Growth:
    """The last number in a list of events that is published in parts."""

    last: int = 0


@dataclass(slots=True)
class _Batch:
    """The events of one call.

    Attributes:
        events: those that are passed to the store; ``indexes``: the index of each among the drafts.
        numbers: of each of ``events``: its order and its number there; None for an event without a number.
        decided: by index, the outcomes of events of which only the number is stored: refused ones, and unused ones.
        last: the last number in the call.
        refused: how many were refused before they were passed to the store.
    """

    outcomes: list[Outcome | None]
    events: list[Event] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    numbers: list[tuple[LinkOrder, int] | None] = field(default_factory=list)
    decided: dict[int, Outcome] = field(default_factory=dict)
    last: int = 0
    refused: int = 0

    @property
    def explains(self) -> bool:
        """Whether the next refusal names all mistakes."""
        return self.refused < MAX_EXPLAINED_REFUSALS

    def add(self, index: int, event: Event, number: tuple[LinkOrder, int] | None) -> None:
        self.events.append(event)
        self.indexes.append(index)
        self.numbers.append(number)


class SourcePublisher:
    """Publishes events of sources.

    Events are given to the store within the call, so that calls for one connection keep their order.

    Args:
        counters: of the registry of sources; None: delays are not counted.
    """

    def __init__(
        self, broadcaster: EventBroadcaster, broker: Broker, clock: Clock, counters: SourceCounters | None = None
    ) -> None:
        self._broadcaster = broadcaster
        self._broker = broker
        self._clock = clock
        self._counters = counters or SourceCounters()

    async def publish(self, link: SourceLink, drafts: Sequence[object], growth: Growth | None = None) -> list[Outcome]:
        """Publish events of a source; return one outcome per draft, in order.

        Args:
            drafts: see ``EventBroadcaster.publish_batch``, with ``source_seq``, which is removed from them. A payload
                that is a Refusal could not be decoded.
            growth: of the list that the drafts are a part of; None: they are all of it.
        """
        batch = _Batch([None] * len(drafts), last=0 if growth is None else growth.last)
        now, received_at = self._clock.time(), self._clock.monotonic()
        try:
            for index, draft in enumerate(drafts):
                try:
                    self._add(batch, link, index, draft, now, received_at)
                except Refusal as refusal:
                    batch.outcomes[index] = refusal
                    batch.refused += 1
            if growth is not None:
                growth.last = batch.last
            outcomes = await self._broker.publish(batch.events) if batch.events else []
        except BaseException:
            _end(batch, None)
            raise
        _end(batch, outcomes)
        return self._results(batch, outcomes)

    def _results(self, batch: _Batch, outcomes: Sequence[Outcome]) -> list[Outcome]:
        counters = self._broadcaster.counters
        for index, outcome, number in zip(batch.indexes, outcomes, batch.numbers, strict=True):
            decided = batch.decided.get(index)
            # Not before its number is stored: an answer that is lost must not change what becomes of the event.
            batch.outcomes[index] = decided if decided is not None and isinstance(outcome, PublishResult) else outcome
            if decided is None and number is not None and isinstance(outcome, PublishResult) and outcome.duplicate:
                counters.source_duplicates += 1
        known = [outcome for outcome in batch.outcomes if outcome is not None]
        for outcome in known:
            counters.count(outcome)
        self._observe_delay(batch, outcomes)
        return known

    def _observe_delay(self, batch: _Batch, outcomes: Sequence[Outcome]) -> None:
        """Observe how late the first event is that was stored now: it has waited longest."""
        for event, outcome in zip(batch.events, outcomes, strict=True):
            if isinstance(outcome, PublishResult) and not outcome.duplicate and not event.is_void:
                seconds = self._clock.time() - datetime.fromisoformat(event.timestamp).timestamp()
                # Below zero the clock of the sender is fast.
                self._counters.delay_seconds.observe(max(0.0, seconds))
                return

    def _add(self, batch: _Batch, link: SourceLink, index: int, draft: object, now: float, received_at: float) -> None:
        """Add a draft to what is passed to the store.

        Raises:
            Refusal: nothing of it is passed to the store.
        """
        if not isinstance(draft, dict):
            if isinstance(draft, Refusal):
                raise draft.copy()
            raise Refusal(ErrorCode.INVALID_EVENT, "expected an object with tenant_id, type and payload")
        seq, tenant_id = _number(batch, draft.pop("source_seq", None)), draft.get("tenant_id")
        if isinstance(tenant_id, str) and tenant_id not in link.tenants:
            raise Refusal(ErrorCode.FORBIDDEN, "tenant_id: not among the tenants of the source")
        if not isinstance(tenant_id, str) or not seq:
            self._add_unnumbered(batch, link, index, self._checked(link, draft, now, received_at, batch.explains))
            return
        order = link.order(tenant_id)
        after = order.begin(seq)
        if after is None:
            if link.refused.value > MAX_REFUSED:
                link.close(f"more than {MAX_REFUSED} refused events were not sent again")
            raise out_of_order()
        number = SourceNumber(link.record.generation, seq, after, link.record.lease)
        try:
            event = self._checked(link, draft, now, received_at, batch.explains)
            event.source_rule = number
            if self._broadcaster.is_unused(event):
                batch.decided[index] = unused_result(event.event_id)
                event = void_event(tenant_id, link.record.name, number, received_at)
        except Refusal as refusal:
            if refusal.code in TRANSIENT:
                order.end(seq, refused=True)
                raise
            batch.decided[index] = refusal
            batch.refused += 1
            event = void_event(tenant_id, link.record.name, number, received_at)
        batch.add(index, event, (order, seq))

    def _add_unnumbered(self, batch: _Batch, link: SourceLink, index: int, event: Event) -> None:
        if self._broadcaster.is_unused(event):
            batch.outcomes[index] = unused_result(event.event_id)
            return
        if event.type.name in SOURCE_TYPES:
            event.source_rule = SourceNumber(link.record.generation, 0, 0, link.record.lease)
        batch.add(index, event, None)

    def _checked(
        self, link: SourceLink, draft: dict[str, object], now: float, received_at: float, explain: bool
    ) -> Event:
        payload = draft.get("payload")
        if isinstance(payload, Refusal):
            raise payload.copy()
        if draft.get("type") == SOURCE_UP and isinstance(payload, dict):
            draft["payload"] = payload | {"commands": declared_commands(link.record.capabilities)}
        try:
            event = self._broadcaster.validate(draft, EVERY_TENANT, Origin.PRODUCER, now, received_at, explain)
        except Refusal:
            raise
        except Exception:
            # Of this event alone: each number must get an outcome, and those behind it must be seen, too.
            _log.failure("unhandled error in checking an event of source {source!r}", source=link.record.name)
            raise Refusal(ErrorCode.UNAVAILABLE, "unhandled error in the gateway; its log has the details") from None
        if event.type.by_gateway:
            raise only_for_gateway(event)
        if event.type.name in SOURCE_TYPES:
            check_health(link, payload)
        event.source = link.record.name
        return event


def check_health(link: SourceLink, payload: object) -> None:
    """Refuse ``source.up`` and ``source.down`` unless the source reports its own health."""
    if not link.reports_health:
        raise Refusal(ErrorCode.FORBIDDEN, "type: the source has not declared the capability 'health'")
    if not isinstance(payload, dict) or str(payload.get("source")) != link.record.name:
        raise Refusal(ErrorCode.FORBIDDEN, "payload.source: not the name of this source")


def _number(batch: _Batch, seq: object) -> int:
    """Return a ``source_seq``; 0 if there is none."""
    if seq is None:
        return 0
    if not isinstance(seq, int) or isinstance(seq, bool) or not 1 <= seq <= MAX_NUMBER:
        raise Refusal(ErrorCode.INVALID_EVENT, f"source_seq: expected an integer of 1 to {MAX_NUMBER}")
    if seq <= batch.last:
        raise Refusal(ErrorCode.INVALID_EVENT, f"source_seq: not greater than {batch.last}, the one before it")
    batch.last = seq
    return seq


def _end(batch: _Batch, outcomes: Sequence[Outcome] | None) -> None:
    """Record the outcomes in the orders of the link; None: they are not known."""
    for at, number in enumerate(batch.numbers):
        if number is not None:
            outcome = None if outcomes is None else outcomes[at]
            refused = outcome is None or (isinstance(outcome, Refusal) and outcome.code in TRANSIENT)
            number[0].end(number[1], refused=refused)
