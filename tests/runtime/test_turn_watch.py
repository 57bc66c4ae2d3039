"""The turns of the reactor, measured where it polls."""

from __future__ import annotations

import os
import select
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor

from callcenter_ws.runtime import turn_watch
from callcenter_ws.runtime.turn_watch import TurnWatch, watch_turns


class Poller:
    """A poll object on a clock of its own."""

    register = modify = unregister = closed = None

    def __init__(self) -> None:
        self.now = 100.0
        self.waits = 0.0

    def poll(self, timeout: float, max_events: int) -> list[tuple[int, int]]:
        self.now += self.waits
        return [(int(timeout), max_events)]


@pytest.fixture
def poller(monkeypatch: pytest.MonkeyPatch) -> Poller:
    poller = Poller()
    monkeypatch.setattr(turn_watch, "monotonic", lambda: poller.now)
    return poller


def test_a_turn_is_the_time_between_two_polls(poller: Poller) -> None:
    watch = TurnWatch(poller)
    poller.waits = 50.0
    assert watch.poll(3, 7) == [(3, 7)]
    assert (watch.turns, watch.busy_seconds) == (0, 0.0)
    for seconds in (0.5, 2.0, 1.0):
        poller.now += seconds
        watch.poll(3, 7)
    assert (watch.turns, watch.busy_seconds, watch.longest) == (3, 3.5, 2.0)
    assert watch.forget_longest() == 2.0
    assert watch.longest == 0.0
    poller.now += 0.25
    watch.poll(3, 7)
    assert watch.longest == 0.25


def test_a_real_reactor_works_with_it() -> None:
    reactor: Any = EPollReactor()
    watch = watch_turns(reactor)
    assert watch is not None
    assert watch_turns(reactor) is watch
    assert isinstance(reactor._poller, TurnWatch)
    reading, writing = os.pipe()
    received: list[str] = []

    class Reader:
        def fileno(self) -> int:
            return reading

        def doRead(self) -> None:  # noqa: N802 - a name of Twisted
            received.append(os.read(reading, 10).decode())

        def logPrefix(self) -> str:
            return "reader"

        def connectionLost(self, reason: object) -> None:
            pass

    reader = Reader()
    reactor.addReader(reader)
    os.write(writing, b"x")
    reactor.doPoll(1)
    reactor.doPoll(0)
    assert received == ["x"]
    assert watch.turns == 1
    reactor.removeReader(reader)
    for descriptor in (reading, writing, *(one.fileno() for one in reactor._internalReaders)):
        if descriptor in (reading, writing):
            os.close(descriptor)
    assert watch.closed is False
    watch.close()
    assert isinstance(watch._poller, select.epoll)


def test_another_reactor_is_left_alone() -> None:
    reactor: Any = object()
    assert watch_turns(reactor) is None
