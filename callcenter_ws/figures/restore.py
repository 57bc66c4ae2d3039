"""Begins a fold with what the store has of a tenant, or with the oldest event of its log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from callcenter_ws.figures.fold_turn import Turn
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.statistics.checkpoint import DAYS_KEPT, NO_DAY, OPEN_KINDS, RowKey, Rows, load_slices
from callcenter_ws.statistics.state import State
from callcenter_ws.statistics.store import FigureCheckpoint, FigurePosition, FigureStore
from callcenter_ws.statistics.sums import DAY_MS

KIND = "runner"
"""The kind of the row that holds what only the runner needs."""

RUNNER = RowKey(KIND, "", NO_DAY)


class Progress(msgspec.Struct, array_like=True):
    """What only the runner needs of a checkpoint.

    Attributes:
        second: the last full second that was evaluated, in Unix seconds; 0: none.
        incomplete_since: since when figures lack events that were lost before they were folded, in Unix milliseconds.
    """

    second: int = 0
    incomplete_since: int | None = None


@dataclass(slots=True)
class Restored:
    """The beginning of a fold.

    Attributes:
        written: the position of the rows in the store; None: it has none.
        changes: rows to write or delete that ``take_changes`` does not know of.
        parts: the rows of other kinds than the fold's.
    """

    state: State
    epoch: str
    written: FigurePosition | None = None
    progress: Progress = field(default_factory=Progress)
    changes: Rows = field(default_factory=dict)
    parts: dict[RowKey, bytes] = field(default_factory=dict)


async def restore(
    store: FigureStore,
    tenant_id: str,
    epoch: str,
    kinds: frozenset[str],
    now: int,
    lost_since: int | None = None,
    *,
    clock: Clock,
) -> Restored:
    """Return the beginning of a tenant's fold.

    Args:
        epoch: of the tenant's stream now. Rows of another epoch whose events are no more keep their days, and lose what
            was true then.
        kinds: of the rows of other parts.
        now: Unix milliseconds.
        lost_since: since when events are known to be lost that no row in the store is of.

    Raises:
        Refusal: the store cannot be reached.
        UnknownVersion, msgspec.DecodeError: the rows cannot be read.
    """
    checkpoint = await store.load(tenant_id, now // DAY_MS - DAYS_KEPT + 1)
    if checkpoint is None:
        begun = Restored(State(), epoch, progress=Progress(incomplete_since=lost_since))
        return await _begin(store, tenant_id, begun, now)
    restored, rows = _divide(checkpoint, kinds, epoch)
    if checkpoint.position.epoch == epoch:
        await _load(restored.state, rows, clock)
        return restored
    # The log still has what the rows were made of, and would be folded twice. Events that followed are lost.
    goes_on = 0 < checkpoint.position.seq <= checkpoint.common
    if not goes_on:
        restored.changes = {key: None for key, _ in rows if key.kind in OPEN_KINDS}
        rows = [row for row in rows if row[0].kind not in OPEN_KINDS]
    await _load(restored.state, rows, clock)
    if restored.progress.incomplete_since is None:
        restored.progress.incomplete_since = restored.state.clock
    return restored if goes_on else await _begin(store, tenant_id, restored, now)


def _divide(
    checkpoint: FigureCheckpoint, kinds: frozenset[str], epoch: str
) -> tuple[Restored, list[tuple[RowKey, bytes]]]:
    """Return what a checkpoint has of the runner and of the other parts, and the rows of the fold."""
    restored = Restored(State(), epoch, checkpoint.position)
    rows: list[tuple[RowKey, bytes]] = []
    for key, data in checkpoint.rows:
        if key.kind in kinds:
            restored.parts[key] = data
        elif key.kind != KIND:
            rows.append((key, data))
        elif key == RUNNER:
            restored.progress = msgspec.msgpack.decode(data, type=Progress)
    return restored, rows


async def _load(state: State, rows: Sequence[tuple[RowKey, bytes]], clock: Clock) -> None:
    """Load rows into a new state, over several turns."""
    turn = Turn(clock)
    for _ in load_slices(state, rows):
        if turn.is_over:
            await turn.next()


async def _begin(store: FigureStore, tenant_id: str, restored: Restored, now: int) -> Restored:
    """Have the fold begin with the oldest event that the store has."""
    restored.state.seq = await store.oldest_in_log(tenant_id)
    if restored.state.seq and restored.progress.incomplete_since is None:
        restored.progress.incomplete_since = now
    return restored
