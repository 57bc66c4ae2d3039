"""Measures snapshots of a large call center: time to the first and last byte, CPU, and size."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path

from bench.event import Event, agent_event, call_event, queue_event
from bench.failure import InvalidRun, Unavailable
from bench.gateway_setup import RAISED_LIMITS, GatewaySetup
from bench.loader import ClientGroup, Loader, SnapshotTiming
from bench.report import Delivery, Figure, Report, Row, print_progress
from bench.scale import Scale
from bench.store import Store

COLD, SHARED = "first after a change", "at the same position again"
_CALL_STAGES = ("call.incoming", "call.ringing", "call.answered")


class SnapshotResults:
    """The rounds of one way to request a snapshot."""

    def __init__(self) -> None:
        self._timings: list[list[SnapshotTiming]] = []
        self._cpu: list[float] = []

    def add(self, timings: list[SnapshotTiming], cpu: float) -> None:
        """Add a round: the timing of each client, and seconds of the gateway's CPU for all of them."""
        self._timings.append(timings)
        self._cpu.append(cpu)

    def row(self, label: str) -> Row:
        """Return the row of a table; of several clients it shows the slowest."""
        rounds = self._timings
        costs = [1e3 * cpu / len(timings) for cpu, timings in zip(self._cpu, rounds, strict=True)]
        figures = [
            Figure("ms to the first byte", [1e3 * max(one.first_byte for one in timings) for timings in rounds], 1),
            Figure("ms to the last byte", [1e3 * max(one.last_byte for one in timings) for timings in rounds], 1),
            Figure("CPU ms/client", costs, 2),
            Figure("bytes", [timings[0].size for timings in rounds]),
        ]
        return Row(label, figures)


class SnapshotRun:
    """One gateway that holds the whole state, and the clients that request snapshots.

    The clients are one that connects each time, one that stays connected, and a group that requests at once.

    Args:
        folder: for the snapshots that are checked.
    """

    def __init__(self, setup: GatewaySetup, scale: Scale, folder: Path, report: Report) -> None:
        self.label = str(setup.store)
        self.results: dict[str, SnapshotResults] = {}
        self._setup = setup
        self._scale = scale
        self._folder = folder
        self._report = report
        self._numbers = count()
        setup.publish(list(_state(scale)))
        # The first connect of each user is announced, which changes the position.
        self._connect(["agent-connecting"]).close()
        self._client = self._connect(["agent-open"])
        self._group = self._connect([f"agent-{number}" for number in range(scale.snapshot_clients)])
        self._await_disconnect()

    def run(self) -> None:
        """Run one round."""
        for label in (COLD, SHARED):
            self._measure(f"connects with ?snapshot=1, {label}", self._request_by_connecting, change=label is COLD)
        for label in (COLD, SHARED):
            self._measure(f"asks on an open connection, {label}", self._request_when_open, change=label is COLD)
        self._measure(f"{self._scale.snapshot_clients} ask at once, {COLD}", self._request_by_group, change=True)
        sizes = {timing.size for timing in self._group.snapshot_timings()}
        (single,) = self._request_when_open()
        if sizes != {single.size}:
            raise InvalidRun(f"snapshots of one position have {sizes} bytes, and {single.size}")

    def _measure(self, label: str, request: Callable[[], list[SnapshotTiming]], *, change: bool) -> None:
        if change:
            agent = next(self._numbers) % self._scale.agents
            self._setup.publish([agent_event(agent, "talking")])
            self._client.wait_for_seq(self._setup.head)
            self._group.wait_for_seq(self._setup.head)
        watch = self._setup.watch()
        timings = request()
        self.results.setdefault(label, SnapshotResults()).add(timings, watch.stop().cpu["server"])
        self._await_disconnect()

    def _connect(self, users: Sequence[str]) -> ClientGroup:
        group = self._setup.client_group([self._setup.handshake(user) for user in users])
        group.open()
        group.wait("welcome", 1)
        return group

    def _await_disconnect(self) -> None:
        """Wait until the client that connects each time is disconnected."""
        self._setup.gateway.await_connections(1 + self._scale.snapshot_clients)

    def _request_by_connecting(self) -> list[SnapshotTiming]:
        group = self._setup.client_group([self._setup.handshake("agent-connecting", "?snapshot=1")])
        file = self._folder / "connecting"
        group.capture(file)
        group.open()
        timings = _await_snapshot(group)
        self._check(file)
        group.close()
        return timings

    def _request_when_open(self) -> list[SnapshotTiming]:
        file = self._folder / "open"
        self._client.capture(file)
        timings = self._request(self._client)
        self._check(file)
        return timings

    def _request_by_group(self) -> list[SnapshotTiming]:
        return self._request(self._group)

    def _request(self, group: ClientGroup) -> list[SnapshotTiming]:
        group.clear()
        group.send('{"type":"snapshot"}')
        return _await_snapshot(group)

    def _check(self, file: Path) -> None:
        """Check that a snapshot contains each entity once, in order, and has the right position."""
        (snapshot,) = [line for line in file.read_bytes().splitlines() if line.startswith(b'{"type":"snapshot"')]
        payload = json.loads(snapshot)["payload"]
        seqs = [event["seq"] for event in payload["events"]]
        if payload["seq"] != self._setup.head or seqs != sorted(set(seqs)):
            raise InvalidRun(f"the snapshot is of {payload['seq']}, not of {self._setup.head}, or out of order")
        expected = Counter((event.type, _entity(json.loads(event.payload))) for event in _state(self._scale))
        found = Counter((event["type"], _entity(event["payload"])) for event in payload["events"])
        wrong = (expected - found) + (found - expected)
        label = f"{self.label}, what the snapshots show"
        self._report.add_delivery(Delivery(label, expected.total(), found.total(), wrong.total()))


def _state(scale: Scale) -> Iterator[Event]:
    for number in range(scale.agents):
        yield agent_event(number, "available")
    for number in range(scale.calls):
        for stage in _CALL_STAGES:
            yield call_event(stage, number)
    for number in range(scale.queues):
        yield queue_event(number, 3)


def _entity(payload: dict[str, str]) -> str:
    """Return the call, agent or queue that an event concerns."""
    return next(payload[key] for key in ("unique_id", "user_id", "queue_name") if key in payload)


def _await_snapshot(group: ClientGroup) -> list[SnapshotTiming]:
    group.wait("snapshot", 1)
    return group.snapshot_timings()


def measure(folder: Path, scale: Scale) -> Report:
    """Measure snapshots of a large state from each store; return the report.

    Figures: time to the first and the last byte, CPU and size, for one client and for several.

    Raises:
        InvalidRun: an event was lost, repeated or out of order, or a client was disconnected.
    """
    title = f"the state of {scale.agents:,} agents, {scale.calls:,} calls and {scale.queues:,} queues"
    report = Report("snapshot", title)
    runs: list[SnapshotRun] = []
    with ExitStack() as stack:
        loader = stack.enter_context(closing(Loader(folder)))
        for store in (Store.MEMORY, Store.NORMAL):
            gateway_folder = folder / f"snapshot-{store.name.lower()}"
            try:
                setup = stack.enter_context(closing(GatewaySetup(store, gateway_folder, loader)))
            except Unavailable as reason:
                report.rows.append(Row(store, unavailable=str(reason)))
            else:
                runs.append(SnapshotRun(setup, scale, gateway_folder, report))
        for number in range(scale.rounds):
            print_progress(f"snapshot: round {number + 1} of {scale.rounds}")
            for run in runs:
                run.run()
    report.rows += [results.row(f"{run.label} | {label}") for run in runs for label, results in run.results.items()]
    report.notes += [
        "times are from the request to the byte; of several clients, those of the slowest",
        "?snapshot=1 counts from the handshake, so that it includes the connect",
        "raised limits: " + ", ".join(f"{key} = {value}" for key, value in RAISED_LIMITS.items()),
    ]
    return report
