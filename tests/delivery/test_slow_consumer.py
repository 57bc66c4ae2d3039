"""SlowConsumerWatch: a peer that reads at the minimum rate stays connected; one that reads less is closed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest

from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.slow_consumer import SlowConsumerWatch
from callcenter_ws.errors import CloseCode
from callcenter_ws.testing import FakeClock, RecordingTransport


@dataclass
class Source:
    """Has limits."""

    limits: Limits


@dataclass
class Watched:
    """A transport and its SlowConsumerWatch."""

    clock: FakeClock
    transport: RecordingTransport
    watch: SlowConsumerWatch


@pytest.fixture
def watched() -> Watched:
    clock, transport = FakeClock(), RecordingTransport()
    timed_out = partial(transport.close, CloseCode.SLOW_CONSUMER)
    return Watched(
        clock, transport, SlowConsumerWatch(clock, transport, Source(Limits(slow_timeout=30, min_rate=10)), timed_out)
    )


def test_before_the_start_nothing_is_closed(watched: Watched) -> None:
    watched.clock.advance(1000)
    assert watched.transport.closed_with is None


def test_a_socket_that_accepts_nothing_is_closed_after_the_timeout(watched: Watched) -> None:
    watched.transport.unsent = 100
    watched.watch.start()
    watched.clock.advance(29)
    assert watched.transport.closed_with is None
    watched.clock.advance(1)
    assert watched.transport.closed_with is CloseCode.SLOW_CONSUMER


def test_a_socket_with_more_unsent_bytes_is_closed_after_the_timeout(watched: Watched) -> None:
    watched.transport.unsent = 100
    watched.watch.start()
    watched.transport.unsent = 101
    watched.clock.advance(30)
    assert watched.transport.closed_with is CloseCode.SLOW_CONSUMER


def test_a_socket_that_accepts_the_minimum_rate_in_each_timeout_stays_open(watched: Watched) -> None:
    watched.transport.unsent = 10_000
    watched.watch.start()
    for _ in range(5):
        watched.transport.unsent -= 300
        watched.clock.advance(30)
        assert watched.transport.closed_with is None
    watched.transport.unsent -= 299
    watched.clock.advance(30)
    assert watched.transport.closed_with is CloseCode.SLOW_CONSUMER


def test_what_was_accepted_before_does_not_count_in_the_next_timeout(watched: Watched) -> None:
    watched.transport.unsent = 10_000
    watched.watch.start()
    watched.transport.unsent -= 5_000
    watched.clock.advance(30)
    assert watched.transport.closed_with is None
    watched.transport.unsent -= 100
    watched.clock.advance(30)
    assert watched.transport.closed_with is CloseCode.SLOW_CONSUMER


def test_a_socket_that_accepts_everything_that_waited_stays_open(watched: Watched) -> None:
    watched.transport.unsent = 100
    watched.watch.start()
    watched.transport.unsent = 0
    watched.clock.advance(30)
    assert watched.transport.closed_with is None


@pytest.mark.parametrize(("accepted", "closed_with"), [(1, None), (0, CloseCode.SLOW_CONSUMER)])
def test_without_a_minimum_rate_any_progress_suffices(accepted: int, closed_with: CloseCode | None) -> None:
    clock, transport = FakeClock(), RecordingTransport()
    source = Source(Limits(slow_timeout=30, min_rate=0))
    watch = SlowConsumerWatch(clock, transport, source, partial(transport.close, CloseCode.SLOW_CONSUMER))
    transport.unsent = 10_000
    watch.start()
    transport.unsent -= accepted
    clock.advance(30)
    assert transport.closed_with is closed_with


def test_after_stop_nothing_is_closed(watched: Watched) -> None:
    watched.watch.start()
    watched.watch.stop()
    watched.watch.stop()
    watched.clock.advance(1000)
    assert watched.transport.closed_with is None


def test_a_second_start_does_not_restart_the_timeout(watched: Watched) -> None:
    watched.transport.unsent = 100
    watched.watch.start()
    watched.clock.advance(20)
    watched.transport.unsent = 50
    watched.watch.start()
    watched.clock.advance(20)
    assert watched.transport.closed_with is None
    watched.clock.advance(10)
    assert watched.transport.closed_with is CloseCode.SLOW_CONSUMER


def test_a_start_after_stop_restarts_the_timeout(watched: Watched) -> None:
    watched.watch.start()
    watched.clock.advance(20)
    watched.watch.stop()
    watched.watch.start()
    watched.clock.advance(20)
    assert watched.transport.closed_with is None
    watched.clock.advance(10)
    assert watched.transport.closed_with is CloseCode.SLOW_CONSUMER


def test_other_limits_apply_to_the_next_interval() -> None:
    clock, transport, source = FakeClock(), RecordingTransport(), Source(Limits(slow_timeout=30, min_rate=10))
    watch = SlowConsumerWatch(clock, transport, source, partial(transport.close, CloseCode.SLOW_CONSUMER))
    transport.unsent = 100_000
    watch.start()
    source.limits = Limits(slow_timeout=5, min_rate=1_000)
    transport.unsent -= 300
    clock.advance(30)
    assert transport.closed_with is None
    transport.unsent -= 4_999
    clock.advance(5)
    assert transport.closed_with is CloseCode.SLOW_CONSUMER
