"""Builds what accepts and dispatches commands, from the settings."""

from __future__ import annotations

from collections.abc import Callable

from callcenter_ws.commands.audit import CommandAudit
from callcenter_ws.commands.policy import CommandChoices, CommandPolicy, Destination, Disposition
from callcenter_ws.commands.service import CommandService
from callcenter_ws.config.command_settings import TenantCommands, destination_pattern
from callcenter_ws.config.settings import Settings
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.gateway.stores import EventStore
from callcenter_ws.requests.rate_limit import Rate, SharedBudgets
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import Clock


class CommandBudgets:
    """How many commands each user may issue.

    Attributes:
        rate: the rate of all users; may be changed.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._clock = clock
        self._budgets = SharedBudgets()
        self.rate = command_rate(settings)

    def charge(self, asker: Principal) -> float:
        """Take one command from the budget of a user; return the seconds to wait if there is none left."""
        now = self._clock.monotonic()
        budget = self._budgets.get((asker.tenant_id, asker.user_id), self.rate, now)
        wait = budget.wait_for(now, 0)
        if not wait:
            budget.take(0)
        return wait


def command_rate(settings: Settings) -> Rate:
    """Return the rate of the commands of one user."""
    commands = settings.commands
    return Rate(commands.rate, commands.burst, 1.0, 1.0)


def command_policy(settings: Settings, *, enabled: bool) -> CommandPolicy:
    """Return what the settings say about commands.

    Args:
        enabled: whether the process was started with commands; a reload does not change it.
    """
    commands, tenants = settings.commands, settings.tenants.by_name
    allow = {Role.AGENT: commands.allow.agent, Role.SUPERVISOR: commands.allow.supervisor}
    return CommandPolicy(
        enabled=enabled,
        allowed={role: frozenset(names) for role, names in allow.items() if names is not None},
        destination=destination_pattern(commands.destination_pattern),
        agent_calls=settings.policy.agent_calls,
        agent_chats=settings.policy.agent_chats,
        choices=_choices(settings, TenantCommands()),
        tenants={name: _choices(settings, tenant.commands) for name, tenant in tenants.items()},
    )


def _choices(settings: Settings, tenant: TenantCommands) -> CommandChoices:
    common = settings.commands
    reasons = common.pause_reasons if tenant.pause_reasons is None else tenant.pause_reasons
    dispositions = common.dispositions if tenant.dispositions is None else tenant.dispositions
    destinations = common.destinations if tenant.destinations is None else tenant.destinations
    return CommandChoices(
        pause_reasons=tuple(reasons),
        dispositions=tuple(Disposition(one.code, one.label) for one in dispositions),
        destinations=tuple(Destination(one.name, one.destination, one.queue_name) for one in destinations),
        route=tenant.route,
    )


def command_service(
    settings: Settings,
    store: EventStore,
    hub: Hub,
    clock: Clock,
    budgets: CommandBudgets,
    audit: CommandAudit,
) -> CommandService:
    """Return what accepts and dispatches commands."""
    return CommandService(
        store.broker,
        store.sources,
        clock,
        spawn,
        command_policy(settings, enabled=settings.commands.enabled),
        charge=budgets.charge,
        new_id=UlidFactory(clock.time),
        follow=_following(hub),
        audit=audit,
    )


def _following(hub: Hub) -> Callable[[str], Callable[[], None]]:
    """Return a function that has the events of a tenant delivered to this node, and returns what ends that."""

    def follow(tenant_id: str) -> Callable[[], None]:
        def listener(publication: Publication) -> None:
            """Ignore it: that the state of the tenant is followed is all that is wanted."""

        hub.listen(listener, tenant_id)
        return lambda: hub.unlisten(listener)

    return follow
