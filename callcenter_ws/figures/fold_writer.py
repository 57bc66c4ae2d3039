"""Writes the rows of one tenant's fold, with the position that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from callcenter_ws.errors import Refusal
from callcenter_ws.figures.fold_turn import Turn
from callcenter_ws.figures.restore import RUNNER, Restored
from callcenter_ws.figures.waiting import WaitingBytes
from callcenter_ws.interfaces import Broker
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.statistics.checkpoint import Rows, change_slices
from callcenter_ws.statistics.counters import FigureCounters
from callcenter_ws.statistics.store import FigurePosition, FigureStore, FigureWrite, FoldedPart, LiveFigure


class Deposed(Exception):
    """Another process has taken the tenant, or the store has lost history: the fold is dropped and begun again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldContext:
    """What the folds of all tenants share."""

    store: FigureStore
    broker: Broker
    clock: Clock
    counters: FigureCounters
    waiting: WaitingBytes = field(default_factory=WaitingBytes)


class FoldWriter:
    """Writes what changed since the last write, under one claim.

    Args:
        parts: what is folded beside the figures.
        restored: the fold: its state and progress as they are at each write, and the position that was written.
    """

    def __init__(
        self, context: FoldContext, tenant_id: str, parts: Sequence[FoldedPart], fence: int, restored: Restored
    ) -> None:
        self._store, self._clock, self._counters = context.store, context.clock, context.counters
        self._tenant_id = tenant_id
        self._parts = parts
        self._fence = fence
        self._restored = restored
        self._state = restored.state
        # Rows that are to be written; also those whose write failed.
        self._rows: Rows = dict(restored.changes)

    @property
    def position(self) -> FigurePosition:
        """The position up to which events are folded."""
        return FigurePosition(self._restored.epoch, self._state.seq)

    @property
    def changed(self) -> int:
        """How many entities have changed since their rows were taken."""
        return sum(map(len, self._state.dirty.values())) + len(self._state.gone)

    @property
    def unwritten(self) -> int:
        """How many events were folded since the last write."""
        written = self._restored.written
        if written is None or written.epoch != self._restored.epoch:
            return self._state.seq
        return self._state.seq - written.seq

    async def write(self, live: Sequence[LiveFigure] = ()) -> None:
        """Write the rows that changed, and live figures.

        Rows whose write failed are kept, and written with the next.

        Raises:
            Deposed: the fold must be begun again.
            Refusal: the store cannot be reached; the call may be repeated.
        """
        restored, rows, position = self._restored, self._rows, self.position
        for part in self._parts:
            rows.update(part.take_changes())
        if position == restored.written and not live and not self.changed and not rows:
            return
        await self._take_rows(rows)
        rows[RUNNER] = msgspec.msgpack.encode(restored.progress)
        holds = [hold for part in self._parts if (hold := part.hold()) is not None]
        write = FigureWrite(
            fence=self._fence,
            after=restored.written,
            position=position,
            hold=min([position.seq, *holds]),
            rows=dict(rows),
            live=live,
        )
        try:
            is_taken = await self._store.write(self._tenant_id, write)
        except Refusal:
            # Whether it was taken is not known; if it was, the next is not, and the fold is loaded again.
            self._counters.failed_writes += 1
            raise
        if not is_taken:
            raise Deposed
        restored.written = position
        self._rows = {}
        self._counters.writes += 1
        self._counters.written += len(write.rows)

    async def _take_rows(self, rows: Rows) -> None:
        """Add the rows that changed; no event is applied meanwhile."""
        turn = Turn(self._clock)
        for changed in change_slices(self._state):
            rows.update(changed)
            if turn.is_over:
                await turn.next()
