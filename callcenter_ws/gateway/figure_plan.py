"""Makes the plan of the statistics from the settings, with the contents of the files that they name."""

from __future__ import annotations

from callcenter_ws.config.settings import Settings
from callcenter_ws.config.tenant_settings import TenantSettings, TenantStatistics, WebhookSettings
from callcenter_ws.config.tenants import is_enabled, producers_of, settings_table
from callcenter_ws.figures.plan import Plan, TenantPlan, WebhookPlan
from callcenter_ws.runtime.secret_files import read_secret
from callcenter_ws.runtime.setting_problems import ConfigError, Problem


def plan_of(settings: Settings) -> Plan:
    """Return what the settings say about the statistics of each tenant.

    Raises:
        ConfigError: the secret of a webhook cannot be read.
    """
    problems: list[Problem] = []
    tenants = {name: _tenant_plan(settings, name, one, problems) for name, one in settings.tenants.by_name.items()}
    if problems:
        raise ConfigError(problems)
    return Plan(
        default=_tenant_plan(settings, "", None, problems),
        tenants=tenants,
        archive_folder=settings.archive.folder,
        archive_days=settings.archive.retention_days,
    )


def _tenant_plan(
    settings: Settings, name: str, tenant: TenantSettings | None, problems: list[Problem]
) -> TenantPlan | None:
    common = settings.statistics
    if not is_enabled(common, tenant):
        return None
    own = TenantStatistics() if tenant is None else tenant.statistics
    producers, of_queues = producers_of(common, tenant)
    return TenantPlan(
        settings=settings_table(common, tenant),
        producers=producers,
        producers_of=of_queues,
        retention_days=own.retention_days or common.retention_days,
        interval_minutes=own.interval_minutes or common.interval_minutes,
        alerts=() if tenant is None else tenant.alerts,
        webhooks=() if tenant is None else tuple(_webhook(name, hook, problems) for hook in tenant.webhooks),
    )


def _webhook(tenant: str, hook: WebhookSettings, problems: list[Problem]) -> WebhookPlan:
    secret = b""
    try:
        secret = read_secret(hook.secret_file).strip()
    except ValueError as error:
        problems.append(Problem("", f"tenants.{tenant}.webhooks {hook.name}", str(error)))
    return WebhookPlan(hook.name, hook.url, secret, hook.events, frozenset(hook.queues), frozenset(hook.allow_hosts))
