"""Measures many tenants with different clients against one tenant with equal ones, and events for one user."""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import accumulate, cycle, islice
from pathlib import Path

from bench.cpu import Stopwatch
from bench.event import Event, call_center
from bench.gateway import TENANT
from bench.gateway_setup import RAISED_LIMITS
from bench.loader import ClientGroup, Handshake, Loader
from bench.measurement import Measurement
from bench.peers.gateway_server import GatewayServer
from bench.process_stats import await_idle
from bench.report import Delivery, Figure, Limit, Report, Row, print_progress
from bench.scale import Scale
from bench.viewer import Viewer, identical_clients, mixed_clients

SINGLE_USER_GOAL = 1.5
"""Maximum of the CPU per event for one user among many connections, over that among few."""

_SINGLE_USER_WINDOW = 8
_CLIENTS = 50

_IN_TURN, _IN_RUNS = ", one event each in turn", ", a run each"
"""The order of events for many tenants: one for each tenant in turn, or as many in a row as may be outstanding."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Events and their recipients.

    Attributes:
        counts: the number of events that each client must receive, in the order of the clients.
        cumulative: for each event, the number of messages that it and the events before it produce.
    """

    events: Sequence[Event]
    counts: Sequence[int]
    cumulative: Sequence[int]


class TenantsRun:
    """A gateway with the clients of some tenants.

    Args:
        tenants: the clients of each tenant.
    """

    def __init__(self, label: str, folder: Path, loader: Loader, tenants: Mapping[str, Sequence[Viewer]]) -> None:
        self.label = label
        self.measurements: dict[tuple[int, str], tuple[Measurement, Measurement]] = {}
        self._gateway = GatewayServer(folder, loader, None)
        self._loader = loader
        self._tenants = list(tenants)
        self._members = [(tenant, viewer) for tenant, viewers in tenants.items() for viewer in viewers]
        self._events = call_center(conflatable=False)
        self._group = self._connect()

    def _connect(self) -> ClientGroup:
        gateway = self._gateway
        group = gateway.client_group_of([self._handshake(*member) for member in self._members])
        group.open()
        group.wait("welcome", 1)
        for index, (_, viewer) in enumerate(self._members):
            group.send_from(index, json.dumps({"type": "subscribe", "payload": {"events": viewer.events}}))
        group.wait("subscribed", 1)
        # Until the gateway is idle, clients still receive presence changes of each other.
        await_idle(gateway.pids)
        return group

    def _handshake(self, tenant: str, viewer: Viewer) -> Handshake:
        claims = {} if viewer.queues is None else {"queues": viewer.queues}
        token = self._gateway.gateway.token(viewer.user, viewer.role, tenant, **claims)
        return Handshake("/ws", (f"Authorization: Bearer {token}",))

    def plan(self, count: int, users: Sequence[str] = (), run: int = 1) -> Plan:
        """Return the next events, ``run`` to one tenant and then to the next.

        Args:
            users: the recipients of the events, in turn; if empty, events are not for a single user.
        """
        names = cycle(users or [None])
        tenants = cycle([tenant for tenant in self._tenants for _ in range(run)])
        events = [one._replace(tenant=next(tenants), user=next(names)) for one in islice(self._events, count)]
        members: dict[str, list[int]] = {tenant: [] for tenant in self._tenants}
        for index, (tenant, _) in enumerate(self._members):
            members[tenant].append(index)
        counts, sizes = [0] * len(self._members), []
        for event in events:
            recipients = [index for index in members[event.tenant] if self._members[index][1].gets(event)]
            sizes.append(len(recipients))
            for index in recipients:
                counts[index] += 1
        return Plan(events, counts, list(accumulate(sizes)))

    def run(self, plan: Plan, window: int, order: str = "") -> Delivery:
        """Publish the planned events with ``window`` outstanding, and check what each client has received.

        Args:
            order: the label of the events' order.

        Raises:
            InvalidRun: if a client has not received its events in order.
        """
        self._group.clear()
        before = self._group.stats().disorder
        watch = Stopwatch(server=self._gateway.pids, clients=self._loader.pid, sender=os.getpid())
        self._publish(plan, window)
        span = watch.stop()
        self._gateway.sender.positions()
        by_event, by_message = self.measurements.setdefault((window, order), (Measurement(), Measurement("message")))
        by_event.add(span, len(plan.events))
        by_message.add(span, plan.cumulative[-1])
        counts, stats = self._group.event_counts(), self._group.stats()
        wrong = sum(abs(count - expected) for count, expected in zip(counts, plan.counts, strict=True))
        label = f"{self.label}{order}, {window} outstanding"
        return Delivery(label, plan.cumulative[-1], sum(counts), wrong, stats.disorder - before)

    def _publish(self, plan: Plan, window: int) -> None:
        published = complete = 0
        while complete < len(plan.events):
            allowed = min(len(plan.events), complete + window)
            if allowed > published:
                self._gateway.publish(plan.events[published:allowed])
                published = allowed
            total = self._group.wait_total("event", plan.cumulative[complete])
            complete = bisect_right(plan.cumulative, total, complete)
            self._gateway.read_answers()

    def row(self, window: int, order: str = "") -> Row:
        """Return the row of a table."""
        by_event, by_message = self.measurements[window, order]
        rate, cost, *shares = by_message.row("").figures
        figures = [rate, cost, Figure("CPU µs/event", by_event.costs, 1), *shares]
        return Row(f"{self.label}{order} | {window} outstanding", figures)

    def close(self) -> None:
        """Disconnect the clients, and stop the gateway."""
        self._group.close()
        self._gateway.close()


def measure(folder: Path, scale: Scale) -> Report:
    """Measure many tenants with different clients, and events for one user among many; return the report.

    Figures: rate and CPU per message; ratios to one tenant with equal clients, and to few users.

    Raises:
        InvalidRun: an event was lost, repeated or out of order, or a client was disconnected.
    """
    report = Report("tenants", f"{scale.tenants} tenants of {_CLIENTS} clients of all kinds, and one user among many")
    with closing(Loader(folder)) as loader:
        _measure_tenants(folder, loader, scale, report)
        _measure_single_user(folder, loader, scale, report)
    report.notes += [
        "of ten clients of a tenant, six are agents who get everything, two are agents of half the queues",
        "the ninth is a supervisor, the tenth one of a quarter of the queues, or of agents only, or a wallboard",
        "all alike: agents who get everything, as many as an event reaches in the others, at another gateway",
        "in turn: at most one event per client is outstanding; a run each: all events are, as with one tenant",
        "each client received the events that the protocol's rules require, in order",
        "raised limits: " + ", ".join(f"{key} = {value}" for key, value in RAISED_LIMITS.items()),
    ]
    return report


def _measure_tenants(folder: Path, loader: Loader, scale: Scale, report: Report) -> None:
    many = {f"tenant-{number}": list(mixed_clients(_CLIENTS)) for number in range(scale.tenants)}
    with ExitStack() as stack:
        label = f"{scale.tenants} tenants"
        mixed = stack.enter_context(closing(TenantsRun(label, folder / "tenants", loader, many)))
        probe = mixed.plan(max(scale.tenant_events.values()))
        reached = round(probe.cumulative[-1] / len(probe.events))
        one = {TENANT: list(identical_clients(reached))}
        plain = stack.enter_context(closing(TenantsRun("one tenant, all alike", folder / "tenant", loader, one)))
        for number in range(scale.rounds):
            print_progress(f"tenants: round {number + 1} of {scale.rounds}")
            for window, count in scale.tenant_events.items():
                report.add_delivery(mixed.run(mixed.plan(count), window, _IN_TURN))
                report.add_delivery(mixed.run(mixed.plan(count, run=window), window, _IN_RUNS))
                report.add_delivery(plain.run(plain.plan(count), window))
        for window in scale.tenant_events:
            report.rows += [mixed.row(window, _IN_TURN), mixed.row(window, _IN_RUNS), plain.row(window)]
            for order in (_IN_TURN, _IN_RUNS):
                above, below = mixed.measurements[window, order][1], plain.measurements[window, ""][1]
                label = f"{mixed.label}{order} / {plain.label} | {window} outstanding"
                report.ratios.append(_limit(label, "CPU for each message", above, below))


def _measure_single_user(folder: Path, loader: Loader, scale: Scale, report: Report) -> None:
    few, many = scale.single_user_connections
    users = [viewer.user for viewer in identical_clients(few)]
    runs = []
    with ExitStack() as stack:
        for connections in scale.single_user_connections:
            label = f"events for one user among {connections:,}"
            clients = {TENANT: list(identical_clients(connections))}
            runs.append(TenantsRun(label, folder / f"single-user-{connections}", loader, clients))
            stack.callback(runs[-1].close)
        for number in range(scale.rounds):
            print_progress(f"tenants, one user among many: round {number + 1} of {scale.rounds}")
            for run in runs:
                report.add_delivery(run.run(run.plan(scale.single_user_events, users), _SINGLE_USER_WINDOW))
        report.rows += [run.row(_SINGLE_USER_WINDOW) for run in runs]
        above, below = [run.measurements[_SINGLE_USER_WINDOW, ""][0] for run in reversed(runs)]
        label = f"events for one user among {many:,} / among {few:,}"
        report.ratios.append(_limit(label, "CPU for each event", above, below, SINGLE_USER_GOAL))


def _limit(label: str, what: str, above: Measurement, below: Measurement, maximum: float | None = None) -> Limit:
    values = [one / other for one, other in zip(above.costs, below.costs, strict=True)]
    return Limit(label, what, values, maximum)
