"""The rows of folds, beside the events in the file.

A write is taken at once: its rows go into the next transaction of events, or into one of their own after a second. Only
publications that were delivered are folded, and these are committed; so the rows in the file never belong to a position
that the events do not reach, whenever the process ends. Reads return what is pending as well. Live figures are in
memory only: after a start they are made again from the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from callcenter_ws.broker.figure_rows import LOCAL_FENCE, limited, selected, update_live
from callcenter_ws.broker.sqlite.cache import Cache
from callcenter_ws.broker.sqlite.figure_rows import (
    STEP_ROWS,
    FigureChanges,
    RowsAt,
    Selection,
    oldest_position,
    read_rows,
    remove_old_days,
    rows_of_days,
    rows_of_kinds,
    rows_since,
    stored_folds,
)
from callcenter_ws.broker.sqlite.file import StoreFile
from callcenter_ws.broker.sqlite.group_commit import GroupCommit
from callcenter_ws.broker.sqlite.queries import read_history
from callcenter_ws.broker.sqlite.reading import CLOSED, read, written
from callcenter_ws.broker.sqlite.threads import Threads
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import HistoryPage
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.statistics.checkpoint import RowPair, Rows
from callcenter_ws.statistics.store import (
    FigureCheckpoint,
    FigureClaim,
    FigurePosition,
    FiguresAnnounced,
    FigureWrite,
    LiveFigure,
    ignore_figures,
)

WRITE_SECONDS = 1.0
"""After so long, rows are written without events."""

EARLY_ROWS = 2_000
"""So many pending rows, of all tenants, are written without waiting for that."""

MAX_PENDING_ROWS = 20_000
"""With more of them, a write returns when they are in the file: one transaction must not become too long."""

_NO_LIMIT = 2**62


@dataclass(slots=True)
class _Fold:
    """One tenant, as of its newest write, which may be pending."""

    number: int
    seq: int
    hold: int | None
    version: int
    live: dict[str, LiveFigure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _OpenParts:
    """The parts of the store that this uses while the file is open."""

    file: StoreFile
    threads: Threads
    cache: Cache
    group_commit: GroupCommit


class SqliteFigures:
    """Implements ``FigureStore`` in the file of a ``SqliteBroker``, which opens and closes it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._parts: _OpenParts | None = None
        self._folds: dict[str, _Fold] = {}
        self._timer: Timer | None = None
        self.announced: FiguresAnnounced = ignore_figures

    def open(self, file: StoreFile, threads: Threads, cache: Cache, group_commit: GroupCommit) -> None:
        """Begin with what the file has."""
        self._folds = {
            fold.tenant_id: _Fold(fold.number, fold.seq, fold.hold, fold.version) for fold in stored_folds(file.writer)
        }
        self._parts = _OpenParts(file, threads, cache, group_commit)

    def close(self) -> None:
        """Refuse every call from now on; the store writes what is pending as it closes."""
        self._parts = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def hold(self, tenant_id: str) -> int | None:
        """Return the position above which the log of a tenant is needed; None: none of it is."""
        fold = self._folds.get(tenant_id)
        return None if fold is None else fold.hold

    def _open(self) -> _OpenParts:
        if self._parts is None:
            raise Refusal(ErrorCode.UNAVAILABLE, CLOSED)
        return self._parts

    # Claims

    async def tenants(self) -> Sequence[str]:
        """Return the tenants that have rows."""
        self._open()
        return list(self._folds)

    async def claim(self, tenant_id: str) -> FigureClaim:
        """Take the tenant; always granted, as no other process has the store."""
        self._open()
        return FigureClaim(LOCAL_FENCE, is_held=True)

    async def release(self, tenant_id: str, fence: int) -> None:
        """Do nothing: no other process can take the tenant."""

    # Writing

    async def write(self, tenant_id: str, write: FigureWrite) -> bool:
        """Take a write; see ``FigureStore.write``."""
        parts = self._open()
        epoch, fold = parts.file.epoch, self._folds.get(tenant_id)
        after = None if fold is None else FigurePosition(epoch, fold.seq)
        if write.fence != LOCAL_FENCE or write.after != after or write.position.epoch != epoch:
            return False
        if fold is None:
            number = 1 + max((fold.number for fold in self._folds.values()), default=0)
            fold = self._folds[tenant_id] = _Fold(number, 0, None, 0)
        fold.seq, fold.hold = write.position.seq, write.hold
        self._add(parts, tenant_id, fold, write.rows)
        update_live(fold.live, write.live)
        if write.live:
            self.announced(tenant_id, write.live)
        if parts.group_commit.pending_writes.figure_rows >= MAX_PENDING_ROWS:
            await self._written(parts)
        return True

    def _add(self, parts: _OpenParts, tenant_id: str, fold: _Fold, rows: Rows) -> None:
        """Add rows, and the newest position and hold of their tenant, to what is written next."""
        fold.version += 1
        writes = parts.group_commit.pending_writes
        changes = writes.figures.get(tenant_id)
        if changes is None:
            changes = writes.figures[tenant_id] = FigureChanges(fold.number, tenant_id, 0, None, 0)
        changes.seq, changes.hold, changes.version = fold.seq, fold.hold, fold.version
        changes.rows.update(rows)
        writes.figure_rows += len(rows)
        if writes.figure_rows >= EARLY_ROWS:
            parts.group_commit.request()
        elif self._timer is None:
            self._timer = self._clock.call_later(WRITE_SECONDS, self._write_pending)

    def _write_pending(self) -> None:
        self._timer = None
        if self._parts is not None and self._parts.group_commit.pending_writes.figures:
            self._parts.group_commit.request()

    async def _written(self, parts: _OpenParts) -> None:
        """Wait until what is pending is in the file; if that cannot be written, until the next attempt."""
        try:
            await parts.group_commit.written()
        except Refusal:
            # The rows stay pending. No events are accepted meanwhile, so there will be few more.
            return

    async def remove_live(self, tenant_id: str) -> None:
        """Remove the live figures and the hold of a tenant."""
        parts, fold = self._open(), self._folds.get(tenant_id)
        if fold is not None:
            fold.live.clear()
            fold.hold = None
            self._add(parts, tenant_id, fold, {})
            self.announced(tenant_id, None)

    async def forget_days(self, tenant_id: str, before: int) -> None:
        """Remove the rows of days before one."""
        parts, fold = self._open(), self._folds.get(tenant_id)
        if fold is None:
            return
        # Rows that are pending would be written after those in the file were removed.
        await parts.group_commit.written()
        removed = STEP_ROWS
        while removed == STEP_ROWS and self._parts is parts:
            removed = await written(parts.threads.write(remove_old_days, parts.file, fold.number, before))

    # Reading

    async def load(self, tenant_id: str, since_day: int) -> FigureCheckpoint | None:
        """Return the rows without a day, and those of days from ``since_day`` on."""
        return await self._read(tenant_id, rows_since(since_day))

    async def head(self, tenant_id: str, kinds: Sequence[str]) -> FigureCheckpoint | None:
        """Return the rows without a day of some kinds, with the position that they belong to."""
        return await self._read(tenant_id, rows_of_kinds(kinds))

    async def days(
        self, tenant_id: str, kind: str, names: Iterable[str] | None, first_day: int, last_day: int, limit: int
    ) -> Sequence[RowPair]:
        """Return rows of sums; see ``FigureStore.days``."""
        found = await self._read(tenant_id, rows_of_days(kind, names, first_day, last_day), limit + 1)
        return [] if found is None else list(limited(found.rows, limit))

    async def _read(self, tenant_id: str, selection: Selection, limit: int = _NO_LIMIT) -> FigureCheckpoint | None:
        """Return rows with their position: those in the file, together with those that are pending."""
        parts, fold = self._open(), self._folds.get(tenant_id)
        if fold is None:
            return None
        epoch, pending = parts.file.epoch, RowsAt(fold.version, fold.seq, {})
        for changes in parts.group_commit.pending_figures(tenant_id):
            pending.rows.update(selected(changes.rows, selection.is_wanted))
        seq, rows = await read(parts.threads, read_rows, parts.file, fold.number, selection, limit, pending)
        return FigureCheckpoint(FigurePosition(epoch, seq), rows)

    async def live(self, tenant_id: str) -> Sequence[LiveFigure]:
        """Return the current live figures."""
        self._open()
        fold = self._folds.get(tenant_id)
        return [] if fold is None else list(fold.live.values())

    # The log

    async def read_log(self, tenant_id: str, after: int, limit: int) -> HistoryPage:
        """Return what is in the file after a position; see ``FigureStore.read_log``."""
        parts = self._open()
        record, stream = await parts.cache.get_loaded(tenant_id)
        epoch, history, head = parts.file.epoch, stream.history, stream.history.head
        if after >= head:
            return HistoryPage(epoch, [], True, head)
        if after < record.floor:
            return HistoryPage(epoch, [], False, head)
        if after >= history.floor:
            return HistoryPage(epoch, history.after(after, limit), True, head)
        offset = self._clock.time() - self._clock.monotonic()
        found = await read(parts.threads, read_history, parts.file, tenant_id, record.number or 0, after, limit, offset)
        # Those after the head were committed meanwhile, and are delivered soon.
        publications = [publication for publication in found if publication.seq <= head]
        return HistoryPage(epoch, publications, bool(publications), head)

    async def oldest_in_log(self, tenant_id: str) -> int:
        """Return the position before the oldest event in the file."""
        parts = self._open()
        return await read(parts.threads, oldest_position, parts.file, tenant_id)
