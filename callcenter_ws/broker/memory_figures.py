"""The rows of folds in the memory of this process, beside the events of ``MemoryBroker``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from callcenter_ws.broker.figure_rows import LOCAL_FENCE, limited, of_days, of_kinds, selected, since, update_live
from callcenter_ws.broker.history import History, Hold
from callcenter_ws.interfaces import HistoryPage
from callcenter_ws.statistics.checkpoint import NO_DAY, RowKey
from callcenter_ws.statistics.store import (
    FigureCheckpoint,
    FigureClaim,
    FigurePosition,
    FiguresAnnounced,
    FigureWrite,
    LiveFigure,
    ignore_figures,
)


@dataclass(slots=True)
class _Tenant:
    """The rows of one tenant."""

    position: FigurePosition
    rows: dict[RowKey, bytes] = field(default_factory=dict)
    live: dict[str, LiveFigure] = field(default_factory=dict)


class MemoryFigures:
    """Implements ``FigureStore`` in memory. Rows are not bounded here; those who fold bound the entities.

    Args:
        epoch: of the store.
        history: returns the history of a tenant; None: it has published nothing.
        max_events, max_bytes: the limits of a log that is held.

    Attributes:
        holds: by tenant, what of its log must not be trimmed.
    """

    def __init__(
        self, epoch: str, history: Callable[[str], History | None], *, max_events: int, max_bytes: int
    ) -> None:
        self._epoch = epoch
        self._history = history
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._tenants: dict[str, _Tenant] = {}
        self.holds: dict[str, Hold] = {}
        self.announced: FiguresAnnounced = ignore_figures

    async def tenants(self) -> Sequence[str]:
        """Return the tenants that have rows."""
        return list(self._tenants)

    async def claim(self, tenant_id: str) -> FigureClaim:
        """Take the tenant; always granted, as no other process has the store."""
        return FigureClaim(LOCAL_FENCE, is_held=True)

    async def release(self, tenant_id: str, fence: int) -> None:
        """Do nothing: no other process can take the tenant."""

    async def remove_live(self, tenant_id: str) -> None:
        """Remove the live figures and the hold of a tenant."""
        tenant = self._tenants.get(tenant_id)
        if tenant is not None:
            self.holds.pop(tenant_id, None)
            tenant.live.clear()
            self.announced(tenant_id, None)

    async def load(self, tenant_id: str, since_day: int) -> FigureCheckpoint | None:
        """Return the rows without a day, and those of days from ``since_day`` on."""
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            return None
        return FigureCheckpoint(tenant.position, list(selected(tenant.rows, since(since_day)).items()))

    async def write(self, tenant_id: str, write: FigureWrite) -> bool:
        """Take a write; see ``FigureStore.write``."""
        tenant = self._tenants.get(tenant_id)
        known = None if tenant is None else tenant.position
        if write.fence != LOCAL_FENCE or write.after != known or write.position.epoch != self._epoch:
            return False
        if tenant is None:
            tenant = self._tenants[tenant_id] = _Tenant(write.position)
        tenant.position = write.position
        self.holds[tenant_id] = Hold(write.hold, self._max_events, self._max_bytes)
        for key, value in write.rows.items():
            if value is None:
                tenant.rows.pop(key, None)
            else:
                tenant.rows[key] = value
        update_live(tenant.live, write.live)
        if write.live:
            self.announced(tenant_id, write.live)
        return True

    async def days(
        self, tenant_id: str, kind: str, names: Iterable[str] | None, first_day: int, last_day: int, limit: int
    ) -> Sequence[tuple[RowKey, bytes]]:
        """Return rows of sums; see ``FigureStore.days``."""
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            return []
        wanted = of_days(kind, None if names is None else frozenset(names), first_day, last_day)
        return list(limited(selected(tenant.rows, wanted).items(), limit))

    async def head(self, tenant_id: str, kinds: Sequence[str]) -> FigureCheckpoint | None:
        """Return the rows without a day of some kinds, with the position that they belong to."""
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            return None
        return FigureCheckpoint(tenant.position, list(selected(tenant.rows, of_kinds(frozenset(kinds))).items()))

    async def live(self, tenant_id: str) -> Sequence[LiveFigure]:
        """Return the current live figures."""
        tenant = self._tenants.get(tenant_id)
        return [] if tenant is None else list(tenant.live.values())

    async def forget_days(self, tenant_id: str, before: int) -> None:
        """Remove the rows of days before one."""
        tenant = self._tenants.get(tenant_id)
        if tenant is not None:
            for key in [key for key in tenant.rows if NO_DAY < key.day < before]:
                del tenant.rows[key]

    async def read_log(self, tenant_id: str, after: int, limit: int) -> HistoryPage:
        """Return what is in memory after a position; see ``FigureStore.read_log``."""
        history = self._history(tenant_id)
        if history is None:
            return HistoryPage(self._epoch, [], after >= 0, 0)
        if after < history.floor:
            return HistoryPage(self._epoch, [], False, history.head)
        return HistoryPage(self._epoch, history.after(after, limit), True, history.head)

    async def oldest_in_log(self, tenant_id: str) -> int:
        """Return the position before the oldest event in memory."""
        history = self._history(tenant_id)
        return 0 if history is None else history.floor
