"""The settings of single tenants: how they are decoded and checked, and the figures' settings that follow."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from callcenter_ws.config.alert_rules import check_alert
from callcenter_ws.config.command_settings import (
    COMMAND_CHECKS,
    MAX_DESTINATIONS,
    MAX_DISPOSITIONS,
    MAX_PAUSE_REASONS,
)
from callcenter_ws.config.tables import Check, TableDecoder, named
from callcenter_ws.config.tenant_settings import (
    QueueStatistics,
    StatisticsSettings,
    TenantSettings,
    TenantStatistics,
    WebhookSettings,
)
from callcenter_ws.config.wallboards import (
    MAX_WALLBOARDS,
    AbandonLimits,
    LevelLimits,
    WaitingLimits,
    WaitLimits,
    WallboardSettings,
    check_limits,
    check_wallboard,
)
from callcenter_ws.config.widget import WidgetSettings, check_widget
from callcenter_ws.events.principal import EVERY_TENANT
from callcenter_ws.runtime.setting_values import shown
from callcenter_ws.statistics.rules import AlertRule
from callcenter_ws.statistics.settings import Settings, SettingsTable
from callcenter_ws.statistics.zones import UnknownZone, zone_of

MAX_TENANTS = 10_000
MAX_QUEUES = 1_000
MAX_ALERTS = 200
MAX_WEBHOOKS = 20
MAX_ROUTES = 100


def decode_tenants(
    value: object, base: Path, credentials: str | None, report: Callable[[str, str], None]
) -> Mapping[str, TenantSettings] | None:
    """Return the tenants of the table ``tenants``; None if there was a problem, each of which was reported.

    Args:
        base, credentials, report: as for ``TableDecoder``.
    """
    for name in value if isinstance(value, dict) else ():
        if not 0 < len(name) <= 255 or name == EVERY_TENANT:
            report(named("tenants", name), "cannot be the name of a tenant")
    limits = {
        "tenants": MAX_TENANTS,
        "queues": MAX_QUEUES,
        "alerts": MAX_ALERTS,
        "webhooks": MAX_WEBHOOKS,
        "wallboards": MAX_WALLBOARDS,
        "pause_reasons": MAX_PAUSE_REASONS,
        "dispositions": MAX_DISPOSITIONS,
        "destinations": MAX_DESTINATIONS,
        "route": MAX_ROUTES,
    }
    decoder = TableDecoder(base, credentials, report, _CHECKS, limits)
    tenants: Mapping[str, TenantSettings] | None = decoder.decode("tenants", Mapping[str, TenantSettings], value)
    return tenants


def time_zone(text: str) -> str:
    """Check the IANA name of a time zone.

    Raises:
        ValueError: this machine knows no such zone.
    """
    try:
        zone_of(text)
    except UnknownZone:
        close = get_close_matches(text[:80], sorted(available_timezones()), 1)
        hint = f"; did you mean {close[0]}?" if close else '; write an IANA name, as in "Europe/Berlin"'
        raise ValueError(f"{shown(text)} is not a time zone of this machine{hint}") from None
    return text


def is_enabled(statistics: StatisticsSettings, tenant: TenantSettings | None) -> bool:
    """Return whether a tenant has statistics."""
    own = None if tenant is None else tenant.statistics.enabled
    return statistics.enabled if own is None else own


def time_zone_of(statistics: StatisticsSettings, tenant: TenantSettings | None) -> str:
    """Return the time zone of a tenant; ``tenant``: its own settings, None without any."""
    return (None if tenant is None else tenant.statistics.time_zone) or statistics.time_zone


def settings_table(statistics: StatisticsSettings, tenant: TenantSettings | None) -> SettingsTable:
    """Return what the settings say about the figures of a tenant.

    Args:
        tenant: its own settings; None: it has none.
    """
    own = TenantStatistics() if tenant is None else tenant.statistics
    base = Settings(
        time_zone=time_zone_of(statistics, tenant),
        service_level_ms=round(statistics.service_level_seconds * 1000),
        service_level_target=statistics.service_level_target,
        short_abandon_ms=round(statistics.short_abandon_seconds * 1000),
        service_level_method=statistics.service_level_method,
    )
    of_tenant = _overridden(base, own)
    queues = {name: _overridden(of_tenant, queue) for name, queue in own.queues.items()}
    return SettingsTable(of_tenant, {name: queue for name, queue in queues.items() if queue != of_tenant})


def producers_of(statistics: StatisticsSettings, tenant: TenantSettings | None) -> tuple[bool, dict[str, bool]]:
    """Return whether the ``queue.stats`` of producers are shown for a tenant, and the queues for which this differs."""
    own = TenantStatistics() if tenant is None else tenant.statistics
    queues = {name: one.queue_stats == "producer" for name, one in own.queues.items() if one.queue_stats is not None}
    return (own.queue_stats or statistics.queue_stats) == "producer", queues


def _overridden(settings: Settings, own: QueueStatistics) -> Settings:
    seconds, short = own.service_level_seconds, own.short_abandon_seconds
    target = own.service_level_target
    return Settings(
        time_zone=settings.time_zone,
        service_level_ms=settings.service_level_ms if seconds is None else round(seconds * 1000),
        service_level_target=settings.service_level_target if target is None else target,
        short_abandon_ms=settings.short_abandon_ms if short is None else round(short * 1000),
        service_level_method=own.service_level_method or settings.service_level_method,
    )


# Checks of single tables.


def _check_statistics(statistics: TenantStatistics) -> Iterator[tuple[str, str]]:
    if statistics.time_zone is not None:
        try:
            time_zone(statistics.time_zone)
        except ValueError as error:
            yield "time_zone", str(error)
    for name in statistics.queues:
        if not 0 < len(name) <= 255:
            yield "queues", f"{shown(name)} cannot be the name of a queue"


def _check_tenant(tenant: TenantSettings) -> Iterator[tuple[str, str]]:
    for field, names in (
        ("alerts", [rule.name for rule in tenant.alerts]),
        ("webhooks", [webhook.name for webhook in tenant.webhooks]),
        ("wallboards", [board.name for board in tenant.wallboards]),
    ):
        for name, count in Counter(names).items():
            if count > 1:
                yield field, f"{count} of them have the name {shown(name)}; each needs its own"


def _check_webhook(webhook: WebhookSettings) -> Iterator[tuple[str, str]]:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", webhook.name):
        yield "name", f"{shown(webhook.name)} is not a name of 1 to 64 letters, digits and _ . -"
    if reason := _url_problem(webhook.url):
        yield "url", reason
    if not webhook.events:
        yield "events", 'lists no pattern; leave it out for ["queue.alert.*"]'
    for pattern in webhook.events:
        if not re.fullmatch(r"(queue\.alert|statistics)\.[a-z.]*(\*|[a-z])", pattern):
            yield "events", f"{shown(pattern)} is no pattern of queue.alert.* or statistics.*"
    for host in webhook.allow_hosts:
        if host != host.lower() or not re.fullmatch(r"[a-z0-9:._-]{1,253}", host):
            yield "allow_hosts", f"{shown(host)} is not the name of a host, in lower case and without a port"


def _url_problem(text: str) -> str | None:
    """Return why a URL cannot be used; the reason contains no part of the URL, which may be secret."""
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        return "is not a URL"
    if url.scheme != "https":
        return "is not an https:// URL: alerts name queues and figures, and must not be read in transit"
    if not host or port == 0 or not text.isascii() or re.search(r"[\x00-\x20\x7f\\]", text) or len(text) > 2_000:
        return "is not a URL of printable ASCII characters with a host"
    if url.username is not None or url.password is not None:
        return "must not contain a user name or password; the receiver checks the signature"
    return "must not have a fragment" if url.fragment else _host_problem(host)


def _host_problem(host: str) -> str | None:
    try:
        ip_address(host)
    except ValueError:
        if not re.fullmatch(r"([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?\.?", host):
            return "does not name a host"
    return None


_CHECKS: Mapping[type, Check] = {
    **COMMAND_CHECKS,
    AlertRule: check_alert,
    TenantStatistics: _check_statistics,
    TenantSettings: _check_tenant,
    WebhookSettings: _check_webhook,
    WallboardSettings: check_wallboard,
    WidgetSettings: check_widget,
    LevelLimits: check_limits,
    WaitLimits: check_limits,
    WaitingLimits: check_limits,
    AbandonLimits: check_limits,
}
