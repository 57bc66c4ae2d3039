"""CoarseTimers and ReactorClock."""

from __future__ import annotations

import gc
import weakref

import pytest
from twisted.internet.task import Clock

from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.timers import MAX_CALLS_PER_TURN, CoarseTimers


class Owner:
    def __init__(self) -> None:
        self.called = 0

    def call(self, amount: int = 1) -> None:
        self.called += amount


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.advance(1_000.3)
    return clock


@pytest.mark.parametrize("delay", [3.0, 5.2, 5.5, 54.0])
def test_a_call_is_made_within_half_a_second_of_its_time(clock: Clock, delay: float) -> None:
    owner = Owner()
    CoarseTimers(clock).call_later(delay, owner.call, 7)
    clock.advance(delay - 0.51)
    assert owner.called == 0
    clock.advance(1.02)
    assert owner.called == 7
    clock.advance(100)
    assert owner.called == 7


def test_all_of_one_second_share_one_call_of_the_reactor(clock: Clock) -> None:
    timers, owner = CoarseTimers(clock), Owner()
    called_so_far: list[int] = []
    timers.call_later(10, lambda: clock.callLater(0, lambda: called_so_far.append(owner.called)))
    for _ in range(3 * MAX_CALLS_PER_TURN - 1):
        timers.call_later(10, owner.call)
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(10.5)
    assert called_so_far == [MAX_CALLS_PER_TURN - 1], "other calls run in between"
    assert owner.called == 3 * MAX_CALLS_PER_TURN - 1


def test_a_cancelled_call_is_not_made_and_releases_its_owner(clock: Clock) -> None:
    timers, owner = CoarseTimers(clock), Owner()
    reference = weakref.ref(owner)
    timer = timers.call_later(10, owner.call)
    timer.cancel()
    timer.cancel()
    del timer, owner
    gc.collect()
    assert reference() is None
    clock.advance(20)


def test_a_call_may_cancel_another_of_the_same_second(clock: Clock) -> None:
    timers, owner = CoarseTimers(clock), Owner()
    later = []
    timers.call_later(10, lambda: later[0].cancel())
    later.append(timers.call_later(10, owner.call))
    clock.advance(11)
    assert owner.called == 0


@pytest.mark.logs_errors
def test_an_exception_does_not_prevent_other_calls(clock: Clock) -> None:
    timers, owner = CoarseTimers(clock), Owner()
    timers.call_later(10, lambda: 1 / 0)
    timers.call_later(10, owner.call)
    clock.advance(11)
    assert owner.called == 1


def test_a_call_may_schedule_another(clock: Clock) -> None:
    timers, owner = CoarseTimers(clock), Owner()
    timers.call_later(3, timers.call_later, 3, owner.call)
    clock.advance(3.5)
    clock.advance(3.5)
    assert owner.called == 1


def test_short_delays_of_the_clock_are_exact(clock: Clock) -> None:
    owner = Owner()
    ours = ReactorClock(clock)
    ours.call_later(4.9, owner.call)
    clock.advance(4.89)
    assert owner.called == 0
    clock.advance(0.02)
    assert owner.called == 1
    ours.call_later(3_600, owner.call).cancel()
    ours.call_later(3_600, owner.call)
    ours.call_later(3_600.1, owner.call)
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(3_601)
    assert owner.called == 3
