"""FewAtATime: little long work is under way at the same time, and keys take turns; views of large snapshots."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sample_events import ACME
from twisted.internet.defer import Deferred
from world import World

from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import Position
from callcenter_ws.runtime import few_at_a_time
from callcenter_ws.runtime.few_at_a_time import MAX_RUNNING, FewAtATime
from callcenter_ws.runtime.slicer import Slicer
from callcenter_ws.testing import FakeClock

STEPS = 5


class Views:
    """Views whose preparation takes some steps, and how far each is."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.preparation = FewAtATime(Slicer(self.clock), "views")
        self.begun: list[str] = []
        self.prepared: list[str] = []
        self.most = 0

    def add(self, tenant_id: str, name: str, *, fails: bool = False) -> Deferred[None]:
        result = self.preparation.run(tenant_id, self._steps(name, fails))
        assert isinstance(result, Deferred)
        return result

    def _steps(self, name: str, fails: bool) -> Iterator[None]:
        self.begun.append(name)
        for _ in range(STEPS):
            self.most = max(self.most, len(self.begun) - len(self.prepared))
            yield
        self.prepared.append(name)
        if fails:
            raise ValueError(name)


def test_few_are_prepared_at_the_same_time_and_all_at_last() -> None:
    views = Views()
    results = [views.add(ACME, str(number)) for number in range(50)]
    assert (views.preparation.running, len(views.preparation)) == (MAX_RUNNING, 50 - MAX_RUNNING)
    views.clock.turn()
    assert views.prepared == [str(number) for number in range(50)]
    assert all(result.called for result in results)
    assert views.most == MAX_RUNNING
    assert (views.preparation.running, len(views.preparation)) == (0, 0)


def test_a_tenant_does_not_wait_for_all_views_of_another() -> None:
    views = Views()
    for number in range(50):
        views.add("busy", str(number))
    views.add(ACME, "mine")
    views.clock.turn()
    assert views.begun.index("mine") <= MAX_RUNNING + 1
    assert len(views.prepared) == 51


def test_a_view_that_fails_makes_room_for_the_next() -> None:
    views = Views()
    results = [views.add(ACME, str(number), fails=number % 2 == 0) for number in range(20)]
    failed = []
    for result in results:
        result.addErrback(lambda failure: failed.append(str(failure.value)))
    views.clock.turn()
    assert sorted(failed, key=int) == [str(number) for number in range(0, 20, 2)]
    assert (views.preparation.running, len(views.preparation)) == (0, 0)


@pytest.mark.parametrize("limit", ["MAX_WAITING", "MAX_WAITING_OF_KEY"])
def test_a_limited_number_may_wait(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(few_at_a_time, limit, 3)
    views = Views()
    for number in range(MAX_RUNNING + 3):
        views.preparation.check_room(ACME)
        views.add(ACME, str(number))
    with pytest.raises(Refusal) as raised:
        views.preparation.check_room(ACME)
    assert (raised.value.code, raised.value.retry_after) == (ErrorCode.UNAVAILABLE, 1.0)
    views.preparation.check_room("another")
    views.clock.turn()
    views.preparation.check_room(ACME)


def test_a_few_tenants_that_fill_the_queue_leave_no_other_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_at_a_time, "MAX_WAITING", 12)
    views = Views()
    for number in range(MAX_RUNNING + 12):
        views.add(f"busy{number % 3}", str(number))
    # A quarter of the queue.
    for number in range(3):
        views.preparation.check_room(ACME)
        views.add(ACME, f"mine{number}")
    for tenant_id in (ACME, "busy0"):
        with pytest.raises(Refusal):
            views.preparation.check_room(tenant_id)


# Clients


def world_with_calls(calls: int = 1_200, queues: int = 40) -> World:
    world = World()
    for number in range(calls):
        queue = f"q{number % queues}"
        world.publish(
            "call.incoming", {"unique_id": f"c{number}", "caller_id": "5", "destination": "1", "queue_name": queue}
        )
    return world


def test_clients_with_different_views_are_all_sent_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_at_a_time, "MAX_WAITING_OF_KEY", 5)
    world = world_with_calls()
    preparation = world.hub._view_preparation
    peers = [world.connect(options=ConnectOptions(snapshot=True, queues=[f"q{number}"])) for number in range(40)]
    most_running, most_waiting = 0, 0
    for _ in range(40):
        while world.clock.step():
            most_running = max(most_running, preparation.running)
            most_waiting = max(most_waiting, len(preparation))
        # Those for which there was no room try again.
        world.clock.advance(1)
    assert 0 < most_running <= MAX_RUNNING
    # Of those that begin in one turn, some may still pass.
    assert 0 < most_waiting < 40
    for number, peer in enumerate(peers):
        welcome, snapshot = (message for message in peer.read() if message["type"] in ("welcome", "snapshot"))
        assert welcome["type"] == "welcome"
        queues = [event["payload"]["queue_name"] for event in snapshot["payload"]["events"]]
        assert queues == [f"q{number}"] * 30


def test_a_reset_for_which_there_is_no_room_follows_later(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.publish_alerts(3)
    peer = world.live()
    monkeypatch.setattr(few_at_a_time, "MAX_WAITING_OF_KEY", 0)
    world.broker._epoch = "another"
    world.broker._tenants.clear()
    world.hub.interrupted(ACME, Position("another", 0))
    assert peer.read() == []
    monkeypatch.undo()
    world.clock.advance(1)
    reset, snapshot = peer.read()
    assert reset["payload"] == {"reason": "epoch_changed", "epoch": "another", "seq": 0}
    assert snapshot["type"] == "snapshot"
