"""Builds the core of a gateway: what publishes, stores and delivers events, without the network protocols."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.call_log.service import CallLog
from callcenter_ws.commands.audit_lines import CommandAuditLines
from callcenter_ws.commands.service import CommandService
from callcenter_ws.config.settings import Settings
from callcenter_ws.config.tenants import time_zone_of
from callcenter_ws.config.verification import token_rules
from callcenter_ws.delivery.hub import Hub, burst_of
from callcenter_ws.figures.plan import CurrentPlan
from callcenter_ws.figures.service import Figures
from callcenter_ws.gateway.commands import CommandBudgets, command_service
from callcenter_ws.gateway.figure_plan import plan_of
from callcenter_ws.gateway.figures import figures_of
from callcenter_ws.gateway.log import TwistedConnectionLog
from callcenter_ws.gateway.stores import EventStore, event_store
from callcenter_ws.interfaces import Audit, Directory
from callcenter_ws.ops.metrics import Metrics
from callcenter_ws.requests.idle_chats import IdleChats
from callcenter_ws.requests.left_messages import LeftMessages
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.workers.handoff import WorkerHandoff


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The parts that publish, store and deliver events, without the network protocols.

    Attributes:
        plan: what the settings say about statistics.
        figures: derives the statistics.
        commands: accepts and dispatches commands; ``command_budgets``: how many each user may issue.
        call_log: the calls of today.
        idle_chats: ends chats in which nothing is written; left_messages: keeps messages for agents who come later.
    """

    clock: ReactorClock
    metrics: Metrics
    store: EventStore
    broadcaster: EventBroadcaster
    hub: Hub
    directory: Directory
    plan: CurrentPlan
    figures: Figures
    commands: CommandService
    command_budgets: CommandBudgets
    call_log: CallLog
    idle_chats: IdleChats
    left_messages: LeftMessages


def instance_name(settings: Settings, handoff: WorkerHandoff | None) -> str:
    """Return the name of this process among those that share a store: the node's name, and a worker's number.

    An example is ``pbx1/2``. While a worker is being replaced, two processes have the same name.
    """
    node_id = settings.cluster.node_id
    return node_id if handoff is None else f"{node_id}/{handoff.number}"


def core_of(
    reactor: Reactor,
    clock: ReactorClock,
    settings: Settings,
    handoff: WorkerHandoff | None,
    log: TwistedConnectionLog,
    audit: Audit,
    close_revoked_sessions: Callable[[], int],
) -> Core:
    """Build the core of a gateway.

    Args:
        handoff: what a worker received from its supervisor; None in a gateway of one process.
        close_revoked_sessions: closes AMP sessions whose tokens are revoked; returns how many.

    Raises:
        OSError, ValueError: a file that the settings name cannot be used.
    """
    metrics = Metrics()
    instance = instance_name(settings, handoff)
    store = event_store(reactor, clock, settings, instance, close_revoked_sessions)
    hub = Hub(
        store.broker,
        store.presence,
        clock,
        log,
        limits=settings.limits,
        spawn=spawn,
        agent_calls=settings.policy.agent_calls,
        agent_chats=settings.policy.agent_chats,
        burst=burst_of(settings.limits),
        iat_tolerance=token_rules(settings.jwt).iat_tolerance,
        observe_latency=metrics.observe_latency,
    )
    budgets = CommandBudgets(settings, clock)
    commands = command_service(settings, store, hub, clock, budgets, CommandAuditLines(audit))
    hub.offered_commands = commands.offered_to
    plan = CurrentPlan(plan_of(settings))
    return Core(
        clock=clock,
        metrics=metrics,
        store=store,
        broadcaster=EventBroadcaster(store.broker, clock, figure_policy=plan),
        hub=hub,
        directory=store.directory(hub),
        plan=plan,
        figures=figures_of(reactor, store, hub, plan, instance, settings),
        commands=commands,
        command_budgets=budgets,
        idle_chats=IdleChats(store.broker, clock, spawn, hub.tenants, seconds=settings.public.chat_idle),
        left_messages=LeftMessages(store.broker, clock, spawn, sorted(settings.public.tenants)),
        call_log=CallLog(store.broker, clock, time_zones_of(settings), history_seconds=settings.store.history_seconds),
    )


def time_zones_of(settings: Settings) -> Callable[[str], str]:
    """Return a function that returns the time zone of a tenant, whether or not it has statistics."""
    statistics, tenants = settings.statistics, settings.tenants.by_name
    return lambda tenant_id: time_zone_of(statistics, tenants.get(tenant_id))
