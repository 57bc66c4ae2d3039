"""Folds the stream of one tenant: applies what is published, and writes what changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.logger import Logger

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.publication import Publication
from callcenter_ws.figures.fold_turn import Turn
from callcenter_ws.figures.fold_writer import Deposed, FoldContext, FoldWriter
from callcenter_ws.figures.plan import TenantPlan
from callcenter_ws.figures.restore import Restored, restore
from callcenter_ws.figures.seen import SeenStream
from callcenter_ws.figures.waiting import Waiting
from callcenter_ws.runtime.background import next_turn
from callcenter_ws.runtime.log_fields import Name
from callcenter_ws.statistics.checkpoint import forget_days
from callcenter_ws.statistics.fold import apply_publication
from callcenter_ws.statistics.live import LiveFigures
from callcenter_ws.statistics.state import State
from callcenter_ws.statistics.store import FigurePosition, FoldedPart, LiveFigure
from callcenter_ws.statistics.sums import DAY_MS

PAGE = 200
"""Publications that are read from the log at once."""

STEP = 32
"""Publications that are applied between two looks at the time: less than a millisecond."""

MAX_DIRTY = 20_000
"""Changed entities at which rows are written before the second ends."""

MAX_UNWRITTEN = 50_000
"""Publications after which rows are written while the fold catches up, so that a restart does not repeat all of it."""

RESTS = 9
MAX_REST_SECONDS = 4.0
"""After writing and announcing, the fold does neither for so many times the time that it took, but not longer than
this. Where that is less than a second, as it is in all but the busiest centers, both happen each second."""

MAX_SECONDS = 3_600
"""Full seconds that are evaluated one by one after a pause; those before are left out."""

FORGET_SECONDS = 3_600
"""Seconds between two removals of days that figures need no more."""

_log = Logger("callcenter_ws")


class TenantFold:
    """Folds one tenant under one claim: ``load`` first, then ``advance`` and ``tick`` until ``stop`` or ``drop``.

    Publications that are delivered wait in a bounded queue; since position and log are exact, what does not fit is
    dropped, and read from the log in its turn.
    """

    def __init__(
        self, context: FoldContext, tenant_id: str, plan: TenantPlan, parts: Sequence[FoldedPart], fence: int
    ) -> None:
        self.tenant_id = tenant_id
        self._context = context
        self._store, self._clock, self._counters = context.store, context.clock, context.counters
        self._plan = plan
        self._parts = parts
        # The types of publications that parts apply; None: all.
        self._types_of_parts: frozenset[str] | None = frozenset()
        for part in parts:
            if self._types_of_parts is not None:
                self._types_of_parts = None if part.types is None else self._types_of_parts | part.types
        self.fence = fence
        self._state = State()
        self._live = LiveFigures(tenant_id)
        self._restored = Restored(self._state, "")
        self._progress = self._restored.progress
        self._writer = FoldWriter(context, tenant_id, parts, fence, self._restored)
        self._announced: dict[str, LiveFigure] = {}
        self._waiting = Waiting(context.waiting)
        self._head = 0
        # The head when the fold was loaded: from there on it is current.
        self._target = 0
        self._is_current = False
        self._is_stopped = False
        self._must_check = False
        self._forgotten_at = self._rests_until = 0.0

    # From the store's deliveries

    def offer(self, publications: Sequence[Publication]) -> None:
        """Accept publications in order of ``seq``; they are folded later."""
        self._head = publications[-1].seq
        self._waiting.extend(publications)

    def interrupted(self) -> None:
        """Compare the position with the log: deliveries were interrupted, or history was lost."""
        self._waiting.clear()
        self._must_check = True

    def end(self) -> None:
        """Have ``advance`` return after its present step, also while the fold catches up."""
        self._is_stopped = True

    @property
    def behind(self) -> int:
        """The publications that are known and not folded."""
        return max(0, self._head - self._state.seq)

    @property
    def is_current(self) -> bool:
        """Whether the fold has reached the head that the stream had when it was loaded."""
        return self._is_current

    @property
    def position(self) -> FigurePosition:
        """The position up to which events are folded."""
        return self._writer.position

    # The work

    async def load(self, seen: SeenStream) -> None:
        """Begin with what the store has.

        Args:
            seen: what this process has seen of the stream.

        Raises:
            Refusal: the store cannot be reached.
        """
        position = await self._context.broker.position(self.tenant_id)
        seen.reach(position.seq, self._now())
        kinds = frozenset(kind for part in self._parts for kind in part.kinds)
        restored = await restore(
            self._store, self.tenant_id, position.epoch, kinds, self._now(), seen.lost_since, clock=self._clock
        )
        if restored.written is None and seen.lost_since is not None:
            _log.error(
                "the statistics of tenant {tenant} begin again: the store has lost its events and figures",
                tenant=Name(self.tenant_id),
            )
        self._restored, self._state, self._progress = restored, restored.state, restored.progress
        self._writer = FoldWriter(self._context, self.tenant_id, self._parts, self.fence, restored)
        self._head = max(self._head, position.seq)
        self._target = position.seq
        for part in self._parts:
            part.load({key: data for key, data in restored.parts.items() if key.kind in part.kinds})
        keys = [figure.key for figure in await self._store.live(self.tenant_id)]
        self._live = LiveFigures(
            self.tenant_id,
            interval_minutes=self._plan.interval_minutes,
            shows=self._shows,
            keys=keys,
        )

    def _shows(self, queue_name: str) -> bool:
        return not self._plan.producers_of.get(queue_name, self._plan.producers)

    def _now(self) -> int:
        return round(self._clock.time() * 1000)

    async def advance(self, is_due: Callable[[], bool]) -> None:
        """Fold what is published until nothing waits, or, once the fold has caught up, until a tick is due.

        Raises:
            Deposed: the fold must be begun again.
            Refusal: the store cannot be reached; the call may be repeated.
        """
        while not self._is_stopped and not (self._is_current and is_due()):
            seq = self._state.seq
            if self._must_check:
                await self._check()
            elif self._waiting.has(seq + 1):
                await self._apply_waiting()
            elif self._head > seq:
                await self._read()
            else:
                break
            if self._writer.changed >= MAX_DIRTY or self._writer.unwritten >= MAX_UNWRITTEN:
                await self._write_rows()
            await next_turn(self._clock)
            if self._state.seq >= self._target:
                self._become_current()
        if not self._is_stopped:
            self._become_current()

    def _become_current(self) -> None:
        if not self._is_current:
            self._is_current = True
            for part in self._parts:
                part.start(self.fence)

    async def _apply_waiting(self) -> None:
        turn = Turn(self._clock)
        while publications := self._waiting.take(self._state.seq + 1, STEP):
            await self._apply(publications)
            if turn.is_over:
                break

    async def _read(self) -> None:
        """Apply a page of the log."""
        seq = self._state.seq
        page = await self._store.read_log(self.tenant_id, seq, PAGE)
        if page.epoch != self._restored.epoch:
            raise Deposed
        self._head = max(self._head, page.head)
        if not page.reachable:
            oldest = await self._store.oldest_in_log(self.tenant_id)
            if oldest <= seq:
                # The log was read while it was trimmed, or is not there yet; the next page says more.
                raise Refusal(ErrorCode.UNAVAILABLE, "the log of events cannot be read yet")
            self._counters.gaps += 1
            self._log_gap(seq, oldest)
            self._state.seq = oldest
            return
        if not page.publications:
            # Deliveries are ahead of the log that this process can read.
            raise Refusal(ErrorCode.UNAVAILABLE, "the log of events cannot be read yet")
        turn = Turn(self._clock)
        for begin in range(0, len(page.publications), STEP):
            await self._apply(page.publications[begin : begin + STEP])
            if turn.is_over:
                await turn.next()

    def _log_gap(self, seq: int, oldest: int) -> None:
        if self._progress.incomplete_since is None:
            self._progress.incomplete_since = self._state.clock or self._now()
        _log.error(
            "the statistics of tenant {tenant} lack the events {first} to {last}: they were trimmed before they were "
            "folded",
            tenant=Name(self.tenant_id),
            first=seq + 1,
            last=oldest,
        )

    async def _apply(self, publications: Sequence[Publication]) -> None:
        state, progress, types = self._state, self._progress, self._types_of_parts
        for publication in publications:
            event = publication.event
            received = event.received_ms
            if received > progress.second * 1000 + 1000:
                await self._evaluate_seconds((received - 1) // 1000)
            apply_publication(state, publication, received)
            if types is None or event.type.name in types:
                for part in self._parts:
                    if part.types is None or event.type.name in part.types:
                        part.apply(publication)
        self._counters.folded += len(publications)

    async def _evaluate_seconds(self, until: int) -> None:
        """Evaluate the full seconds that end by ``until``, in Unix seconds: no event of theirs comes any more.

        After a pause these are many, so this may take several turns.
        """
        progress = self._progress
        if until <= progress.second:
            return
        turn = Turn(self._clock)
        for second in range(max(progress.second + 1, until - MAX_SECONDS + 1) if progress.second else until, until + 1):
            progress.second = second
            for part in self._parts:
                part.second(self._state, second * 1000)
            if turn.is_over:
                await turn.next()

    async def _check(self) -> None:
        """Go on in the same history, or drop the fold."""
        self._must_check = False
        position = await self._context.broker.position(self.tenant_id)
        if position.epoch != self._restored.epoch or position.seq < self._state.seq:
            raise Deposed
        # What was known before may be of a history that was lost.
        self._head = max(position.seq, self._waiting.last)

    # The tick

    async def tick(self) -> None:
        """Evaluate the second that has ended, and write and announce what changed; call it once a second.

        Raises:
            Deposed: the fold must be begun again.
            Refusal: the store cannot be reached; the call may be repeated.
        """
        if not self._is_current:
            return
        now = self._now()
        if not self.behind:
            # A publication that is received later belongs to a later second; clocks of nodes may differ.
            await self._evaluate_seconds((now - 50) // 1000)
        began = self._clock.monotonic()
        if began < self._rests_until:
            return
        await self._forget()
        turn = Turn(self._clock)
        for figures in self._live.slices(
            self._state, now, epoch=self._restored.epoch, incomplete_since=self._progress.incomplete_since
        ):
            self._announced.update((figure.key, figure) for figure in figures)
            if turn.is_over:
                await turn.next()
        await self._writer.write(tuple(self._announced.values()))
        self._announced.clear()
        ended = self._clock.monotonic()
        self._rests_until = ended + min(RESTS * (ended - began), MAX_REST_SECONDS)

    async def _forget(self) -> None:
        monotonic = self._clock.monotonic()
        if self._forgotten_at and monotonic < self._forgotten_at + FORGET_SECONDS:
            return
        self._forgotten_at = monotonic
        self._live.note(self._state)
        for _ in forget_days(self._state, self._now()):
            # At midnight, all agents change.
            if self._writer.changed >= MAX_DIRTY:
                await self._write_rows()
            await next_turn(self._clock)
        await self._store.forget_days(self.tenant_id, self._now() // DAY_MS - self._plan.retention_days)

    async def _write_rows(self) -> None:
        """Write the rows that changed, without live figures: those of the next tick have the changes."""
        self._live.note(self._state)
        await self._writer.write()

    async def stop(self) -> None:
        """Write what changed and stop; nothing is lost if that fails, as the log is folded again."""
        self._is_stopped = True
        self._waiting.clear()
        for part in self._parts:
            await part.stop()
        if self._is_current:
            try:
                await self._write_rows()
            except (Refusal, Deposed):
                _log.info("the last figures of tenant {tenant} will be folded again", tenant=Name(self.tenant_id))

    async def drop(self) -> None:
        """Stop without writing: the tenant was taken by another process."""
        self._is_stopped = True
        self._waiting.clear()
        for part in self._parts:
            await part.stop()
