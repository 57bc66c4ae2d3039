"""Builds what derives the statistics of this process, with everything that is folded beside the figures."""

from __future__ import annotations

from collections.abc import Sequence

from callcenter_ws.config.settings import Settings
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.figures.alerting import Alerting
from callcenter_ws.figures.archive import TenantArchive
from callcenter_ws.figures.archive_thread import ArchiveThread
from callcenter_ws.figures.fold_writer import FoldContext
from callcenter_ws.figures.plan import CurrentPlan, TenantPlan, WebhookPlan
from callcenter_ws.figures.publishing import publishing_to
from callcenter_ws.figures.service import Figures
from callcenter_ws.figures.settings_event import SettingsEvent
from callcenter_ws.gateway.stores import EventStore
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.statistics.counters import FigureCounters
from callcenter_ws.statistics.store import FoldedPart
from callcenter_ws.webhooks.delivery import webhook_sender
from callcenter_ws.webhooks.queue import WebhookQueue


def figures_of(
    reactor: Reactor, store: EventStore, hub: Hub, plan: CurrentPlan, instance: str, settings: Settings
) -> Figures:
    """Return the folds of this process, not started yet.

    Args:
        instance: the name of this process among those that share the store.
    """
    hub.use_figures(store.figures, plan)
    store.figures.announced = hub.announce_figures
    counters = FigureCounters()
    parts = _Parts(reactor, store, hub, plan, instance, counters)
    context = FoldContext(store=store.figures, broker=store.broker, clock=hub.clock, counters=counters)
    return Figures(
        context,
        plan,
        parts.of,
        spawn,
        known_tenants=store.known_tenants,
        retain=hub.retain,
        release=hub.release,
        live_processes=store.live_processes,
        claim_seconds=settings.statistics.lease / 3,
    )


class _Parts:
    """Makes what is folded beside the figures, for each tenant."""

    def __init__(
        self,
        reactor: Reactor,
        store: EventStore,
        hub: Hub,
        plan: CurrentPlan,
        instance: str,
        counters: FigureCounters,
    ) -> None:
        self._reactor = reactor
        self._store = store
        self._clock = hub.clock
        self._plan = plan
        self._instance = instance
        self._counters = counters
        self._publish = publishing_to(store.broker)
        self._send = webhook_sender(reactor, hub.clock)
        self._archive_thread: ArchiveThread | None = None

    def of(self, tenant_id: str, plan: TenantPlan) -> Sequence[FoldedPart]:
        """Return the parts of a tenant."""
        parts: list[FoldedPart] = [
            SettingsEvent(tenant_id, plan, self._publish, now=self._clock.time),
            Alerting(tenant_id, plan, self._publish),
            self._webhooks(tenant_id),
        ]
        folder = self._plan.plan.archive_folder
        if folder is not None:
            if self._archive_thread is None:
                self._archive_thread = ArchiveThread(self._reactor)
            parts.append(
                TenantArchive(
                    tenant_id,
                    self._store.figures,
                    folder,
                    self._instance,
                    lambda: self._plan.plan.archive_days,
                    self._clock,
                    spawn,
                    self._archive_thread,
                    self._counters.archive,
                )
            )
        return parts

    def _webhooks(self, tenant_id: str) -> WebhookQueue:
        """Return the queue of a tenant's webhooks; without receivers, it drops what waits for former ones."""

        def targets() -> Sequence[WebhookPlan]:
            plan = self._plan.plan.of(tenant_id)
            return () if plan is None else plan.webhooks

        return WebhookQueue(tenant_id, targets, self._send, self._clock, self._counters.webhooks)
