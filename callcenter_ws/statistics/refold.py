"""Folds an exported stream again, and reports its figures as ``GET /ws/statistics`` does."""

from __future__ import annotations

from collections.abc import Callable

from callcenter_ws.statistics.checkpoint import NO_DAY, OPEN_KINDS, RowKey, Rows, forget_days, load, take_changes
from callcenter_ws.statistics.expiry import expire
from callcenter_ws.statistics.export_line import ExportedEvent
from callcenter_ws.statistics.fold import apply_publication
from callcenter_ws.statistics.live import EXPIRY_MARGIN_MS, LiveFigures
from callcenter_ws.statistics.period import Period
from callcenter_ws.statistics.report import Names, Report, parts_of
from callcenter_ws.statistics.settings import SettingsTable
from callcenter_ws.statistics.state import State
from callcenter_ws.statistics.store import FigureCheckpoint, FigurePosition
from callcenter_ws.statistics.stored import AGENT_KIND, DAY_KINDS, FOLD_KIND, Question, StoredFigures, shows_derived
from callcenter_ws.statistics.sums import DAY_MS
from callcenter_ws.statistics.zones import Zone

PeriodOf = Callable[[Zone, int], Period]
"""Returns a period in the zone of a tenant, at an instant."""


class Refold:
    """Folds the lines of one tenant, each once and in the order of the stream; days become rows, as in a store.

    Args:
        settings: what the figures begin with, until the stream says something else; None: the defaults.
        first_day: days before this one are not kept; None: those that no event can change any more are not.
        gap: called with the first and the last position of events that are missing.

    Attributes:
        last_ms: when the last event was received, in Unix milliseconds.
    """

    def __init__(self, settings: SettingsTable | None, first_day: int | None, gap: Callable[[int, int], None]) -> None:
        self._state = State()
        if settings is not None:
            self._state.settings = settings
        self._first_day = first_day
        self._gap = gap
        self._epoch: str | None = None
        self._last: tuple[str, int] | None = None
        self._rows: dict[RowKey, bytes] = {}
        self._day = 0
        self._incomplete_since: int | None = None
        self.last_ms = 0

    def apply(self, event: ExportedEvent) -> None:
        """Apply a line; one that only shows that another epoch goes on where the last ended is not counted again."""
        identity = (event.id, event.received_ms)
        if event.epoch != self._epoch and event.seq == self._state.seq and identity == self._last:
            # What the store had not written, or what followed a backup, is missing, and nothing says what it was.
            self._miss(None)
            self._epoch = event.epoch
            return
        self._last = identity
        if event.epoch != self._epoch:
            self._turn_to(event)
        elif event.seq > self._state.seq + 1:
            self._miss(event.seq)
        received = event.received_ms
        self.last_ms = max(self.last_ms, received)
        if not event.is_folded:
            self._state.seq = event.seq
            return
        apply_publication(self._state, event.publication(), received)
        # Calls without events for 24 hours are lost after a margin, as where figures are live.
        now = self._state.clock - EXPIRY_MARGIN_MS
        if now // DAY_MS > self._day:
            self._day = now // DAY_MS
            self._forget(now)

    def _turn_to(self, event: ExportedEvent) -> None:
        """Go on in another epoch: the store had lost its history, and with it what was true then."""
        if self._epoch is not None:
            self._keep(take_changes(self._state))
            self._miss(None)
            self._rows = {key: data for key, data in self._rows.items() if key.kind not in OPEN_KINDS}
            since = self._day - 2
            self._state = load((key, data) for key, data in self._rows.items() if key.day == NO_DAY or key.day >= since)
        elif event.seq > 1:
            self._gap(1, event.seq - 1)
        self._epoch = event.epoch

    def _miss(self, seq: int | None) -> None:
        if self._incomplete_since is None:
            self._incomplete_since = self._state.clock
        if seq is not None:
            self._gap(self._state.seq + 1, seq - 1)

    def _forget(self, now: int) -> None:
        self._keep(take_changes(self._state))
        for _ in forget_days(self._state, now):
            pass
        first = self._day - 2 if self._first_day is None else self._first_day
        for key in [key for key in self._rows if NO_DAY < key.day < first]:
            del self._rows[key]

    def _keep(self, rows: Rows) -> None:
        for key, data in rows.items():
            if data is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = data

    def report(
        self,
        tenant_id: str,
        now: int,
        period_of: PeriodOf,
        queues: Names,
        agents: Names,
        producers: Callable[[str], bool] = shows_derived,
    ) -> Report:
        """Return the report at an instant; no lines are applied after it.

        Args:
            queues, agents: names that are asked for; None: all, or none if only the others are named.
            producers: whether the ``queue.stats`` of producers are shown for a queue.

        Raises:
            BadPeriod: of ``period_of``.
        """
        state = self._state
        # Exactly at 24 hours: no clocks of two nodes differ here.
        expire(state, now, len(state.calls))
        epoch = self._epoch or ""
        live = LiveFigures(tenant_id).changes(state, now, epoch=epoch, incomplete_since=self._incomplete_since)
        self._keep(take_changes(state))
        rows = [row for row in self._rows.items() if row[0].kind in (FOLD_KIND, AGENT_KIND)]
        stored = StoredFigures(FigureCheckpoint(FigurePosition(epoch, state.seq), rows), now)
        period = period_of(stored.head.zone, now)
        first, last = period.days
        question = Question(parts_of(queues, agents), queues, agents)
        days = {
            part: [row for row in self._rows.items() if row[0].kind == kind and first <= row[0].day <= last]
            for part, kind in DAY_KINDS.items()
        }
        return stored.report(tenant_id, period, question, days, live, producers)
