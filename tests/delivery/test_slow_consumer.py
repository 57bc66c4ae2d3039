"""SlowConsumerWatch: who reads slowly may go on, who reads nothing may not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from callcenter_ws.delivery.slow_consumer import SlowConsumerWatch
from callcenter_ws.errors import CloseCode
from callcenter_ws.testing import FakeClock, RecordingTransport


@dataclass
class Watched:
    """A socket, its watch, and what the watch did to it."""

    clock: FakeClock
    transport: RecordingTransport
    watch: SlowConsumerWatch


@pytest.fixture
def socket() -> Watched:
    clock, transport = FakeClock(), RecordingTransport()
    client: Any = transport  # the watch only closes its client
    return Watched(clock, transport, SlowConsumerWatch(clock, transport, 30, client))


def test_nothing_is_watched_before_the_start(socket: Watched) -> None:
    socket.clock.advance(1000)
    assert socket.transport.closed_with is None


def test_a_socket_that_takes_nothing(socket: Watched) -> None:
    socket.transport.unsent = 100
    socket.watch.start()
    socket.clock.advance(29)
    assert socket.transport.closed_with is None
    socket.clock.advance(1)
    assert socket.transport.closed_with is CloseCode.SLOW_CONSUMER


def test_a_socket_that_holds_ever_more(socket: Watched) -> None:
    socket.transport.unsent = 100
    socket.watch.start()
    socket.transport.unsent = 101
    socket.clock.advance(30)
    assert socket.transport.closed_with is CloseCode.SLOW_CONSUMER


def test_one_byte_in_time_is_enough(socket: Watched) -> None:
    socket.transport.unsent = 100
    socket.watch.start()
    for _ in range(5):
        socket.transport.unsent -= 1
        socket.clock.advance(30)
        assert socket.transport.closed_with is None
    socket.clock.advance(30)
    assert socket.transport.closed_with is CloseCode.SLOW_CONSUMER


def test_stopped(socket: Watched) -> None:
    socket.watch.start()
    socket.watch.stop()
    socket.watch.stop()
    socket.clock.advance(1000)
    assert socket.transport.closed_with is None


def test_started_twice_it_looks_once(socket: Watched) -> None:
    socket.transport.unsent = 100
    socket.watch.start()
    socket.clock.advance(20)
    socket.transport.unsent = 50
    socket.watch.start()
    socket.clock.advance(20)
    assert socket.transport.closed_with is None
    socket.clock.advance(10)
    assert socket.transport.closed_with is CloseCode.SLOW_CONSUMER


def test_started_anew_the_time_begins_anew(socket: Watched) -> None:
    socket.watch.start()
    socket.clock.advance(20)
    socket.watch.stop()
    socket.watch.start()
    socket.clock.advance(20)
    assert socket.transport.closed_with is None
    socket.clock.advance(10)
    assert socket.transport.closed_with is CloseCode.SLOW_CONSUMER
