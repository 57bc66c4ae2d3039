"""GatewayClock: the time by which nothing is begun too late."""

from __future__ import annotations

from twisted.internet.task import Clock

from callcenter_ws.remote.gateway_clock import GatewayClock
from callcenter_ws.runtime.clock import ReactorClock


class ManualClock(ReactorClock):
    """A clock whose monotonic time the test sets; its Unix time is nonsense."""

    def __init__(self) -> None:
        super().__init__(Clock())
        self.now = 1_000.0
        self.monotonic = lambda: self.now
        self.time = lambda: -5.0


def test_the_estimate_is_never_behind_the_gateway() -> None:
    clock = ManualClock()
    gateway = GatewayClock(clock)
    assert gateway.time() is None
    sent_at = clock.now
    clock.now += 3  # The gateway has told its time anywhere in these seconds, at the earliest when it was asked.
    gateway.answered(50_000, sent_at)
    assert gateway.time() == 53.0
    clock.now += 10
    assert gateway.time() == 63.0


def test_the_last_answer_counts() -> None:
    clock = ManualClock()
    gateway = GatewayClock(clock)
    gateway.answered(50_000, clock.now)
    clock.now += 10
    gateway.answered(20_000, clock.now)  # The clock of the gateway was set, or it is another node.
    clock.now += 1
    assert gateway.time() == 21.0
