"""Builds what derives the statistics of this process, with everything that is folded beside the figures."""

from __future__ import annotations

from collections.abc import Sequence

from callcenter_ws.config.settings import Settings
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.figures.plan import CurrentPlan, TenantPlan
from callcenter_ws.figures.service import Figures
from callcenter_ws.figures.tenant_fold import FoldContext
from callcenter_ws.gateway.stores import EventStore
from callcenter_ws.runtime.background import spawn
from callcenter_ws.statistics.counters import FigureCounters
from callcenter_ws.statistics.store import FoldedPart


def figures_of(settings: Settings, store: EventStore, hub: Hub, plan: CurrentPlan) -> Figures:
    """Return the folds of this process, not started yet."""

    def parts_of(_tenant_id: str, _plan: TenantPlan) -> Sequence[FoldedPart]:
        return ()

    context = FoldContext(store=store.figures, broker=store.broker, clock=hub.clock, counters=FigureCounters())
    return Figures(
        context,
        plan,
        parts_of,
        spawn,
        known_tenants=store.known_tenants,
        retain=hub.retain,
        release=hub.release,
        live_processes=store.live_processes,
        claim_seconds=settings.statistics.lease / 3,
    )
