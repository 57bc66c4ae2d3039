"""Slicer: long work is divided over turns, in turn with other long work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from callcenter_ws.runtime.slicer import Slicer
from callcenter_ws.testing import FakeClock, run


class TickingClock(FakeClock):
    """A FakeClock whose time goes on with each look at it."""

    def monotonic(self) -> float:
        self._now += 0.002
        return self._now


def turns_of(clock: FakeClock) -> Iterator[None]:
    """Make the calls of one iteration of the reactor at each step."""
    while clock._due:
        due, clock._due = clock._due, []
        for _, _, timer in sorted(due):
            timer.call(*timer.args)
        yield


def test_a_turn_makes_a_bounded_number_of_calls() -> None:
    clock, made = FakeClock(), list[int]()
    slicer = Slicer(clock, steps_per_turn=4)
    for number in range(10):
        slicer.call(lambda number=number: made.append(number))  # type: ignore[misc]
    assert made == []
    assert [len(made) for _ in turns_of(clock)] == [4, 8, 10]
    assert made == list(range(10))


def test_a_turn_begins_no_call_after_its_time() -> None:
    clock, made = TickingClock(), list[int]()
    slicer = Slicer(clock, steps_per_turn=100, seconds_per_turn=0.005)
    for number in range(6):
        slicer.call(lambda number=number: made.append(number))  # type: ignore[misc]
    assert [len(made) for _ in turns_of(clock)] == [3, 6]


def test_what_a_call_adds_is_made_in_a_later_turn() -> None:
    clock, made = FakeClock(), list[str]()
    slicer = Slicer(clock)
    slicer.call(lambda: (made.append("first"), slicer.call(lambda: made.append("second"))))
    assert [list(made) for _ in turns_of(clock)] == [["first"], ["first", "second"]]


def test_iterators_take_their_steps_in_turn() -> None:
    clock, taken = FakeClock(), list[str]()
    slicer = Slicer(clock, steps_per_turn=2)

    def steps(name: str) -> Iterator[None]:
        for number in range(2):
            taken.append(f"{name}{number}")
            yield

    finished = [slicer.run(steps("a")), slicer.run(steps("b"))]
    assert [list(taken) for _ in turns_of(clock)][:2] == [["a0", "b0"], ["a0", "b0", "a1", "b1"]]
    for one in finished:
        run(_result(one))


async def _result(awaitable: object) -> None:
    await awaitable  # type: ignore[misc]


def test_an_error_of_a_step_is_raised_by_the_result() -> None:
    clock = FakeClock()

    def steps() -> Iterator[None]:
        yield
        raise ValueError("broken")

    finished = Slicer(clock).run(steps())
    list(turns_of(clock))
    with pytest.raises(ValueError, match="broken"):
        run(_result(finished))


@pytest.mark.logs_errors
def test_an_error_of_a_call_does_not_keep_others_from_being_made() -> None:
    clock, made = FakeClock(), list[str]()
    slicer = Slicer(clock)
    slicer.call(lambda: 1 / 0)
    slicer.call(lambda: made.append("other"))
    list(turns_of(clock))
    assert made == ["other"]
    assert len(slicer) == 0
