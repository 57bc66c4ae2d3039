"""Timers that share a call of the reactor."""

from __future__ import annotations

import gc
import weakref

import pytest
from twisted.internet.task import Clock

from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.timers import AT_ONCE, CoarseTimers


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
def test_a_call_comes_within_half_a_second_of_its_time(clock: Clock, delay: float) -> None:
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
    had_by_then: list[int] = []
    timers.call_later(10, lambda: clock.callLater(0, lambda: had_by_then.append(owner.called)))
    for _ in range(3 * AT_ONCE - 1):
        timers.call_later(10, owner.call)
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(10.5)
    assert had_by_then == [AT_ONCE - 1], "others have a turn in between"
    assert owner.called == 3 * AT_ONCE - 1


def test_who_cancels_is_not_called_and_not_held(clock: Clock) -> None:
    timers, owner = CoarseTimers(clock), Owner()
    gone = weakref.ref(owner)
    timer = timers.call_later(10, owner.call)
    timer.cancel()
    timer.cancel()
    del timer, owner
    gc.collect()
    assert gone() is None
    clock.advance(20)


def test_one_may_cancel_another_of_the_same_second(clock: Clock) -> None:
    timers, owner = CoarseTimers(clock), Owner()
    later = []
    timers.call_later(10, lambda: later[0].cancel())
    later.append(timers.call_later(10, owner.call))
    clock.advance(11)
    assert owner.called == 0


@pytest.mark.logs_errors
def test_one_that_raises_keeps_no_other_from_its_call(clock: Clock) -> None:
    timers, owner = CoarseTimers(clock), Owner()
    timers.call_later(10, lambda: 1 / 0)
    timers.call_later(10, owner.call)
    clock.advance(11)
    assert owner.called == 1


def test_a_call_may_ask_for_another(clock: Clock) -> None:
    timers, owner = CoarseTimers(clock), Owner()
    timers.call_later(3, timers.call_later, 3, owner.call)
    clock.advance(3.5)
    clock.advance(3.5)
    assert owner.called == 1


def test_the_gateways_clock_is_exact_where_it_is_short(clock: Clock) -> None:
    owner = Owner()
    ours = ReactorClock(clock)
    ours.call_later(10, owner.call)
    clock.advance(9.99)
    assert owner.called == 0
    clock.advance(0.02)
    assert owner.called == 1
    ours.call_later(3_600, owner.call).cancel()
    ours.call_later(3_600, owner.call)
    ours.call_later(3_600.1, owner.call)
    assert len(clock.getDelayedCalls()) == 1
    clock.advance(3_601)
    assert owner.called == 3
