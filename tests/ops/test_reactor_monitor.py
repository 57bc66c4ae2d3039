"""How late the reactor is."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from callcenter_ws.ops.reactor_monitor import INTERVAL_SECONDS, WINDOW_SECONDS, ReactorMonitor
from callcenter_ws.runtime.turn_watch import TurnWatch
from callcenter_ws.testing import FakeClock


class Poller:
    register = modify = unregister = None

    def poll(self, timeout: float, max_events: int) -> list[tuple[int, int]]:
        return []


@pytest.fixture
def reactor() -> Any:
    return Clock()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def monitor(reactor: Any, clock: FakeClock) -> ReactorMonitor:
    return ReactorMonitor(reactor, clock)


def pass_time(reactor: Any, clock: FakeClock, late: float = 0.0) -> None:
    """Let one interval pass; the timer is called late."""
    clock.advance(INTERVAL_SECONDS + late)
    reactor.advance(INTERVAL_SECONDS)


def test_a_timer_that_is_late_is_counted(monitor: ReactorMonitor, reactor: Any, clock: FakeClock) -> None:
    monitor.startService()
    pass_time(reactor, clock)
    pass_time(reactor, clock, late=0.2)
    assert sum(monitor.delay.counts) == 2
    assert monitor.delay.counts[0] == 1
    assert monitor.delay.sum == pytest.approx(0.2)
    monitor.stopService()
    assert not reactor.getDelayedCalls()


def test_without_an_epoll_reactor_turns_are_not_measured(monitor: ReactorMonitor) -> None:
    monitor.startService()
    assert monitor.turns is None
    assert monitor.longest_turn == 0.0
    monitor.stopService()


def test_the_longest_turn_is_shown_for_one_to_two_windows(
    monitor: ReactorMonitor, reactor: Any, clock: FakeClock
) -> None:
    reactor._poller = TurnWatch(Poller())
    monitor.startService()
    turns = monitor.turns
    assert turns is not None
    turns.longest = 3.0
    assert monitor.longest_turn == 3.0
    intervals = int(WINDOW_SECONDS / INTERVAL_SECONDS)
    for _ in range(intervals):
        pass_time(reactor, clock)
    turns.longest = 1.0
    assert monitor.longest_turn == 3.0
    for _ in range(intervals):
        pass_time(reactor, clock)
    assert monitor.longest_turn == 1.0
    monitor.stopService()
