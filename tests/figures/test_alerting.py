"""What the alerts of a tenant publish, second by second."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from sample_events import event
from twisted.logger import capturedLogs

from callcenter_ws.events.event import Event
from callcenter_ws.events.publication import Publication
from callcenter_ws.figures.alert_rows import MAX_DOWN
from callcenter_ws.figures.alerting import UNITS_PER_SECOND, Alerting
from callcenter_ws.figures.plan import TenantPlan
from callcenter_ws.statistics.checkpoint import NO_DAY, RowKey, take_changes
from callcenter_ws.statistics.fold import apply_publication
from callcenter_ws.statistics.rules import AlertRule, Clear, Raise, Schedule
from callcenter_ws.statistics.state import State, start_waiting

DOWN = AlertRule(name="pbx", source="pbx1")
WAITS = AlertRule(
    name="waits", queues=("*",), metric="longest_wait_time", raise_=Raise(above=60, for_=15),
    clear=Clear(at_most=45, for_=10), repeat=30,
)  # fmt: skip
NONE_STAFFED = AlertRule(name="staff", queues=("sales", "new"), metric="staffed_agents", raise_=Raise(below=1))


class World:
    """The stream of a tenant, folded by one part at a time."""

    def __init__(self, *rules: AlertRule, interval_minutes: int = 15) -> None:
        self.plan = TenantPlan(alerts=rules, interval_minutes=interval_minutes)
        self.state = State()
        self.stream: list[Event] = []
        self.known: set[str] = set()
        self.folded = self.written = 0
        self.rows: dict[RowKey, bytes] = {}
        self.part = self.make()

    def make(self) -> Alerting:
        part = Alerting("acme", self.plan, self.publish)
        part.load(self.rows)
        part.start(1)
        return part

    async def publish(self, event_: Event) -> None:
        if event_.event_id not in self.known:
            self.known.add(event_.event_id)
            self.stream.append(event_)

    def say(self, type_: str, **payload: Any) -> None:
        self.stream.append(event(type_, payload, event_id=f"e{len(self.stream)}"))

    def fold(self) -> None:
        for event_ in self.stream[self.folded :]:
            self.folded += 1
            publication = Publication(event_, self.folded)
            apply_publication(self.state, publication, event_.received_ms)
            self.part.apply(publication)

    def write(self) -> None:
        for key, data in self.part.take_changes().items():
            if data is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = data
        take_changes(self.state)
        self.written = self.folded

    def run(self, first: int, last: int) -> None:
        for second in range(first, last + 1):
            self.part.second(self.state, second * 1000)
            self.write()
            self.fold()

    def hand_over(self) -> None:
        """Begin another part with the rows that were written, and fold again what came after them."""
        self.part = self.make()
        self.folded = self.written
        self.fold()

    def seen(self) -> list[tuple[str, str, int]]:
        """Return the alerts of the stream: what, about what, and the second."""
        found = []
        for event_ in self.stream:
            if event_.type.name.startswith("queue.alert."):
                payload = json.loads(event_.payload)
                at = int(event_.timestamp[17:19]) + 60 * int(event_.timestamp[14:16])
                found.append((event_.type.name[12:], payload.get("queue_name") or payload["source"], at))
        return found

    def payload(self, number: int = -1) -> Any:
        return json.loads([one for one in self.stream if one.type.name.startswith("queue.alert.")][number].payload)

    def touch(self, name: str) -> None:
        """Apply an event of a queue."""
        self.state.queue(name)
        self.state.seq += 1

    def wait_in(self, name: str, call: str, since: int) -> None:
        queue = self.state.queue(name)
        assert queue is not None
        start_waiting(queue, call, since * 1000)
        self.touch(name)


def test_a_wait_that_grows_is_raised_repeated_and_cleared_with_everything_that_was_raised() -> None:
    world = World(WAITS)
    world.run(0, 1)
    world.wait_in("later", "c1", 2)
    world.run(2, 110)
    assert world.seen() == [("raised", "later", 78), ("raised", "later", 108)]
    assert world.payload()["repeat"] == 1
    world.state.queues["later"].waiting.clear()
    world.touch("later")
    world.run(111, 130)
    assert world.seen()[2:] == [("cleared", "later", 121)]
    raised, cleared = world.payload(0), world.payload(-1)
    assert (raised["threshold"], cleared["threshold"]) == (60, 45)
    for name in ("alert_id", "rule", "queue_name", "metric", "window", "severity", "since"):
        assert cleared[name] == raised[name], name
    assert world.rows == {}, "an alert that is over has no row"
    assert not world.part._alerts


@pytest.mark.parametrize("handover_at", [65, 77, 78, 79, 90, 115, 120, 121, 122])
@pytest.mark.parametrize("loses_rows", [False, True])
def test_a_handover_in_any_phase_neither_repeats_nor_forgets(handover_at: int, loses_rows: bool) -> None:
    def run(handover: int | None) -> list[tuple[str, str, int]]:
        world = World(msgspec.structs.replace(WAITS, repeat=0))
        world.wait_in("q", "c1", 2)
        for second in range(1, 140):
            if second == 111:
                world.state.queues["q"].waiting.clear()
                world.touch("q")
            if second == handover:
                # The second was evaluated and published before.
                world.part.second(world.state, second * 1000)
                if not loses_rows:
                    world.write()
                world.hand_over()
            world.run(second, second)
        return world.seen()

    assert run(handover_at) == run(None) == [("raised", "q", 78), ("cleared", "q", 121)]


def test_an_acknowledged_alert_is_not_repeated_and_stays() -> None:
    world = World(WAITS)
    world.wait_in("q", "c1", 2)
    world.run(1, 80)
    world.say("queue.alert.acknowledged", **{**world.payload(), "by": "7"})
    world.hand_over()
    world.run(81, 200)
    assert [what for what, _, _ in world.seen()] == ["raised", "acknowledged"]


@pytest.mark.parametrize(
    "changed",
    [(), (msgspec.structs.replace(NONE_STAFFED, raise_=Raise(below=0)),),
     (msgspec.structs.replace(NONE_STAFFED, queues=("new",)),)],
)  # fmt: skip
@pytest.mark.parametrize("restarts", [False, True])
def test_a_rule_that_is_removed_or_changed_or_loses_the_queue_clears(
    changed: tuple[AlertRule, ...], restarts: bool
) -> None:
    world = World(NONE_STAFFED)
    world.run(1, 2)
    assert sorted(world.seen()) == [("raised", "new", 1), ("raised", "sales", 1)], "also queues without events"
    world.plan = TenantPlan(alerts=changed)
    if restarts:
        world.hand_over()
    else:
        world.part.change(world.plan)
    world.run(3, 5)
    cleared = [one for one in world.seen() if one[0] == "cleared"]
    assert ("cleared", "sales", 3) in cleared and len(cleared) == (
        1 if changed and changed[0].queues == ("new",) else 2
    )
    payload = world.payload()
    assert (payload["reason"], payload["metric"], payload["threshold"]) == ("rule_removed", "staffed_agents", 1)


def test_a_source_is_raised_while_it_is_down_and_a_schedule_clears() -> None:
    world = World(msgspec.structs.replace(DOWN, schedule=Schedule(from_="00:00", to="00:02")))
    world.say("source.down", source="pbx1")
    world.fold()
    world.run(1, 130)
    assert world.seen() == [("raised", "pbx1", 1), ("cleared", "pbx1", 120)]
    assert world.payload()["reason"] == "schedule"


def test_min_offered_and_the_plans_interval() -> None:
    rule = AlertRule(
        name="sl", queues=("q",), metric="service_level", window="interval", raise_=Raise(below=80), min_offered=2
    )
    world = World(rule, interval_minutes=60)
    hour = 3_600
    queue = world.state.queue("q")
    assert queue is not None
    # An abandoned wait in the first quarter of the hour, outside of the service level.
    for number in range(2):
        for at, type_ in ((1, "queue.joined"), (100, "call.abandoned")):
            publication = Publication(
                event(type_, {"queue_name": "q", "unique_id": f"c{number}"}, now=hour + at), world.state.seq + 1
            )
            apply_publication(world.state, publication, (hour + at) * 1000)
            world.part.apply(publication)
        second = hour + 1_000 + number
        world.run(second, second)
        assert len(world.seen()) == number, "one call says little"
    assert world.payload()["window"] == "interval"


@pytest.mark.logs_errors
def test_damaged_rows_and_payloads_are_left_out_and_logged_once() -> None:
    world = World(DOWN)
    world.rows = {RowKey("alert", "x", NO_DAY): b"\xc1", RowKey("alert", "sources", NO_DAY): b"{"}
    bad = event("source.down", {"source": "pbx1"})
    bad.payload = b"{"
    raised = event("queue.alert.raised", {})
    raised.payload = b'{"since": 5}'
    with capturedLogs() as logs:
        world.hand_over()
        world.part.apply(Publication(bad, 1))
        world.part.apply(Publication(raised, 2))
    assert len(logs) == 1


def test_the_sources_that_are_down_are_bounded() -> None:
    world = World(DOWN)
    for number in range(MAX_DOWN + 5):
        world.say("source.down", source=f"s{number}")
    world.fold()
    world.write()
    (row,) = world.rows.values()
    assert len(msgspec.msgpack.decode(row)) == MAX_DOWN


def test_many_rules_of_many_queues_are_evaluated_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [
        AlertRule(name=f"r{number}", queues=("*",), metric="offered", window="today", raise_=Raise(below=1))
        for number in range(50)
    ]
    world = World(*rules)
    for number in range(40):
        world.state.queue(f"q{number}")
    costs = []
    real = Alerting._evaluate_queues

    def measured(part: Alerting, state: State, values: Any) -> None:
        real(part, state, values)
        costs.append(values.cost)

    monkeypatch.setattr(Alerting, "_evaluate_queues", measured)
    second = 0
    while len(world.seen()) < 2_000 and second < 300:
        second += 1
        world.run(second, second)
    assert len(world.seen()) == 2_000
    most_of_one_queue = 75 + 50 * 23
    assert max(costs) < UNITS_PER_SECOND + most_of_one_queue


@pytest.mark.parametrize(("no_data", "seen"), [("keep", []), ("clear", []), ("raise", [("raised", "q", 1)])])
def test_a_window_without_calls_does_as_no_data_says(no_data: Any, seen: list[tuple[str, str, int]]) -> None:
    rule = AlertRule(
        name="sl", queues=("q",), metric="service_level", window="today", raise_=Raise(below=80), no_data=no_data
    )
    world = World(rule)
    world.run(1, 3)
    assert world.seen() == seen
