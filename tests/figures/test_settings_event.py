"""When ``statistics.settings.changed`` is published, over the memory store."""

from __future__ import annotations

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Event
from callcenter_ws.events.publication import Publication
from callcenter_ws.figures.plan import TenantPlan
from callcenter_ws.figures.publishing import publishing_to
from callcenter_ws.figures.settings_event import SettingsEvent
from callcenter_ws.statistics.fold import apply_publication
from callcenter_ws.statistics.settings import MAX_OVERRIDES, Settings, SettingsTable
from callcenter_ws.statistics.state import State
from callcenter_ws.testing import FakeClock, run

PLAN = TenantPlan(SettingsTable(Settings("Europe/Lisbon"), {"vip": Settings("Europe/Lisbon", 10_000)}))


class World:
    """A part over a list of published events, which ``fold`` applies to the state."""

    def __init__(self, plan: TenantPlan = PLAN) -> None:
        self.published: list[Event] = []
        self.refusal: Refusal | None = None
        self.waits: Deferred[None] | None = None
        self.state = State()
        self.part = SettingsEvent("acme", plan, self.publish, now=lambda: 7.0)

    async def publish(self, event: Event) -> None:
        if self.waits is not None:
            await self.waits
        if self.refusal is not None:
            raise self.refusal
        self.published.append(event)

    def fold(self) -> None:
        self.state.seq += 1
        apply_publication(self.state, Publication(self.published[-1], self.state.seq), 1_000)


def test_publishes_once_until_the_fold_has_the_settings_of_the_plan() -> None:
    world = World()
    world.part.second(world.state, 1_000)
    assert not world.published, "not started"
    world.part.start(3)
    (event,) = world.published
    assert event.condition is not None and event.condition.fence == 3
    assert event.timestamp == "1970-01-01T00:00:07.000Z"
    world.state.seq = 5
    world.part.second(world.state, 2_000)
    assert {event.event_id for event in world.published} == {event.event_id}, "a repetition has the same id"
    world.fold()
    assert world.state.settings == PLAN.settings
    count = len(world.published)
    world.part.second(world.state, 3_000)
    assert len(world.published) == count


def test_a_change_of_the_plan_and_back_makes_other_ids() -> None:
    world = World()
    world.part.start(1)
    for plan in (PLAN, TenantPlan(), PLAN):
        world.part.change(plan)
        world.part.second(world.state, 1_000)
        world.fold()
        assert world.state.settings == plan.settings
    assert len({event.event_id for event in world.published}) == 3


def test_more_overrides_than_the_fold_keeps_are_not_published_for_ever() -> None:
    queues = {f"q{number}": Settings("UTC", 1_000) for number in range(MAX_OVERRIDES + 5)}
    world = World(TenantPlan(SettingsTable(Settings(), queues)))
    world.part.start(1)
    world.part.second(world.state, 1_000)
    world.fold()
    world.part.second(world.state, 2_000)
    assert len(world.published) == 1


def test_a_failure_is_logged_once_and_tried_again_and_stop_waits_for_what_is_in_flight() -> None:
    world = World()
    world.part.start(1)
    world.refusal = Refusal(ErrorCode.UNAVAILABLE, "no store")
    with capturedLogs() as logs:
        world.part.second(world.state, 1_000)
        world.part.second(world.state, 2_000)
    assert len(logs) == 1
    world.refusal, world.waits = None, Deferred()
    world.part.second(world.state, 3_000)
    world.part.second(world.state, 4_000)
    stopped = world.part.stop()
    assert isinstance(stopped, Deferred) and not stopped.called
    world.waits.callback(None)
    assert stopped.called and len(world.published) == 1
    world.part.second(world.state, 5_000)
    assert len(world.published) == 1, "stopped"


def test_the_store_takes_the_event() -> None:
    delivered: list[Publication] = []
    broker = MemoryBroker(FakeClock())
    run(broker.start(delivered.extend))
    part = SettingsEvent("acme", PLAN, publishing_to(broker))
    part.second(State(), 1_000)
    part.start(1)
    (publication,) = delivered
    assert publication.event.type.name == "statistics.settings.changed"
    assert msgspec.json.decode(publication.event.payload)["time_zone"] == "Europe/Lisbon"
