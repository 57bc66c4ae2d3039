"""The state of a large call center: when its first and its last byte are there, and how large it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path

from bench.event import Event, agent_event, call_event, queue_event
from bench.failure import Broken, Unavailable
from bench.loader import Crowd, Loader, Snap
from bench.report import Delivery, Figure, Report, Row, progress
from bench.scale import Scale
from bench.stage import RAISED, Stage
from bench.store import Store

COLD, SHARED = "first after a change", "at the same position again"
_CALL_STAGES = ("call.incoming", "call.ringing", "call.answered")


class Waits:
    """How long one way of asking took, round after round."""

    def __init__(self) -> None:
        self._snaps: list[list[Snap]] = []
        self._cpu: list[float] = []

    def add(self, snaps: list[Snap], cpu: float) -> None:
        """One round more: what each client got, and seconds of the gateway's CPU for all of them."""
        self._snaps.append(snaps)
        self._cpu.append(cpu)

    def row(self, label: str) -> Row:
        """The row of a table: of many clients the one that waited longest."""
        costs = [1e3 * cpu / len(snaps) for cpu, snaps in zip(self._cpu, self._snaps, strict=True)]
        figures = [
            Figure("ms to the first byte", [1e3 * max(snap.first_byte for snap in snaps) for snaps in self._snaps], 1),
            Figure("ms to the last byte", [1e3 * max(snap.last_byte for snap in snaps) for snaps in self._snaps], 1),
            Figure("CPU ms/client", costs, 2),
            Figure("bytes", [snaps[0].size for snaps in self._snaps]),
        ]
        return Row(label, figures)


class Floor:
    """A gateway that holds the whole state; a client that dials, one whose connection is open, and a crowd.

    Args:
        folder: for the snapshots that are looked into.
    """

    def __init__(self, stage: Stage, scale: Scale, folder: Path, report: Report) -> None:
        self.label = str(stage.store)
        self.waits: dict[str, Waits] = {}
        self._stage = stage
        self._scale = scale
        self._folder = folder
        self._report = report
        self._numbers = count()
        stage.publish(list(_state(scale)))
        # Everybody is announced the first time, and that moves the position.
        self._connect(["agent-dial"]).close()
        self._caller = self._connect(["agent-open"])
        self._crowd = self._connect([f"agent-{number}" for number in range(scale.crowd)])
        self._hang_up()

    def run(self) -> None:
        """One round."""
        for how in (COLD, SHARED):
            self._measure(f"connects with ?snapshot=1, {how}", self._dial, change=how is COLD)
        for how in (COLD, SHARED):
            self._measure(f"asks on an open connection, {how}", self._ask, change=how is COLD)
        self._measure(f"{self._scale.crowd} ask at once, {COLD}", self._ask_all, change=True)
        sizes = {snap.size for snap in self._crowd.snaps()}
        (alone,) = self._ask()
        if sizes != {alone.size}:
            raise Broken(f"snapshots of one position have {sizes} bytes, and {alone.size}")

    def _measure(self, label: str, ask: Callable[[], list[Snap]], *, change: bool) -> None:
        if change:
            agent = next(self._numbers) % self._scale.agents
            self._stage.publish([agent_event(agent, "talking")])
            self._caller.reach(self._stage.head)
            self._crowd.reach(self._stage.head)
        watch = self._stage.watch()
        snaps = ask()
        self.waits.setdefault(label, Waits()).add(snaps, watch.stop().cpu["server"])
        self._hang_up()

    def _connect(self, users: Sequence[str]) -> Crowd:
        crowd = self._stage.crowd([self._stage.dial(user) for user in users])
        crowd.open()
        crowd.wait("welcome", 1)
        return crowd

    def _hang_up(self) -> None:
        """Wait until whoever dialed is gone."""
        self._stage.gateway.await_connections(1 + self._scale.crowd)

    def _dial(self) -> list[Snap]:
        crowd = self._stage.crowd([self._stage.dial("agent-dial", "?snapshot=1")])
        file = self._folder / "dialed"
        crowd.capture(file)
        crowd.open()
        snaps = _await(crowd)
        self._look_into(file)
        crowd.close()
        return snaps

    def _ask(self) -> list[Snap]:
        file = self._folder / "asked"
        self._caller.capture(file)
        snaps = self._ask_of(self._caller)
        self._look_into(file)
        return snaps

    def _ask_all(self) -> list[Snap]:
        return self._ask_of(self._crowd)

    def _ask_of(self, crowd: Crowd) -> list[Snap]:
        crowd.forget()
        crowd.send('{"type":"snapshot"}')
        return _await(crowd)

    def _look_into(self, file: Path) -> None:
        """Check that a snapshot shows everything once, in order, at the right position."""
        (snapshot,) = [line for line in file.read_bytes().splitlines() if line.startswith(b'{"type":"snapshot"')]
        payload = json.loads(snapshot)["payload"]
        seqs = [event["seq"] for event in payload["events"]]
        if payload["seq"] != self._stage.head or seqs != sorted(set(seqs)):
            raise Broken(f"the snapshot is of {payload['seq']}, not of {self._stage.head}, or out of order")
        expected = Counter((event.type, _entity(json.loads(event.payload))) for event in _state(self._scale))
        found = Counter((event["type"], _entity(event["payload"])) for event in payload["events"])
        wrong = (expected - found) + (found - expected)
        label = f"{self.label}, what the snapshots show"
        self._report.deliver(Delivery(label, expected.total(), found.total(), wrong.total()))


def _state(scale: Scale) -> Iterator[Event]:
    for number in range(scale.agents):
        yield agent_event(number, "available")
    for number in range(scale.calls):
        for stage in _CALL_STAGES:
            yield call_event(stage, number)
    for number in range(scale.queues):
        yield queue_event(number, 3)


def _entity(payload: dict[str, str]) -> str:
    """What an event is about: a call, an agent or a queue."""
    return next(payload[key] for key in ("unique_id", "user_id", "queue_name") if key in payload)


def _await(crowd: Crowd) -> list[Snap]:
    crowd.wait("snapshot", 1)
    return crowd.snaps()


def measure(folder: Path, scale: Scale) -> Report:
    """Measure it."""
    title = f"the state of {scale.agents:,} agents, {scale.calls:,} calls and {scale.queues:,} queues"
    report = Report("snapshot", title)
    floors: list[Floor] = []
    with ExitStack() as stack:
        loader = stack.enter_context(closing(Loader(folder)))
        for store in (Store.MEMORY, Store.NORMAL):
            own = folder / f"snapshot-{store.name.lower()}"
            try:
                stage = stack.enter_context(closing(Stage(store, own, loader)))
            except Unavailable as reason:
                report.rows.append(Row(store, unavailable=str(reason)))
            else:
                floors.append(Floor(stage, scale, own, report))
        for number in range(scale.rounds):
            progress(f"snapshot: round {number + 1} of {scale.rounds}")
            for floor in floors:
                floor.run()
    report.rows += [waits.row(f"{floor.label} | {label}") for floor in floors for label, waits in floor.waits.items()]
    report.notes += [
        "times are from the request to the byte; of many clients, those of the one that waited longest",
        "?snapshot=1 counts from the handshake, so the connect is in it",
        "raised limits: " + ", ".join(f"{key} = {value}" for key, value in RAISED.items()),
    ]
    return report
