"""Many tenants with all kinds of clients, against one where all are alike; and events for one user among many."""

from __future__ import annotations

import json
import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import accumulate, cycle, islice
from pathlib import Path

from bench.course import Course
from bench.cpu import Stopwatch
from bench.event import Event, call_center
from bench.gateway import TENANT
from bench.loader import Crowd, Dial, Loader
from bench.peers.own import OwnGateway
from bench.process import await_calm
from bench.report import Delivery, Figure, Limit, Report, Row, progress
from bench.scale import Scale
from bench.stage import RAISED
from bench.viewer import Viewer, alike, staff

ALONE_GOAL = 1.5
"""What an event for one user may cost among many connections at most, over one among few."""

_ALONE_WINDOW = 8
_CLIENTS = 50

_IN_TURNS, _IN_RUNS = ", one event each in turn", ", a run each"
"""How events go to many tenants: so that nobody has two outstanding, or as many in a row as may be outstanding."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Events, and whom they are for.

    Attributes:
        counts: how many of them each client is to get, in the order of the clients.
        reached: how many messages the first, the first two … events make.
    """

    events: Sequence[Event]
    counts: Sequence[int]
    reached: Sequence[int]


class House:
    """A gateway with the clients of some tenants.

    Args:
        tenants: whom each has connected.
    """

    def __init__(self, label: str, folder: Path, loader: Loader, tenants: Mapping[str, Sequence[Viewer]]) -> None:
        self.label = label
        self.courses: dict[tuple[int, str], tuple[Course, Course]] = {}
        self._gateway = OwnGateway(folder, loader, None)
        self._loader = loader
        self._tenants = list(tenants)
        self._members = [(tenant, viewer) for tenant, viewers in tenants.items() for viewer in viewers]
        self._events = call_center(conflatable=False)
        self._crowd = self._connect()

    def _connect(self) -> Crowd:
        gateway = self._gateway
        crowd = gateway.crowd_of([self._dial(*member) for member in self._members])
        crowd.open()
        crowd.wait("welcome", 1)
        for place, (_, viewer) in enumerate(self._members):
            crowd.say(place, json.dumps({"type": "subscribe", "payload": {"events": viewer.events}}))
        crowd.wait("subscribed", 1)
        # Until then they are told of each other.
        await_calm(gateway.pids)
        return crowd

    def _dial(self, tenant: str, viewer: Viewer) -> Dial:
        claims = {} if viewer.queues is None else {"queues": viewer.queues}
        token = self._gateway.gateway.token(viewer.user, viewer.role, tenant, **claims)
        return Dial("/ws", (f"Authorization: Bearer {token}",))

    def plan(self, count: int, users: Sequence[str] = (), run: int = 1) -> Plan:
        """Events, ``run`` to one tenant and then to the next.

        Args:
            users: each event is for one of them, in turns; for everybody, if there are none.
        """
        names = cycle(users or [None])
        tenants = cycle([tenant for tenant in self._tenants for _ in range(run)])
        events = [one._replace(tenant=next(tenants), user=next(names)) for one in islice(self._events, count)]
        places: dict[str, list[int]] = {tenant: [] for tenant in self._tenants}
        for place, (tenant, _) in enumerate(self._members):
            places[tenant].append(place)
        counts, sizes = [0] * len(self._members), []
        for event in events:
            getting = [place for place in places[event.tenant] if self._members[place][1].gets(event)]
            sizes.append(len(getting))
            for place in getting:
                counts[place] += 1
        return Plan(events, counts, list(accumulate(sizes)))

    def run(self, plan: Plan, window: int, how: str = "") -> Delivery:
        """Publish what is planned with ``window`` events outstanding, and check what each client has got.

        Args:
            how: the events follow each other.

        Raises:
            Broken: a client has not got what it is owed, or not in order.
        """
        self._crowd.forget()
        before = self._crowd.catch().disorder
        watch = Stopwatch(server=self._gateway.pids, clients=self._loader.pid, sender=os.getpid())
        self._publish(plan, window)
        span = watch.stop()
        self._gateway.sender.positions()
        by_event, by_message = self.courses.setdefault((window, how), (Course(), Course("message")))
        by_event.add(span, len(plan.events))
        by_message.add(span, plan.reached[-1])
        got, catch = self._crowd.counts(), self._crowd.catch()
        wrong = sum(abs(one - owed) for one, owed in zip(got, plan.counts, strict=True))
        label = f"{self.label}{how}, {window} outstanding"
        return Delivery(label, plan.reached[-1], sum(got), wrong, catch.disorder - before)

    def _publish(self, plan: Plan, window: int) -> None:
        published = complete = 0
        while complete < len(plan.events):
            allowed = min(len(plan.events), complete + window)
            if allowed > published:
                self._gateway.publish(plan.events[published:allowed])
                published = allowed
            total = self._crowd.wait_together("event", plan.reached[complete])
            complete = bisect_right(plan.reached, total, complete)
            self._gateway.take()

    def row(self, window: int, how: str = "") -> Row:
        """The row of a table."""
        by_event, by_message = self.courses[window, how]
        rate, cost, *shares = by_message.row("").figures
        figures = [rate, cost, Figure("CPU µs/event", by_event.costs, 1), *shares]
        return Row(f"{self.label}{how} | {window} outstanding", figures)

    def close(self) -> None:
        """Disconnect everybody, and end the gateway."""
        self._crowd.close()
        self._gateway.close()


def measure(folder: Path, scale: Scale) -> Report:
    """Measure it."""
    report = Report("tenants", f"{scale.tenants} tenants of {_CLIENTS} clients of all kinds, and one user among many")
    with closing(Loader(folder)) as loader:
        _measure_tenants(folder, loader, scale, report)
        _measure_alone(folder, loader, scale, report)
    report.notes += [
        "of ten clients of a tenant, six are agents who get everything, two are agents of half the queues",
        "the ninth is a supervisor, the tenth one of a quarter of the queues, or of agents only, or a wallboard",
        "all alike: agents who get everything, as many as an event reaches in the others, at a gateway of their own",
        "in turn: each client has one event outstanding at most; a run each: all that are, as with one tenant",
        "each client got as many events as the protocol's rules say, in order",
        "raised limits: " + ", ".join(f"{key} = {value}" for key, value in RAISED.items()),
    ]
    return report


def _measure_tenants(folder: Path, loader: Loader, scale: Scale, report: Report) -> None:
    many = {f"tenant-{number}": list(staff(_CLIENTS)) for number in range(scale.tenants)}
    with ExitStack() as stack:
        label = f"{scale.tenants} tenants"
        mixed = stack.enter_context(closing(House(label, folder / "tenants", loader, many)))
        probe = mixed.plan(max(scale.tenant_events.values()))
        reached = round(probe.reached[-1] / len(probe.events))
        one = {TENANT: list(alike(reached))}
        plain = stack.enter_context(closing(House("one tenant, all alike", folder / "tenant", loader, one)))
        for number in range(scale.rounds):
            progress(f"tenants: round {number + 1} of {scale.rounds}")
            for window, count in scale.tenant_events.items():
                report.deliver(mixed.run(mixed.plan(count), window, _IN_TURNS))
                report.deliver(mixed.run(mixed.plan(count, run=window), window, _IN_RUNS))
                report.deliver(plain.run(plain.plan(count), window))
        for window in scale.tenant_events:
            report.rows += [mixed.row(window, _IN_TURNS), mixed.row(window, _IN_RUNS), plain.row(window)]
            for how in (_IN_TURNS, _IN_RUNS):
                above, below = mixed.courses[window, how][1], plain.courses[window, ""][1]
                label = f"{mixed.label}{how} / {plain.label} | {window} outstanding"
                report.ratios.append(_limit(label, "CPU for each message", above, below))


def _measure_alone(folder: Path, loader: Loader, scale: Scale, report: Report) -> None:
    few, many = scale.alone
    users = [viewer.user for viewer in alike(few)]
    houses = []
    with ExitStack() as stack:
        for connections in scale.alone:
            label = f"events for one user among {connections:,}"
            house = House(label, folder / f"alone-{connections}", loader, {TENANT: list(alike(connections))})
            houses.append(stack.enter_context(closing(house)))
        for number in range(scale.rounds):
            progress(f"tenants, one user among many: round {number + 1} of {scale.rounds}")
            for house in houses:
                report.deliver(house.run(house.plan(scale.alone_events, users), _ALONE_WINDOW))
        report.rows += [house.row(_ALONE_WINDOW) for house in houses]
        above, below = [house.courses[_ALONE_WINDOW, ""][0] for house in reversed(houses)]
        label = f"events for one user among {many:,} / among {few:,}"
        report.ratios.append(_limit(label, "CPU for each event", above, below, ALONE_GOAL))


def _limit(label: str, what: str, above: Course, below: Course, most: float | None = None) -> Limit:
    values = [one / other for one, other in zip(above.costs, below.costs, strict=True)]
    return Limit(label, what, values, most)
