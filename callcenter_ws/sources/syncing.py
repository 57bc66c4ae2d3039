"""StateSync: takes the parts of ``SyncState``, and reconciles the state in the order of the source's events."""

from __future__ import annotations

from twisted.logger import Logger

from callcenter_ws.broker.source_marks import out_of_order
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import void_event
from callcenter_ws.events.source_rules import SourceNumber
from callcenter_ws.interfaces import Broker, PublishResult
from callcenter_ws.runtime.background import next_turn
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.log_fields import Name
from callcenter_ws.sources.link import SourceLink
from callcenter_ws.sources.publishing import TRANSIENT
from callcenter_ws.sources.reconciler import Reconciled, Reconciler, SourceState
from callcenter_ws.sources.registry import SourceCounters
from callcenter_ws.sources.sync_parts import HeldParts, SyncPart, SyncParts
from callcenter_ws.statistics.store import FigurePolicy

_log = Logger("callcenter_ws.sources")

_NO_RESULT = PublishResult("", 0, "")


class StateSync:
    """Answers ``SyncState``. Nothing else of its connection may be passed to the store until a call is answered.

    Args:
        counters: of the registry of sources.
        figure_policy: for which queues ``queue.stats`` of senders are published; None: for all.
    """

    def __init__(
        self, broker: Broker, clock: Clock, counters: SourceCounters, figure_policy: FigurePolicy | None = None
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._counters = counters
        self._reconciler = Reconciler(broker, clock, figure_policy)
        self._held = HeldParts()

    async def take(self, link: SourceLink, part: SyncPart) -> Reconciled:
        """Take a part; with the last one, publish the difference.

        Raises:
            Refusal: after one that is not transient, the number counts as stored, and the sync is dropped.
        """
        if part.tenant_id not in link.tenants:
            raise Refusal(ErrorCode.FORBIDDEN, "tenant_id: not among the tenants of the source")
        try:
            parts = self._add(link, part)
        except Refusal as refusal:
            self._forget(link)
            await self._store_refused(link, part, is_transient=refusal.code in TRANSIENT)
            raise
        if not part.last:
            return Reconciled(_NO_RESULT)
        self._forget(link)
        try:
            done = await self._in_order(link, part, parts)
        except Refusal as refusal:
            if refusal.code not in TRANSIENT and refusal.code is not ErrorCode.STALE_GENERATION:
                await self._store_refused(link, part, is_transient=False)
            raise
        self._count(link, part, done)
        return done

    def _add(self, link: SourceLink, part: SyncPart) -> SyncParts:
        if part.part == 1:
            self._forget(link)
            link.parts = SyncParts(part)
        parts = link.parts
        if parts is None:
            raise Refusal(ErrorCode.INVALID_EVENT, f"part: expected 1, not {part.part}")
        if parts.is_forgotten:
            text = "the parts were forgotten in favor of other syncs; send all of them again"
            raise Refusal(ErrorCode.OVERLOADED, text, retry_after=1)
        parts.add(part)
        self._held.added(parts)
        return parts

    def _forget(self, link: SourceLink) -> None:
        if link.parts is not None:
            self._held.release(link.parts)
            link.parts = None

    async def _store_refused(self, link: SourceLink, part: SyncPart, *, is_transient: bool) -> None:
        """Store the number of a sync that is refused for good; have it come again otherwise.

        Raises:
            Refusal: the number cannot be stored now; the sync is sent again.
        """
        order = link.order(part.tenant_id)
        after = order.begin(part.number)
        if after is None:
            raise out_of_order()
        if is_transient:
            order.end(part.number, refused=True)
            return
        number = SourceNumber(link.record.generation, part.number, after, link.record.lease)
        event = void_event(part.tenant_id, link.record.name, number, self._clock.monotonic())
        is_stored = False
        try:
            (outcome,) = await self._broker.publish([event])
            is_stored = not (isinstance(outcome, Refusal) and outcome.code in TRANSIENT)
        finally:
            order.end(part.number, refused=not is_stored)
        if isinstance(outcome, Refusal):
            raise outcome.copy()

    async def _in_order(self, link: SourceLink, part: SyncPart, parts: SyncParts) -> Reconciled:
        """Reconcile after all earlier events of the source have an outcome."""
        order = link.order(part.tenant_id)
        after = order.begin(part.number)
        if after is None:
            raise out_of_order()
        is_taken = False
        try:
            is_next = await order.alone(part.number)
            # The outcomes of the earlier events are answered first.
            await next_turn(self._clock)
            if not is_next:
                raise out_of_order()
            number = SourceNumber(link.record.generation, part.number, after, link.record.lease)
            state = SourceState(
                part.tenant_id, part.scope, link.record.name, number, parts.entities, parts.first.timestamp
            )
            done = await self._reconciler.reconcile(state)
            is_taken = True
            return done
        except Refusal as refusal:
            is_taken = refusal.code not in TRANSIENT
            raise
        finally:
            order.end(part.number, refused=not is_taken)

    def _count(self, link: SourceLink, part: SyncPart, done: Reconciled) -> None:
        self._counters.syncs += 1
        self._counters.reconciled_events += done.events
        if done.result.duplicate:
            return
        _log.info(
            "source {source!r} told the {scope} of {tenant}: {introduced} introduced, {corrected} corrected,"
            " {ended} ended, {foreign} of other sources; {events} events",
            source=link.record.name,
            scope=part.scope.name,
            tenant=Name(part.tenant_id),
            introduced=done.introduced,
            corrected=done.corrected,
            ended=done.ended,
            foreign=done.foreign,
            events=done.events,
        )
