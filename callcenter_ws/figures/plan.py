"""What the settings say about the statistics of each tenant, as the parts that run them need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from callcenter_ws.statistics.rules import AlertRule
from callcenter_ws.statistics.settings import SettingsTable


@dataclass(frozen=True, slots=True)
class WebhookPlan:
    """A receiver of alerts.

    Attributes:
        events: patterns of event types, as in ``subscribe``.
        queues: only alerts of these; empty: all.
        allow_hosts: host names whose addresses may be inner ones.
    """

    name: str
    url: str
    secret: bytes = field(repr=False)
    events: tuple[str, ...] = ("queue.alert.*",)
    queues: frozenset[str] = frozenset()
    allow_hosts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class TenantPlan:
    """The statistics of one tenant.

    Attributes:
        settings: thresholds, method and zone, with those of queues that differ.
        producers: whether the ``queue.stats`` of producers are shown in place of derived ones.
        producers_of: queues for which this differs.
        interval_minutes: of the live figures' ``interval``.
    """

    settings: SettingsTable = field(default_factory=SettingsTable)
    producers: bool = False
    producers_of: Mapping[str, bool] = field(default_factory=dict)
    retention_days: int = 30
    interval_minutes: int = 15
    alerts: tuple[AlertRule, ...] = ()
    webhooks: tuple[WebhookPlan, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The statistics of all tenants. Implements ``FigurePolicy``.

    Attributes:
        default: of tenants that are not named; None: they have no statistics.
        tenants: by name; None: no statistics.
        archive_folder: where streams are archived; None: they are not.
        archive_days: days for which an archive is kept.
    """

    default: TenantPlan | None = None
    tenants: Mapping[str, TenantPlan | None] = field(default_factory=dict)
    archive_folder: Path | None = None
    archive_days: int = 365

    def of(self, tenant_id: str) -> TenantPlan | None:
        """Return the plan of a tenant; None: it has no statistics."""
        return self.tenants.get(tenant_id, self.default)

    def is_enabled(self, tenant_id: str) -> bool:
        """Return whether the gateway derives the figures of this tenant."""
        return self.of(tenant_id) is not None

    def takes_producers(self, tenant_id: str, queue_name: str | None) -> bool:
        """Return whether ``queue.stats`` of producers are published and shown for a queue."""
        plan = self.of(tenant_id)
        return plan is None or plan.producers_of.get(queue_name or "", plan.producers)


class CurrentPlan:
    """The plan in use, which a reload replaces. Implements ``FigurePolicy``."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def use(self, plan: Plan) -> None:
        """Use another plan from now on."""
        self.plan = plan

    def is_enabled(self, tenant_id: str) -> bool:
        """Return whether the gateway derives the figures of this tenant."""
        return self.plan.is_enabled(tenant_id)

    def takes_producers(self, tenant_id: str, queue_name: str | None) -> bool:
        """Return whether ``queue.stats`` of producers are published and shown for a queue."""
        return self.plan.takes_producers(tenant_id, queue_name)
