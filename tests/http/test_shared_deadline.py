"""One timer for many objects with the same time limit, which may change."""

from __future__ import annotations

from dataclasses import dataclass, field

from twisted.internet.task import Clock

from callcenter_ws.http.shared_deadline import SharedDeadline


@dataclass(eq=False)
class Waiting:
    """Notes when its deadline passed."""

    clock: Clock
    passed: list[float] = field(default_factory=list)

    def deadline_passed(self) -> None:
        self.passed.append(self.clock.seconds())


def test_a_shorter_limit_applies_to_those_that_wait_too() -> None:
    clock = Clock()
    deadline, first, second = SharedDeadline(clock, 10), Waiting(clock), Waiting(clock)
    deadline.add(first)
    clock.advance(1)
    deadline.change(3)
    deadline.add(second)
    for _ in range(20):
        clock.advance(1)
    assert (first.passed, second.passed) == ([3.0], [4.0])
    assert deadline.is_empty
    assert not clock.getDelayedCalls()


def test_a_longer_limit_does_too() -> None:
    clock = Clock()
    deadline, first, second = SharedDeadline(clock, 3), Waiting(clock), Waiting(clock)
    deadline.add(first)
    clock.advance(1)
    deadline.change(10)
    deadline.add(second)
    assert deadline.cancel(second) == 10
    for _ in range(20):
        clock.advance(1)
    assert (first.passed, second.passed) == ([10.0], [])


def test_a_change_while_nothing_waits() -> None:
    clock = Clock()
    deadline, waiting = SharedDeadline(clock, 3), Waiting(clock)
    deadline.change(1)
    assert not clock.getDelayedCalls()
    deadline.add(waiting)
    clock.advance(1)
    assert waiting.passed == [1.0]
