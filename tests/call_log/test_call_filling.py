"""Filling the calls of today from the stream: the day, what arrives meanwhile, what is gone, restarts, and bounds."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from call_log_world import MORNING, CallWorld
from doubles import SteppingClock
from http_world import MINE, OTHER
from twisted.internet.defer import Deferred

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.call_log import day as day_module
from callcenter_ws.call_log import filling, service
from callcenter_ws.call_log.counters import CallLogCounters
from callcenter_ws.call_log.day import Call, CallDay
from callcenter_ws.call_log.query import CallFilter, _Search, find
from callcenter_ws.call_log.record import CallRecord
from callcenter_ws.call_log.service import CallLog
from callcenter_ws.call_log.slices import Slices
from callcenter_ws.call_log.step import Facts, Step, memory_of
from callcenter_ws.call_log.visible import Viewer
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import HistoryPage, Position
from callcenter_ws.testing import run

HOUR = 3_600.0
BOSS = Viewer(Principal(MINE, "boss", Role.SUPERVISOR), "all")


@pytest.fixture
def world() -> CallWorld:
    return CallWorld()


# The day


def test_the_day_begins_at_the_midnight_of_the_tenant(world: CallWorld) -> None:
    world.zone = "Asia/Tokyo"  # 17:00 there
    response = world.calls().json
    assert (response["from"], response["incomplete_since"]) == ("2027-01-15T00:00:00+09:00", None)


def test_an_unknown_zone_is_taken_as_utc(world: CallWorld) -> None:
    world.zone = "Mars/Olympus"
    assert world.calls().json["from"] == "2027-01-15T00:00:00+00:00"


def test_only_calls_that_had_not_ended_when_the_day_began(world: CallWorld) -> None:
    world.clock.advance(14 * HOUR)  # 22:00
    world.answered_call("yesterday", "1")
    world.publish("call.incoming", "over-midnight", caller_id="1", destination="100")
    world.clock.advance(3 * HOUR)
    world.publish("call.disposition", "yesterday", code="sale")
    world.publish("call.ended", "over-midnight", duration=11_000)
    world.answered_call("today", "1")
    assert world.ids() == ["today", "over-midnight"]
    assert world.calls().json["from"] == "2027-01-16T00:00:00+00:00"
    assert world.earlier("today").json["today"] == 1
    assert world.earlier("yesterday").error == "not_found"


def test_a_new_day_begins_for_an_index_that_is_in_use(world: CallWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "IDLE_SECONDS", 86_400.0)
    world.answered_call("yesterday", "1")
    assert world.ids() == ["yesterday"]
    world.clock.advance(15 * HOUR)
    world.publish("call.incoming", "over-midnight", caller_id="1", destination="100")
    assert world.ids() == ["over-midnight", "yesterday"]
    world.clock.advance(2 * HOUR)
    world.publish("call.answered", "over-midnight", agent_id="7")
    before = world.calls().json
    assert [call["call_id"] for call in before["calls"]] == ["over-midnight"]
    assert world.call_log.counters.dropped["new_day"] == 1
    world.restart()
    assert world.calls().json == before


def test_a_change_of_the_zone_is_a_new_day(world: CallWorld) -> None:
    world.answered_call("c1")
    assert world.ids() == ["c1"]
    world.zone = "Pacific/Auckland"  # 21:00 there
    assert world.calls().json["from"] == "2027-01-15T00:00:00+13:00"
    world.zone = "America/New_York"
    assert world.calls().json["from"] == "2027-01-15T00:00:00-05:00"
    assert world.ids() == ["c1"]


@pytest.mark.parametrize("days", [1, 2, 9])
def test_the_beginning_is_found_in_a_long_history(days: int) -> None:
    world = CallWorld()
    world.broker._history_seconds = 30 * 86_400
    for day in range(days):
        for number in range(40):
            world.answered_call(f"{day}-{number}")
            world.clock.advance(600)
        world.clock.advance(86_400 - 40 * 606)
    world.answered_call("today")
    assert world.ids() == ["today"]
    counters = world.call_log.counters
    # Halving reads a few events; those of the earlier days are not read.
    assert (counters.read, world.calls().json["incomplete_since"]) == (6, None)


# What is gone


def test_a_history_that_does_not_reach_back_to_the_start_of_the_day() -> None:
    world = CallWorld(history_events=12)
    for number in range(10):
        world.answered_call(f"c{number}")
    response = world.calls().json
    assert [call["call_id"] for call in response["calls"]] == ["c9", "c8"]
    assert response["incomplete_since"] == "2027-01-15T08:00:48.000Z"


def test_a_history_that_is_gone_by_age_alone() -> None:
    world = CallWorld()
    world.answered_call("c1")
    world.clock.advance(3 * 86_400)
    world.publish("alert", "x", title="t", message="m")
    response = world.calls().json
    assert (response["calls"], response["incomplete_since"]) == ([], "2027-01-18T08:00:06.000Z")
    world.clock.advance(2 * 86_400)
    # Nothing that is left is of today, and what is gone is older than a day.
    response = world.calls().json
    assert (response["calls"], response["incomplete_since"]) == ([], None)


def test_what_was_trimmed_between_two_requests_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_FOLLOWED", 0)
    world = CallWorld(history_events=12)
    world.answered_call("c1")
    assert world.ids() == ["c1"]
    for number in range(2, 10):
        world.answered_call(f"c{number}")
    response = world.calls().json
    assert [call["call_id"] for call in response["calls"]] == ["c9", "c8", "c1"]
    assert response["incomplete_since"] is not None


def test_what_is_followed_outlives_the_history() -> None:
    world = CallWorld(history_events=12)
    assert world.ids() == []
    for number in range(10):
        world.answered_call(f"c{number}")
    response = world.calls().json
    assert (len(response["calls"]), response["incomplete_since"]) == (10, None)
    assert world.call_log.counters.followed == 60


def test_another_history_is_read_from_its_beginning(world: CallWorld) -> None:
    world.answered_call("c1")
    world.answered_call("c2")
    assert world.ids() == ["c2", "c1"]
    # The store has lost its history; positions begin again.
    empty = MemoryBroker(world.clock)
    run(empty.start(lambda publications: world.call_log.delivered(publications)))
    world.broker.__dict__.update(empty.__dict__)
    world.call_log.interrupted(MINE, Position("other", 0))
    for number in range(12):
        world.publish("call.incoming", f"d{number}", caller_id="1", destination="2")
    assert world.ids() == [f"d{number}" for number in reversed(range(12))]
    assert world.call_log.counters.dropped["new_epoch"] == 1


# What arrives meanwhile


class MeasuredClock(SteppingClock):
    """A SteppingClock on which each look at the monotonic clock takes a millisecond."""

    def monotonic(self) -> float:
        self._now += 0.001
        return self._now


def answers_of(clock: SteppingClock, log: CallLog, meanwhile: Any = None) -> tuple[list[dict[str, Any]], int]:
    """Fill an index and return its calls, and how many turns that took; ``meanwhile`` is called in each."""
    days: list[CallDay] = []
    Deferred.fromCoroutine(log.day(MINE)).addCallback(days.append)
    turns = 0
    while not days:
        turns += 1
        if meanwhile is not None:
            meanwhile()
        assert clock.step()
    return calls_of(clock, days[0]), turns


def calls_of(clock: SteppingClock, day: CallDay) -> list[dict[str, Any]]:
    found: list[Any] = []
    Deferred.fromCoroutine(find(day, BOSS, CallFilter(), 1_000_000, Slices(clock))).addCallback(found.append)
    while not found:
        assert clock.step()
    return [json.loads(bytes(call)) for call in found[0][0]]


STEP = Step(CATALOGUE["call.hold"], Facts(), 1, 1, None, ())
STEPS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("call.incoming", {"caller_id": "1", "destination": "100"}),
    ("queue.joined", {"queue_name": "sales"}),
    ("call.ringing", {"agent_id": "7"}),
    ("call.answered", {"agent_id": "7"}),
    ("call.hold", {}),
    ("call.unhold", {}),
    ("call.transferred", {"destination": "8"}),
    ("call.ended", {"duration": 5}),
)


@pytest.mark.parametrize("seed", range(12))
def test_events_during_the_filling_are_neither_lost_nor_doubled(seed: int) -> None:
    """Each index that is filled while events arrive, and follows them, ends with what a later one reads."""
    chance = random.Random(seed)
    clock = MeasuredClock(MORNING)
    broker = MemoryBroker(clock, memory_events=1_000_000)
    log = CallLog(broker, clock, lambda tenant_id: "UTC", history_seconds=86_400)
    run(broker.start(log.delivered))
    broadcaster = EventBroadcaster(broker, clock)
    progress: dict[str, int] = {}

    def publish(number: int) -> None:
        drafts = []
        for _ in range(number):
            call_id = f"c{chance.randrange(200)}-{len(progress) // 200}"
            step = progress.get(call_id, 0)
            progress[call_id] = step + 1
            type_, fields = STEPS[min(step, len(STEPS) - 1)]
            drafts.append({"tenant_id": MINE, "type": type_, "payload": {"unique_id": call_id, **fields}})
        run(broadcaster.publish_batch(drafts))

    publish(2_000)
    left = iter(range(chance.randrange(5, 40)))
    answers_of(clock, log, lambda: publish(chance.choice((0, 1, 3, 300))) if next(left, None) is not None else None)
    for _ in range(10):
        publish(chance.choice((1, 2, 400)))
        if chance.random() < 0.3:
            answers_of(clock, log)
    followed, _ = answers_of(clock, log)
    fresh, _ = answers_of(clock, CallLog(broker, clock, lambda tenant_id: "UTC", history_seconds=86_400))
    assert followed == fresh
    assert len(followed) == len(progress)


def test_no_turn_works_long() -> None:
    """A turn reads one page, and stops at the first look at the clock after its time."""
    clock = MeasuredClock(MORNING)
    broker = MemoryBroker(clock, memory_events=1_000_000)
    run(broker.start(lambda publications: None))
    drafts = [
        {"tenant_id": MINE, "type": type_, "payload": {"unique_id": f"c{number}", **fields}}
        for number in range(1_000)
        for type_, fields in STEPS
    ]
    for begin in range(0, len(drafts), 1_000):
        run(EventBroadcaster(broker, clock).publish_batch(drafts[begin : begin + 1_000]))
    log = CallLog(broker, clock, lambda tenant_id: "UTC", history_seconds=86_400)
    applied = [0]
    longest = [0]

    def turn() -> None:
        longest[0] = max(longest[0], log.counters.read - applied[0])
        applied[0] = log.counters.read

    calls, turns = answers_of(clock, log, turn)
    assert len(calls) == 1_000
    # Each look takes 1 ms on this clock, and the time of a turn is 5 ms.
    assert 0 < longest[0] <= filling.PAGE
    assert turns >= len(drafts) / filling.PAGE
    day = run_steps(clock, log)
    before = len(clock._due)
    found: list[Any] = []
    Deferred.fromCoroutine(find(day, BOSS, CallFilter(search="nothing"), 50, Slices(clock))).addCallback(found.append)
    searching = 0
    while not found:
        searching += 1
        assert clock.step()
    assert found == [([], False)]
    assert searching >= 3
    assert len(clock._due) == before


def test_searches_at_the_same_time_share_each_turn() -> None:
    clock = MeasuredClock(MORNING)
    slices, day = Slices(clock), CallDay(MINE, "e", 0, 2**53, "", 0, CallLogCounters())
    days = [day] * 20
    for number in range(1_000):
        day.calls[f"c{number}"] = call = Call(number, CallRecord(f"c{number}", 1))
        day._order.append(call)
    found: list[Any] = []
    for one in days:
        search = find(one, BOSS, CallFilter(search="nothing"), 50, slices)
        Deferred.fromCoroutine(search).addCallback(found.append)
    before = clock.monotonic()
    while len(found) < len(days):
        assert clock.step()
        now = clock.monotonic()
        assert now - before < 0.01
        before = now


def test_a_step_of_a_search_looks_at_few_calls_with_many_events() -> None:
    own = Viewer(Principal(MINE, "7", Role.AGENT), "own")
    for viewer, steps_at_least in ((BOSS, 0), (own, 50)):
        day = CallDay(MINE, "e", 0, 2**53, "", 0, CallLogCounters())
        day._order.extend(Call(number, CallRecord("c", 1), steps=(STEP,) * 100) for number in range(100))
        assert sum(1 for _ in _Search(day, viewer, CallFilter(search="x"), 50).steps()) >= steps_at_least


def test_a_step_compares_few_names() -> None:
    day = CallDay(MINE, "e", 0, 2**53, "", 0, CallLogCounters())
    day.names = {str(number): "Ada" for number in range(20_000)}
    assert sum(1 for _ in _Search(day, BOSS, CallFilter(search="x"), 50).steps()) >= 50
    assert sum(1 for _ in _Search(day, BOSS, CallFilter(), 50).steps()) == 0


def run_steps(clock: SteppingClock, log: CallLog) -> CallDay:
    days: list[CallDay] = []
    Deferred.fromCoroutine(log.day(MINE)).addCallback(days.append)
    while not days:
        assert clock.step()
    return days[0]


def test_a_request_that_waits_too_long_is_refused_and_the_next_goes_on(
    world: CallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        world.answered_call(f"c{number}")
    monkeypatch.setattr(service, "MAX_SECONDS", -1.0)
    refused = world.calls()
    assert (refused.status, refused.error, refused.headers["retry-after"]) == (503, "try_later", "2")
    monkeypatch.setattr(service, "MAX_SECONDS", 15.0)
    assert len(world.ids(limit=200)) == 100


def test_a_request_sees_what_was_published_before_it_also_without_deliveries(
    world: CallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_FOLLOWED", 0)
    for number in range(3):
        world.answered_call(f"c{number}")
        response = world.calls().json
        assert (len(response["calls"]), response["as_of_seq"]) == (number + 1, 6 * (number + 1))
    assert world.call_log.counters.followed == 0


def test_a_restarted_process_answers_the_same(world: CallWorld) -> None:
    world.ids()
    for number in range(20):
        world.answered_call(f"c{number}", caller_id=str(number % 3), agent=str(number % 2))
    world.publish("call.disposition", "c7", code="sale")
    before, earlier = world.calls().json, world.earlier("c19").json
    assert earlier["today"] == 6
    world.restart()
    assert (world.calls().json, world.earlier("c19").json) == (before, earlier)


# Bounds


@pytest.mark.parametrize("many", [1, 100])
def test_the_oldest_calls_of_a_tenant_with_too_many_are_forgotten(
    world: CallWorld, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(day_module, "MAX_CALLS", 3)
    monkeypatch.setattr(day_module, "MANY_CALLS", many)
    for number in range(5):
        world.answered_call(f"c{number}", caller_id="1")
    response = world.calls().json
    assert [call["call_id"] for call in response["calls"]] == ["c4", "c3", "c2"]
    assert response["incomplete_since"] == response["calls"][-1]["started_at"]
    assert world.earlier("c4").json["today"] == 2
    assert (world.call_log.counters.calls, world.call_log.counters.forgotten) == (3, 2)
    for number in range(5, 9):
        world.answered_call(f"c{number}", caller_id=str(number))
    (day,) = world.call_log._days.values()
    assert set(day.by_caller) == {"6", "7", "8"}


def test_the_oldest_calls_are_forgotten_if_they_take_too_much_memory(
    world: CallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(day_module, "MAX_BYTES", 100_000)
    assert world.ids() == []
    for number in range(20):
        world.publish("call.incoming", f"c{number}", caller_id="1", destination="2")
        for name in range(30):
            world.publish("call.hold", f"c{number}", caller_name=f"{name}" * 100, ended_by="x" * 5_000)
    (day,) = world.call_log._days.values()
    assert day.memory == sum(memory_of(step) for call in day.calls.values() for step in call.steps) <= 100_000
    assert world.call_log.counters.memory == day.memory
    response = world.calls().json
    assert 1 < len(response["calls"]) < 20
    assert response["incomplete_since"] == response["calls"][-1]["started_at"]
    world.clock.advance(2 * service.IDLE_SECONDS)
    assert world.call_log.counters.memory == 0


def test_texts_of_events_that_have_no_meaning_are_not_kept(world: CallWorld) -> None:
    assert world.ids() == []
    long = "2027-01-15T08:00:00." + "0" * 5_000 + "Z"
    world.publish("call.incoming", "c1", caller_id="1", destination="2", started_at=long)
    world.publish("call.ended", "c1", duration=1, ended_by="x" * 5_000)
    (day,) = world.call_log._days.values()
    assert max(len(repr(step.facts)) for step in day.calls["c1"].steps) < 500


def test_calls_of_tenants_about_which_no_one_asks_are_dropped(world: CallWorld) -> None:
    world.answered_call("c1")
    assert world.ids() == ["c1"]
    counters = world.call_log.counters
    world.clock.advance(service.IDLE_SECONDS - 100)
    assert (counters.tenants, counters.calls) == (1, 1)
    world.clock.advance(200)
    assert (counters.tenants, counters.calls, counters.dropped["idle"]) == (0, 0, 1)
    assert world.ids() == ["c1"]


def test_with_too_many_calls_in_all_the_tenant_asked_about_the_least_recently_is_dropped(
    world: CallWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_CALLS_IN_ALL", 3)
    counters = world.call_log.counters
    for tenant in (MINE, OTHER):
        for number in range(2):
            world.publish("call.incoming", f"c{number}", tenant_id=tenant, caller_id="1", destination="2")
        assert len(world.ids(f"supervisor:{tenant}:boss")) == 2
    assert (counters.tenants, counters.calls, counters.dropped["memory"]) == (1, 2, 1)
    assert len(world.ids()) == 2
    monkeypatch.setattr(service, "MAX_CALLS_IN_ALL", 30)
    monkeypatch.setattr(service, "MAX_BYTES_IN_ALL", counters.memory + 1)
    assert len(world.ids(f"supervisor:{OTHER}:boss")) == 2
    assert (counters.tenants, counters.calls, counters.dropped["memory"]) == (1, 2, 3)


def test_the_calls_of_many_tenants_are_in_memory_at_most(world: CallWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_TENANTS", 3)
    for number in range(5):
        assert world.ids("service:*:poller", tenant_id=f"t{number}") == []
    assert set(world.call_log._days) == {"t2", "t3", "t4"}


def test_no_timer_is_left_when_the_process_ends(world: CallWorld) -> None:
    world.ids()
    world.call_log.stop()
    assert [
        entry[2] for entry in world.clock._due if not entry[2].cancelled and entry[2].call == world.call_log._sweep
    ] == []


def test_an_event_that_cannot_be_decoded_is_counted(world: CallWorld) -> None:
    world.answered_call("c1")
    history = world.broker._tenants[MINE].stream.history
    next(iter(history._ring)).event.payload = b'{"caller_id": []}'
    assert world.ids() == ["c1"]
    assert world.call_log.counters.unreadable == 1


def test_many_deliveries_at_once_are_left_to_the_next_request(world: CallWorld) -> None:
    world.ids()
    drafts: Sequence[dict[str, Any]] = [
        {
            "tenant_id": MINE,
            "type": "call.incoming",
            "payload": {"unique_id": str(n), "caller_id": "1", "destination": "2"},
        }
        for n in range(service.MAX_FOLLOWED + 1)
    ]
    run(world.broadcaster.publish_batch(drafts))
    assert (world.call_log.counters.followed, world.call_log.counters.read) == (0, 0)
    assert len(world.ids(limit=200)) == 200


class BehindBroker:
    """A store whose deliveries are ahead of what can be read of it."""

    def __init__(self) -> None:
        self.head = 0

    async def position(self, tenant_id: str) -> Position:
        self.head += 1
        return Position("e", self.head)

    async def read(self, tenant_id: str, after: int, limit: int) -> HistoryPage:
        publications: Sequence[Publication] = ()
        return HistoryPage("e", publications, True, self.head)


def test_a_log_that_cannot_be_read_yet(world: CallWorld) -> None:
    world.call_log = world.resource._call_log = CallLog(
        BehindBroker(),  # type: ignore[arg-type]  # the part of a broker that is used
        world.clock,
        lambda tenant_id: "UTC",
        history_seconds=86_400,
    )
    assert world.ids() == []
    assert world.calls().error == "unavailable"


class InterruptedBroker(MemoryBroker):
    """A store that loses its history while a request asks for the position."""

    log: CallLog
    is_lost = False

    async def position(self, tenant_id: str, known: Position | None = None) -> Position:
        position = await super().position(tenant_id)
        if self.is_lost:
            self.log.interrupted(tenant_id, Position("other", 0))
        return position


def test_an_interruption_during_a_request_is_looked_at_by_the_next(world: CallWorld) -> None:
    broker = InterruptedBroker(world.clock)
    broker.log = log = CallLog(broker, world.clock, lambda tenant_id: "UTC", history_seconds=86_400)
    run(broker.start(log.delivered))
    run(log.day(MINE))
    broker.is_lost = True
    day = run(log.day(MINE))
    payload = {"unique_id": "c1", "agent_id": "7"}
    run(EventBroadcaster(broker, world.clock).publish(MINE, "call.answered", payload))
    assert (day.seq, day.must_check) == (0, True)
    broker.is_lost = False
    assert Deferred.fromCoroutine(log.day(MINE)).called is False
    world.clock.turn()
    assert (day.seq, day.must_check) == (1, False)
