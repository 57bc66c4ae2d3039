"""The settings of statistics, of the archive, and of single tenants: types, ranges and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from callcenter_ws.config.command_settings import TenantCommands
from callcenter_ws.config.wallboards import WallboardSettings
from callcenter_ws.config.widget import WidgetSettings
from callcenter_ws.statistics.rules import AlertRule

Method = Literal[
    "answered_of_answered",
    "asterisk_2",
    "answered_of_offered",
    "answered_of_offered_less_short",
    "answered_of_all",
    "served_of_queued",
]
QueueStats = Literal["derived", "producer"]

ServiceLevelSeconds = Annotated[float, Meta(ge=1, le=3_600)]
ServiceLevelTarget = Annotated[float, Meta(ge=0, le=100)]
ShortAbandonSeconds = Annotated[float, Meta(ge=0, le=3_600)]
RetentionDays = Annotated[int, Meta(ge=3, le=3_650)]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the TOML file."""


class StatisticsSettings(Table, frozen=True):
    """The statistics that the gateway derives from the events; tenants may differ in all but the last three.

    Attributes:
        time_zone: the IANA name of the zone whose days and hours the figures have.
        service_level_seconds: a call answered within so many seconds is in the service level.
        short_abandon_seconds: an abandoned call that waited less is short; 0: none is.
        queue_stats: whether the gateway's figures of a queue are shown, or those that producers send.
        retention_days: days for which the figures are kept.
        interval_minutes: the length of the live figures' ``interval``.
        unfolded_events, unfolded_bytes: the most that the log of a tenant keeps beyond ``store.history_*`` for figures
            that are behind; above it the figures are incomplete.
        lease: seconds after which another process derives the figures of a process that has not renewed its lease.
    """

    enabled: bool = False
    time_zone: str = "UTC"
    service_level_seconds: ServiceLevelSeconds = 20
    service_level_target: ServiceLevelTarget = 80
    short_abandon_seconds: ShortAbandonSeconds = 5
    service_level_method: Method = "answered_of_offered_less_short"
    queue_stats: QueueStats = "derived"
    retention_days: RetentionDays = 30
    interval_minutes: Literal[15, 30, 60] = 15
    unfolded_events: Annotated[int, Meta(ge=1_000, le=100_000_000)] = 1_000_000
    unfolded_bytes: Annotated[int, Meta(ge=1_048_576, le=2**50)] = 536_870_912
    lease: Annotated[float, Meta(ge=3, le=300)] = 10


class ArchiveSettings(Table, frozen=True):
    """The archive of the events.

    Attributes:
        folder: where each tenant's events are written, one compressed file a day; None: there is no archive.
        retention_days: days for which files are kept.
    """

    folder: Path | None = None
    retention_days: Annotated[int, Meta(ge=1, le=36_500)] = 365


class QueueStatistics(Table, frozen=True):
    """The statistics of one queue; None: as for its tenant."""

    service_level_seconds: ServiceLevelSeconds | None = None
    service_level_target: ServiceLevelTarget | None = None
    short_abandon_seconds: ShortAbandonSeconds | None = None
    service_level_method: Method | None = None
    queue_stats: QueueStats | None = None


class TenantStatistics(QueueStatistics, frozen=True):
    """The statistics of one tenant; None: as in the section ``statistics``."""

    enabled: bool | None = None
    time_zone: str | None = None
    retention_days: RetentionDays | None = None
    interval_minutes: Literal[15, 30, 60] | None = None
    queues: Mapping[str, QueueStatistics] = msgspec.field(default_factory=dict)


class WebhookSettings(Table, frozen=True):
    """A receiver of alerts over HTTPS.

    Attributes:
        secret_file: the file with the key of the signatures, of at least 32 bytes.
        events: patterns of event types, as in ``subscribe``.
        queues: only alerts of these queues; empty: all.
        allow_hosts: host names whose addresses may be private ones.
    """

    name: str
    url: str
    secret_file: Path
    events: tuple[str, ...] = ("queue.alert.*",)
    queues: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()


class TenantSettings(Table, frozen=True):
    """What differs for one tenant, and what only tenants have."""

    statistics: TenantStatistics = TenantStatistics()
    alerts: tuple[AlertRule, ...] = ()
    webhooks: tuple[WebhookSettings, ...] = ()
    wallboards: tuple[WallboardSettings, ...] = ()
    commands: TenantCommands = TenantCommands()
    widget: WidgetSettings = WidgetSettings()


class TenantsSettings(Table, frozen=True):
    """The tenants that have settings of their own.

    Attributes:
        by_name: the tenants, by tenant id; written ``[tenants.NAME.statistics]`` and so on.
    """

    by_name: Mapping[str, TenantSettings] = msgspec.field(default_factory=dict)
