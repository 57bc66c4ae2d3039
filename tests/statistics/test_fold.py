"""What the handed sequences do not show: lost calls, late events, bounds, settings, transfers, wrap-up."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import pytest
from fold_samples import make_occurrence

from callcenter_ws.events.event import Origin, make_event
from callcenter_ws.events.publication import Publication
from callcenter_ws.statistics import state as bounds
from callcenter_ws.statistics.checkpoint import FOLD, UnknownVersion, decode_quarters, forget_days, load, take_changes
from callcenter_ws.statistics.fold import apply, apply_publication
from callcenter_ws.statistics.occurrence import SETTINGS_CHANGED, occurrence_of
from callcenter_ws.statistics.reading import Reading
from callcenter_ws.statistics.settings import Settings, settings_payload
from callcenter_ws.statistics.state import State
from callcenter_ws.statistics.sums import DAY_MS, QUARTER_MS
from callcenter_ws.statistics.zones import zone_of
from tests.statistics.sequences import Store

START = 1_795_420_800_000  # 2026-11-23T08:00:00Z


class World:
    """A fold, fed in seconds after ``START``."""

    def __init__(self) -> None:
        self.state = State()

    def put(self, at: float, type_: str, *, received: float | None = None, **payload: Any) -> None:
        moment = START + round(at * 1000)
        arrived = moment if received is None else START + round(received * 1000)
        seq = self.state.seq + 1
        apply(self.state, make_occurrence(type_, payload, timestamp=moment, received=arrived, seq=seq))

    def join(self, at: float, call: str = "c1", queue: str = "q", **more: Any) -> None:
        self.put(at, "queue.joined", unique_id=call, queue_name=queue, **more)

    def leave(self, at: float, call: str = "c1", queue: str = "q", **more: Any) -> None:
        self.put(at, "queue.left", unique_id=call, queue_name=queue, **more)

    def answer(self, at: float, agent: str = "u1", call: str = "c1", **more: Any) -> None:
        self.put(at, "call.answered", unique_id=call, agent_id=agent, **more)

    def end(self, at: float, call: str = "c1", **more: Any) -> None:
        self.put(at, "call.ended", unique_id=call, duration=0, **more)

    def reading(self, at: float) -> Reading:
        return Reading(self.state, START + round(at * 1000))

    def queue(self, at: float, queue: str = "q") -> dict[str, Any]:
        reading = self.reading(at)
        return reading.queue_between(queue, START - 2 * DAY_MS, reading.now // DAY_MS * DAY_MS + DAY_MS)

    def agent(self, at: float, agent: str = "u1") -> dict[str, Any]:
        reading = self.reading(at)
        return reading.agent_between(agent, START - 2 * DAY_MS, reading.now // DAY_MS * DAY_MS + DAY_MS)

    def now(self, at: float, queue: str = "q") -> dict[str, Any]:
        return self.reading(at).queue_now(queue)


def test_a_call_without_events_is_lost_after_a_day() -> None:
    world = World()
    world.join(0)
    world.join(10, "c2")
    world.answer(20, call="c2", queue_name="q")
    assert world.now(86_399)["calls_waiting"] == 1
    before = world.now(86_420), world.queue(86_420), world.agent(86_420)
    assert before[0]["calls_waiting"] == before[0]["interacting_calls"] == 0
    assert before[0]["longest_wait_time"] is None
    assert (before[1]["lost"], before[1]["lost_legs"], before[1]["abandoned"]) == (1, 1, 0)
    assert before[2]["lost_legs"] == 1 and before[2]["handled"] == before[2]["talk_seconds"] == 0
    # The same once an event has removed them.
    world.join(86_420, "c3", "r")
    assert (world.now(86_420), world.queue(86_420), world.agent(86_420)) == before
    assert list(world.state.calls) == ["c3"]


@pytest.mark.parametrize("how", [{"ended_by": "unknown"}, {"reason": "unknown"}])
def test_what_reconciling_ended_is_lost(how: dict[str, str]) -> None:
    world = World()
    world.join(0)
    if "reason" in how:
        world.leave(10, **how)
    world.end(10, **how)
    figures = world.queue(20)
    assert (figures["lost"], figures["abandoned"], figures["max_wait"]) == (1, 0, None)


def test_a_leg_that_reconciling_ended_is_lost() -> None:
    world = World()
    world.join(0)
    world.leave(5, reason="answered")
    world.answer(5, queue_name="q")
    world.end(65, ended_by="unknown")
    figures = world.queue(70)
    assert (figures["handled"], figures["talk_seconds"], figures["lost_legs"]) == (0, 0, 1)
    assert figures["answered"] == 1


def test_late_events_are_counted_and_change_nothing() -> None:
    world = World()
    world.join(0, received=2 * 86_400 + 0.001)
    assert world.reading(0).diagnostics()["late_events"] == 1
    world.join(0, received=2 * 86_400)
    assert world.queue(2 * 86_400)["offered"] == 1


def test_an_event_ahead_of_the_clock() -> None:
    world = World()
    world.join(3600, received=0)
    assert world.now(10)["longest_wait_time"] == 8


def test_two_queues_are_one_call() -> None:
    world = World()
    world.join(0)
    world.leave(30, reason="timeout")
    world.join(30, queue="r")
    world.leave(40, queue="r", reason="answered", wait_seconds=10)
    world.answer(40, wait_seconds=40, queue_name="r")
    world.end(100)
    reading = world.reading(200)
    tenant = reading.tenant_between(*reading.today())
    assert tenant == {"calls_offered": 1, "calls_answered": 1, "queue_entries": 2}
    assert world.queue(200)["flow_out_reasons"] == {"timeout": 1}
    assert world.queue(200, "r")["average_wait_time"] == 10.0


def test_wrap_up_belongs_to_the_queue_of_the_leg() -> None:
    world = World()
    world.put(0, "agent.login", user_id="u1", username="u1", state="available")
    world.join(0)
    world.answer(10, queue_name="q")
    world.put(10, "agent.state.changed", user_id="u1", username="u1", state="talking")
    world.put(20, "call.hold", unique_id="c1", held_by="u1")
    world.put(35, "call.unhold", unique_id="c1", held_by="u1")
    world.end(70)
    world.put(70, "agent.state.changed", user_id="u1", username="u1", state="wrap_up")
    assert world.queue(90)["wrap_up_seconds"] == 0
    world.put(100, "agent.state.changed", user_id="u1", username="u1", state="available")
    figures = world.queue(100)
    assert (figures["talk_seconds"], figures["hold_seconds"], figures["wrap_up_seconds"]) == (45, 15, 30)
    assert figures["average_handle_time"] == world.agent(100)["average_handle_time"] == 90.0


def test_the_agents_whom_ring_all_passed_over_missed_nothing() -> None:
    world = World()
    world.join(0)
    for agent in ("u1", "u2", "u3"):
        world.put(1, "call.ringing", unique_id="c1", agent_id=agent, queue_name="q")
    world.leave(5, reason="answered")
    world.answer(5, "u2", queue_name="q")
    for agent in ("u1", "u3"):
        world.put(5, "call.missed", unique_id="c1", agent_id=agent, queue_name="q", ring_seconds=4)
    assert world.queue(10)["missed"] == world.agent(10, "u1")["missed"] == 0
    assert world.agent(10, "u1")["agent_answer_rate"] is None
    assert world.agent(10, "u2")["answered"] == 1


def test_a_caller_who_gives_up_is_no_miss() -> None:
    world = World()
    world.join(0)
    world.put(1, "call.ringing", unique_id="c1", agent_id="u1", queue_name="q")
    world.put(9, "call.abandoned", unique_id="c1", queue_name="q", wait_seconds=9)
    world.put(9, "call.missed", unique_id="c1", agent_id="u1", queue_name="q", ring_seconds=8)
    assert (world.queue(10)["missed"], world.queue(10)["abandoned"]) == (0, 1)


def test_an_agent_gets_no_credit_after_the_transfer() -> None:
    world = World()
    world.join(0)
    world.answer(10, queue_name="q")
    world.put(40, "call.transferred", unique_id="c1", from_agent_id="u1", destination="r")
    assert world.now(45)["interacting_calls"] == 1
    world.join(50, queue="r")
    assert world.now(55)["interacting_calls"] == 0
    world.answer(80, "u2", queue_name="r")
    assert world.now(85, "r")["interacting_calls"] == 1
    world.end(100)
    assert world.agent(200)["talk_seconds"] == 30
    assert world.agent(200, "u2")["talk_seconds"] == 20
    assert world.queue(200)["transferred_out"] == 1


def test_the_answer_that_comes_after_the_end() -> None:
    world = World()
    world.join(0)
    world.leave(10, reason="answered", wait_seconds=10)
    world.end(70)
    world.answer(10, queue_name="q", received=71)
    assert (world.queue(80)["handled"], world.queue(80)["talk_seconds"]) == (1, 60)
    assert world.now(80)["interacting_calls"] == 0


def test_since_is_not_made_younger() -> None:
    world = World()
    world.put(0, "agent.login", user_id="u1", username="Ann", state="available", queues=["q"])
    world.put(500, "agent.state.changed", user_id="u1", username="Ann", state="available")
    world.put(500, "agent.login", user_id="u1", username="Ann", queues=["r"])
    stats = world.reading(600).agent_stats("u1")
    assert (stats["since"], stats["seconds_in_state"], stats["username"]) == ("2026-11-23T08:00:00.000Z", 600, "Ann")
    assert world.now(600)["logged_in_agents"] == 0 and world.now(600, "r")["available_agents"] == 1


def test_a_removal_that_comes_again_after_a_login() -> None:
    world = World()
    world.put(10, "queue.member.removed", queue_name="q", user_id="u1")
    world.put(20, "agent.login", user_id="u1", username="u1", queues=["q"])
    world.put(30, "agent.login", user_id="u1", username="u1")
    world.put(10, "queue.member.removed", queue_name="q", user_id="u1", received=40)
    assert world.reading(50).queues_of("u1") == ["q"]
    world.put(60, "queue.member.removed", queue_name="q", user_id="u1")
    assert world.reading(70).queues_of("u1") == []


def test_an_agent_who_never_logs_out_is_counted_on() -> None:
    world = World()
    world.put(0, "agent.login", user_id="u1", username="u1", state="available")
    store = Store()
    for day in range(1, 40):
        world.put(day * 86_400, "agent.logout", user_id="u2", username="u2")
        store.write(world.state)
        forget(world.state, world.state.clock)
    store.write(world.state)
    assert len(world.state.agents["u1"].series.days) <= 3
    older = {key: decode_quarters(row) for key, row in store.rows.items() if key.day}
    reading = Reading(world.state, START + 40 * DAY_MS, older)
    figures = reading.agent_between("u1", START // DAY_MS * DAY_MS, START // DAY_MS * DAY_MS + 50 * DAY_MS)
    assert figures["logged_in_seconds"] == 40 * 86_400
    assert world.agent(39 * 86_400)["occupancy"] == 0.0


def forget(state: State, now: int) -> None:
    for _ in forget_days(state, now):
        pass


def test_what_was_forgotten_does_not_come_back_by_older_events() -> None:
    world, store = World(), Store()
    world.put(10, "queue.member.removed", queue_name="q", user_id="u1")
    world.put(10, "agent.logout", user_id="u2", username="u2")
    store.write(world.state)
    forget(world.state, world.state.clock)
    world.put(5, "queue.member.added", queue_name="q", user_id="u1", received=20)
    world.put(5, "agent.state.changed", user_id="u2", username="u2", state="talking", received=20)
    assert world.reading(30).queues_of("u1") == []
    assert world.reading(30).agent_now("u2")["state"] == "offline"
    store.write(world.state)
    for _ in range(2):
        forget(world.state, world.state.clock + 4 * DAY_MS)
        store.write(world.state)
    assert world.state.queues == world.state.agents == {}


def test_events_of_a_call_that_is_lost_are_recognized_for_another_day() -> None:
    world, store = World(), Store()
    world.join(0)
    world.answer(0, "u1", "c2", queue_name="q")
    world.join(86_500, "c3")
    lost = world.queue(86_500)
    assert (lost["offered"], lost["lost"], lost["lost_legs"]) == (2, 1, 1)
    store.write(world.state)
    world.state = store.read()
    world.join(0, received=100_000)
    world.leave(0.5, reason="answered", received=100_000)
    world.answer(0, "u1", "c2", queue_name="q", received=100_000)
    assert world.queue(100_000) == lost
    world.join(3 * 86_400, "c4")
    assert list(world.state.calls) == ["c4"] and sorted(world.state.old_calls) == ["c1", "c2", "c3"]
    world.join(4 * 86_400, "c5")
    assert sorted(world.state.old_calls) == ["c4"]
    store.write(world.state)
    assert sorted(key.name for key in store.rows if key.kind == "call") == ["c4", "c5"]


def test_forgetting_days_waits_for_the_rows() -> None:
    world = World()
    world.join(0)
    world.end(10)
    forget(world.state, START + 4 * DAY_MS)
    assert world.state.kept_from == 0 and world.queue(0)["offered"] == 1
    store = Store()
    store.write(world.state)
    forget(world.state, START + 4 * DAY_MS)
    assert world.state.queues == {} and world.state.calls == {}
    store.write(world.state)
    assert {key.kind for key in store.rows} == {"fold", "queue-day", "tenant-day"}
    world.join(5, "c2")
    assert world.state.diagnostics["late_events"] == 1


def test_settings_take_effect_at_their_place() -> None:
    world = World()
    world.join(0)
    world.leave(15, reason="answered")
    payload = settings_payload(
        Settings(service_level_ms=10_000), {"r": Settings(service_level_ms=60_000, short_abandon_ms=0)}
    )
    world.put(20, SETTINGS_CHANGED, **payload)
    world.join(30, "c2")
    world.leave(45, "c2", reason="answered")
    world.join(30, "c3", "r")
    world.leave(33, "c3", "r", reason="abandoned")
    figures = world.queue(50)
    assert (figures["answered_in_service_level"], figures["mixed_thresholds"]) == (1, True)
    assert figures["service_level_seconds"] == 10
    other = world.queue(50, "r")
    assert (other["service_level_seconds"], other["abandoned_short"], other["mixed_thresholds"]) == (60, 0, False)


def test_settings_that_make_no_sense_are_ignored() -> None:
    world = World()
    world.put(0, SETTINGS_CHANGED, service_level_seconds=-1, service_level_method="best", time_zone="Mars/Base")
    assert world.state.settings.tenant == Settings(time_zone="Mars/Base")
    assert world.reading(0).queue_stats("q")["time_zone"] == "UTC"


def test_the_rolling_half_hour() -> None:
    world = World()
    world.join(0)
    world.leave(5, reason="answered", wait_seconds=5)
    assert world.reading(29 * 60 + 59).queue_last_30m("q")["answered"] == 1
    assert world.reading(30 * 60).queue_last_30m("q")["answered"] == 0
    # It arrives too late for the window, but not for the day.
    world.join(100, "c2", received=3600)
    assert world.reading(3600).queue_last_30m("q")["offered"] == 0
    assert world.queue(3600)["offered"] == 2
    assert len(world.state.queues["q"].minutes) <= 30


def test_the_oldest_call_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callcenter_ws.statistics.fold.MAX_CALLS", 2)
    world = World()
    for number in range(3):
        world.join(number, f"c{number}")
    assert list(world.state.calls) == ["c1", "c2"]
    assert (world.queue(9)["lost"], world.now(9)["calls_waiting"]) == (1, 2)
    assert world.state.diagnostics["forgotten_calls"] == 1


def test_too_many_queues_agents_and_members(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_QUEUES", "MAX_AGENTS", "MAX_MEMBERS"):
        monkeypatch.setattr(bounds, name, 1)
    world = World()
    world.join(0)
    world.join(0, queue="r")
    world.put(0, "queue.member.added", queue_name="q", user_id="u1")
    world.put(0, "queue.member.added", queue_name="q", user_id="u2")
    assert list(world.state.queues) == ["q"] and list(world.state.agents) == ["u1"]
    assert (world.state.diagnostics["refused_queues"], world.state.diagnostics["refused_agents"]) == (1, 1)
    monkeypatch.setattr(bounds, "MAX_AGENTS", 2)
    world.put(0, "queue.member.added", queue_name="q", user_id="u2")
    assert world.state.diagnostics["refused_members"] == 1


def test_the_heap_of_waits_stays_small() -> None:
    world = World()
    world.join(0, "first")
    for number in range(500):
        world.join(number + 1, f"c{number}")
        world.leave(number + 1.5, f"c{number}", reason="answered")
    assert len(world.state.queues["q"].heap) < 100
    assert world.now(600)["longest_wait_time"] == 600


def test_rows_of_another_version() -> None:
    rows = take_changes(State())
    data = rows[FOLD]
    assert data is not None
    with pytest.raises(UnknownVersion):
        load([(FOLD, data.replace(b"\x97\x01", b"\x97\x7f", 1))])


def publication(seq: int, type_: str = "queue.joined", user_id: str | None = None) -> Publication:
    event = make_event(
        tenant_id="acme",
        type_=type_,
        payload={"unique_id": 7, "queue_name": "q", "x": [1]},
        event_id=f"e{seq}",
        now=START / 1000,
        received_at=0.0,
        timestamp="2026-11-23T08:00:01.500Z",
        user_id=user_id,
        origin=Origin.PRODUCER,
    )
    return Publication(event, seq)


def test_publications() -> None:
    found = occurrence_of(publication(42), START)
    assert (found.type, found.at, found.seq) == ("queue.joined", START + 1500, 42)
    assert (found.facts.unique_id, found.facts.queue_name) == (7, "q")
    world = World()
    apply_publication(world.state, publication(1, user_id="u1"), START)
    assert (world.state.seq, world.state.queues) == (1, {})
    apply_publication(world.state, publication(2), START)
    assert world.now(3)["calls_waiting"] == 1 and list(world.state.calls) == ["7"]


def test_a_payload_that_cannot_be_read() -> None:
    damaged = publication(5)
    damaged.event.payload = b'{"unique_id": []}'
    world = World()
    apply_publication(world.state, damaged, START)
    assert (world.state.seq, world.state.diagnostics["unreadable_events"]) == (5, 1)


def test_quarters_sum_up_to_the_day() -> None:
    world = World()
    world.put(0, "agent.login", user_id="u1", username="u1", state="available")
    for number in range(40):
        world.join(number * 1234, f"c{number}")
        world.leave(number * 1234 + 33.3, f"c{number}", reason="answered")
    reading = world.reading(49_500)
    start, end = reading.day(date(2026, 11, 23))
    quarters = [(at, at + QUARTER_MS) for at in range(start, end, QUARTER_MS)]
    assert (
        sum(world_figures["offered"] for world_figures in (reading.queue_between("q", *one) for one in quarters)) == 40
    )
    logged_in = [reading.agent_between("u1", *one)["logged_in_seconds"] for one in quarters]
    assert sum(logged_in) == reading.agent_between("u1", start, end)["logged_in_seconds"] == 49_500
    assert max(logged_in) == 900


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Asia/Kathmandu", "2026-10-25", 24),
    ],
)
def test_the_nights_when_clocks_change(zone: str, day: str, hours: float) -> None:
    start, end = zone_of(zone).day(date.fromisoformat(day))
    state = State()

    def put(at: int, type_: str, **payload: Any) -> None:
        apply(state, make_occurrence(type_, payload, timestamp=at, received=at, seq=state.seq + 1))

    put(start - DAY_MS, SETTINGS_CHANGED, time_zone=zone)
    put(start - 3_600_000, "agent.login", user_id="u1", username="u1", state="available")
    for number, at in enumerate(range(start - 600_000, end + 600_000, 600_000)):
        put(at, "queue.joined", unique_id=f"c{number}", queue_name="q")
        put(at + 7_000, "queue.left", unique_id=f"c{number}", queue_name="q", reason="answered")
    reading = Reading(state, end + 900_000)
    whole = reading.queue_between("q", *reading.day(date.fromisoformat(day)))
    assert whole["offered"] == whole["answered"] == hours * 6
    assert reading.agent_between("u1", start, end)["logged_in_seconds"] == hours * 3600
    for minutes in (15, 30, 60):
        parts = list(reading.zone.intervals(start, end, minutes))
        assert sum(reading.queue_between("q", *part)["offered"] for part in parts) == whole["offered"]
        labels = [reading.zone.label(begin) for begin, _ in parts]
        assert len(set(labels)) == len(labels) and all(label.startswith(day) for label in labels)
        assert [reading.interval(datetime.fromisoformat(label), minutes) for label in labels] == parts
