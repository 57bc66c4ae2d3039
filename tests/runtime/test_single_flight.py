"""SingleFlight: one run at a time, merged requests, repetitions after transient failures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.single_flight import SingleFlight
from callcenter_ws.testing import FakeClock


class Work:
    """Work whose runs end when the test says so."""

    def __init__(self) -> None:
        self.started = 0
        self.current: Deferred[None] | None = None

    async def __call__(self) -> None:
        self.started += 1
        assert self.current is None, "two runs at a time"
        self.current = Deferred()
        try:
            await self.current
        finally:
            self.current = None

    def end(self) -> None:
        assert self.current is not None
        self.current.callback(None)

    def fail(self, error: Exception) -> None:
        assert self.current is not None
        self.current.errback(error)


TRANSIENT = Refusal(ErrorCode.UNAVAILABLE)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def work() -> Iterator[Work]:
    work = Work()
    yield work
    if work.current is not None:
        work.end()


def steady(first: float, maximum: float) -> Backoff:
    return Backoff(first, maximum, uniform=lambda low, high: high)


class TestRequests:
    def test_the_first_runs_at_once(self, clock: FakeClock, work: Work) -> None:
        flight = SingleFlight(work, clock, spawn)
        flight.request()
        assert work.started == 1
        assert flight.is_running
        assert not flight.is_idle
        work.end()
        assert flight.is_idle
        assert not flight.is_running

    def test_with_a_delay_several_are_merged(self, clock: FakeClock, work: Work) -> None:
        flight = SingleFlight(work, clock, spawn, delay=2)
        flight.request()
        flight.request()
        assert work.started == 0
        assert not flight.is_idle
        clock.advance(1)
        flight.request()
        clock.advance(1)
        assert work.started == 1
        work.end()
        clock.advance(10)
        assert work.started == 1

    def test_those_made_during_a_run_cause_one_more(self, clock: FakeClock, work: Work) -> None:
        flight = SingleFlight(work, clock, spawn)
        for _ in range(3):
            flight.request()
        work.end()
        clock.advance(0)
        assert work.started == 2
        work.end()
        clock.advance(10)
        assert work.started == 2

    def test_work_that_ends_at_once_does_not_deepen_the_stack(self, clock: FakeClock) -> None:
        runs = []

        async def run() -> None:
            runs.append(None)
            if len(runs) < 5_000:
                flight.request()

        flight = SingleFlight(run, clock, spawn)
        flight.request()
        while not flight.is_idle:
            clock.advance(0)
        assert len(runs) == 5_000


class TestFailures:
    def test_a_transient_one_is_repeated_ever_later(self, clock: FakeClock, work: Work) -> None:
        flight = SingleFlight(work, clock, spawn, backoff=steady(1, 3))
        flight.request()
        for delay in (1, 2, 3, 3):
            started = work.started
            work.fail(TRANSIENT)
            clock.advance(delay - 0.1)
            assert work.started == started
            clock.advance(0.2)
            assert work.started == started + 1
        work.end()
        flight.request()
        work.fail(TRANSIENT)
        clock.advance(1.1)
        assert work.current is not None, "the delays start again after a success"

    def test_a_request_waits_for_the_repetition(self, clock: FakeClock, work: Work) -> None:
        flight = SingleFlight(work, clock, spawn, backoff=steady(1, 1))
        flight.request()
        flight.request()
        work.fail(TRANSIENT)
        flight.request()
        clock.advance(0.5)
        assert work.started == 1
        clock.advance(0.6)
        assert work.started == 2
        work.end()
        clock.advance(10)
        assert work.started == 2

    def test_a_request_may_skip_the_delay(self, clock: FakeClock, work: Work) -> None:
        flight = SingleFlight(work, clock, spawn, backoff=steady(1, 1))
        flight.request()
        work.fail(TRANSIENT)
        flight.request(skip_backoff=True)
        assert work.started == 2
        work.end()
        clock.advance(10)
        assert work.started == 2

    def test_without_backoff_it_is_not_repeated(self, clock: FakeClock, work: Work) -> None:
        flight = SingleFlight(work, clock, spawn)
        flight.request()
        work.fail(TRANSIENT)
        clock.advance(10)
        assert work.started == 1
        assert flight.is_idle
        flight.request()
        assert work.started == 2

    @pytest.mark.logs_errors
    def test_a_bug_is_logged_and_does_not_end_the_service(self, clock: FakeClock, work: Work) -> None:
        flight = SingleFlight(work, clock, spawn, backoff=steady(1, 1))
        flight.request()
        flight.request()
        work.fail(ZeroDivisionError())
        clock.advance(0)
        assert work.started == 2, "the request made meanwhile is not lost"
        work.fail(ZeroDivisionError())
        clock.advance(10)
        assert work.started == 2
        flight.request()
        assert work.started == 3

    def test_which_ones_are_transient_is_given(self, clock: FakeClock, work: Work) -> None:
        flight = SingleFlight(work, clock, spawn, backoff=steady(1, 1), transient=(OSError,))
        flight.request()
        work.fail(ConnectionError())
        clock.advance(1)
        assert work.started == 2


class TestStopping:
    def test_nothing_runs_any_more(self, clock: FakeClock, work: Work) -> None:
        flight = SingleFlight(work, clock, spawn, delay=1)
        flight.request()
        flight.stop()
        flight.request()
        clock.advance(10)
        assert work.started == 0
        assert flight.is_idle

    def test_it_can_wait_for_the_run(self, clock: FakeClock, work: Work) -> None:
        flight = SingleFlight(work, clock, spawn, backoff=steady(1, 1))
        flight.request()
        flight.request()
        waits = [Deferred.fromCoroutine(flight.stopped()) for _ in range(2)]
        assert not any(wait.called for wait in waits)
        assert flight.is_running
        work.fail(TRANSIENT)
        assert all(wait.called for wait in waits)
        assert flight.is_idle
        clock.advance(10)
        assert work.started == 1

    def test_it_waits_for_nothing_where_nothing_runs(self, clock: FakeClock, work: Work) -> None:
        flight = SingleFlight(work, clock, spawn)
        assert Deferred.fromCoroutine(flight.stopped()).called


class TestSkippingTheBackoff:
    def test_an_idle_flight_with_a_delay_runs_at_once(self, clock: FakeClock, work: Work) -> None:
        flight = SingleFlight(work, clock, spawn, delay=5)
        flight.request(skip_backoff=True)
        assert work.started == 1

    def test_a_request_during_a_run_that_fails_is_not_delayed(self, clock: FakeClock, work: Work) -> None:
        flight = SingleFlight(work, clock, spawn, backoff=steady(30, 30))
        flight.request()
        flight.request(skip_backoff=True)
        flight.request()
        work.fail(TRANSIENT)
        clock.advance(0)
        assert work.started == 2

    def test_work_may_reset_the_backoff_itself(self, clock: FakeClock, work: Work) -> None:
        backoff = steady(1, 30)
        flight = SingleFlight(work, clock, spawn, backoff=backoff, resets_backoff=False)
        flight.request()
        work.fail(TRANSIENT)
        clock.advance(1)
        work.end()
        flight.request()
        work.fail(TRANSIENT)
        clock.advance(1.5)
        assert work.started == 3
        clock.advance(0.6)
        assert work.started == 4
