"""The queue of webhooks: order, retries, bounds, and what a handover keeps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from callcenter_ws.figures.plan import WebhookPlan
from callcenter_ws.statistics.checkpoint import Rows
from callcenter_ws.statistics.counters import WebhookCounters
from callcenter_ws.statistics.state import State
from callcenter_ws.testing import FakeClock
from callcenter_ws.webhooks.delivery import Outcome
from callcenter_ws.webhooks.queue import MAX_ITEMS, WebhookQueue

DONE = Outcome(True, True, "")
LATER = Outcome(False, False, "the answer has the status 500")
NOW = round(FakeClock().time() * 1000)
NEVER = Outcome(False, True, "the answer has the status 404")


def alert(seq: int, queue: str = "sales", kind: str = "queue.alert.raised", at: int = NOW) -> Any:
    payload = b'{"queue_name":"%b"}' % queue.encode()
    event = SimpleNamespace(type=SimpleNamespace(name=kind), payload=payload, event_id=f"alert-{seq}", received_ms=at)
    return SimpleNamespace(seq=seq, event=event, body=lambda view: b'{"seq":%d}' % seq)


class World:
    """A queue with a sender whose requests the test ends."""

    def __init__(self, *hooks: WebhookPlan, rows: Rows | None = None) -> None:
        self.hooks = list(hooks or (WebhookPlan("duty", "https://duty.example/?key=hidden", b"s"),))
        self.clock = FakeClock()
        self.requests: list[tuple[str, str, Deferred[Outcome]]] = []
        self.urls: list[str] = []
        self.counters = WebhookCounters()
        self.queue = WebhookQueue("acme", lambda: self.hooks, self._send, self.clock, self.counters)
        self.queue.load({key: value for key, value in (rows or {}).items() if value is not None})

    def _send(self, target: Any, event_id: str, body: bytes) -> Deferred[Outcome]:
        request: Deferred[Outcome] = Deferred(lambda one: one.callback(LATER))
        self.urls.append(target.url)
        self.requests.append((target.name, event_id, request))
        return request

    def end(self, outcome: Outcome, index: int = -1) -> None:
        self.requests[index][2].callback(outcome)
        self.clock.advance(0)

    @property
    def asked(self) -> list[str]:
        return [event_id for _, event_id, _ in self.requests]


def test_items_are_sent_in_order_one_at_a_time_and_only_by_the_holder() -> None:
    world = World()
    world.queue.apply(alert(1))
    world.queue.apply(alert(2))
    assert world.asked == []
    world.queue.start(1)
    assert world.asked == ["alert-1"]
    world.end(DONE)
    assert world.asked == ["alert-1", "alert-2"]
    assert [value is None for value in world.queue.take_changes().values()] == [True, False]
    world.end(DONE)
    assert list(world.queue.take_changes().values()) == [None]
    assert (world.counters.delivered, world.queue.take_changes()) == (2, {})


def test_a_hook_gets_what_it_wants() -> None:
    world = World(
        WebhookPlan("all", "", b""),
        WebhookPlan("sales", "", b"", queues=frozenset({"sales"})),
        WebhookPlan("settings", "", b"", events=("statistics.*",)),
    )
    world.queue.start(1)
    world.queue.apply(alert(1, "support"))
    world.queue.apply(alert(2, "sales", "queue.alert.cleared"))
    world.queue.apply(alert(3, "sales", "statistics.settings.changed"))
    world.queue.apply(alert(4, "sales", "queue.joined"))
    assert [(name, event_id) for name, event_id, _ in world.requests] == [
        ("all", "alert-1"),
        ("sales", "alert-2"),
        ("settings", "alert-3"),
    ]


def test_retries_wait_longer_each_time_up_to_15_minutes_and_keep_the_order() -> None:
    world = World()
    world.queue.start(1)
    world.queue.apply(alert(1))
    world.queue.apply(alert(2))
    for longest in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900):
        count = len(world.requests)
        world.end(LATER)
        world.clock.advance(longest * 0.74)
        assert len(world.requests) == count
        world.clock.advance(longest * 0.27)
        assert len(world.requests) == count + 1
    assert set(world.asked) == {"alert-1"}
    world.end(DONE)
    assert world.asked[-1] == "alert-2"


def test_what_cannot_succeed_and_what_is_a_day_old_is_dropped_and_logged() -> None:
    world = World()
    world.queue.start(1)
    with capturedLogs() as logs:
        world.queue.apply(alert(1, at=NOW - 86_399_500))
        world.queue.apply(alert(2, at=NOW - 86_399_500))
        world.queue.apply(alert(3, at=NOW - 86_399_500))
        world.end(NEVER)
        assert world.asked == ["alert-1", "alert-2"]
        world.end(LATER)
        world.clock.advance(1)
    assert world.asked == ["alert-1", "alert-2"]
    assert (world.counters.dropped, world.counters.failed) == (3, 2)
    assert [event["reason"] for event in logs if event["log_format"].startswith("gave up")] == [
        "the answer has the status 404",
        "it is older than 24 hours",
        "it is older than 24 hours",
    ]
    assert "hidden" not in str(logs)
    assert set(world.queue.take_changes().values()) == {None}


def test_the_first_failure_and_its_end_are_logged() -> None:
    world = World()
    world.queue.start(1)
    with capturedLogs() as logs:
        for seq, outcomes in enumerate([(LATER, LATER, DONE), (NEVER,), (DONE,)]):
            world.queue.apply(alert(seq))
            for outcome in outcomes:
                world.end(outcome)
                world.clock.advance(3)
    assert [event["log_format"].partition("tenant {tenant} ")[2] for event in logs] == [
        "failed: {reason}; it is tried again for 24 hours",
        "works again",
        "refuses a message: {reason}",
        "for the webhook {hook}: {reason}",
        "works again",
    ]


def test_at_most_1000_items_wait_and_the_oldest_go_first() -> None:
    world = World()
    for seq in range(1, MAX_ITEMS + 3):
        world.queue.apply(alert(seq))
    world.queue.start(1)
    assert (world.asked, world.counters.dropped) == (["alert-3"], 2)


def test_many_items_that_are_given_up_have_few_lines() -> None:
    world = World()
    world.queue.start(1)
    with capturedLogs() as logs:
        for seq in range(50):
            world.queue.apply(alert(seq))
            world.end(NEVER)
        world.clock.advance(61)
        world.queue.apply(alert(50))
        world.end(NEVER)
    lines = [one["log_format"] for one in logs if one["log_format"].startswith("gave up")]
    assert [line.split()[2] for line in lines] == [*["event"] * 21, "{count}"]
    assert [one["count"] for one in logs if "count" in one] == [30]
    assert world.counters.dropped == 51


def test_a_handover_keeps_what_was_not_delivered_in_its_order() -> None:
    world, rows = World(), {}
    world.queue.start(1)
    for seq in (9, 10, 11):
        world.queue.apply(alert(seq))
    world.end(DONE)
    rows = world.queue.take_changes()
    world.queue.stop()
    assert world.queue.take_changes() == {}
    other = World(rows=rows)
    other.queue.start(2)
    other.end(DONE)
    other.end(DONE)
    assert other.asked == ["alert-10", "alert-11"]


@pytest.mark.parametrize("is_waiting", [False, True])
def test_nothing_is_sent_after_the_stop_and_it_can_start_again(is_waiting: bool) -> None:
    world = World()
    world.queue.start(1)
    world.queue.apply(alert(1))
    if is_waiting:
        world.end(LATER)
    world.queue.stop()
    world.clock.advance(1_000)
    assert world.asked == ["alert-1"]
    world.queue.start(2)
    assert world.asked == ["alert-1", "alert-1"]


def test_items_of_a_receiver_that_the_settings_no_longer_have_are_dropped() -> None:
    world = World()
    world.queue.start(1)
    world.queue.apply(alert(1))
    world.queue.apply(alert(2))
    world.hooks.clear()
    world.queue.second(State(), 1_000)
    assert world.counters.dropped == 2
    assert set(world.queue.take_changes().values()) == {None}


def test_a_reload_changes_where_the_next_request_goes() -> None:
    world = World(WebhookPlan("duty", "https://old.example/", b"s"))
    world.queue.start(1)
    world.queue.apply(alert(1))
    world.hooks[0] = WebhookPlan("duty", "https://new.example/", b"s")
    world.end(LATER)
    world.clock.advance(1)
    world.end(DONE)
    assert (world.asked, world.urls) == (["alert-1", "alert-1"], ["https://old.example/", "https://new.example/"])


def test_a_receiver_that_was_removed_is_sent_nothing_more_and_may_come_back() -> None:
    world = World()
    hook = world.hooks[0]
    world.queue.start(1)
    world.queue.apply(alert(1))
    world.hooks.clear()
    world.end(LATER)
    world.clock.advance(1)
    world.queue.apply(alert(2))
    world.queue.second(State(), 1_000)
    world.hooks.append(hook)
    world.queue.apply(alert(3))
    assert world.asked == ["alert-1", "alert-3"]


def test_the_waiting_items_of_a_process_are_those_of_the_tenants_that_it_holds() -> None:
    world = World()
    waiting = []
    for step in (
        lambda: world.queue.apply(alert(1)),
        lambda: world.queue.start(1),
        lambda: world.queue.apply(alert(2)),
        lambda: world.end(DONE),
        world.queue.stop,
        lambda: world.queue.start(2),
        lambda: world.end(NEVER),
    ):
        step()
        waiting.append(world.counters.waiting)
    assert waiting == [0, 1, 2, 1, 0, 1, 0]
