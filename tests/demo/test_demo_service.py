"""SimulatorProcess: starting, restarting and stopping the simulator, with a fake reactor."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from fake_reactor import FakeReactor
from twisted.logger import globalLogPublisher

from callcenter_ws.demo.service import SimulatorProcess


@pytest.fixture
def reactor() -> FakeReactor:
    return FakeReactor()


@pytest.fixture
def service(reactor: FakeReactor) -> SimulatorProcess:
    service = SimulatorProcess(reactor, "unix:path=/run/amp.sock", "demo", "--seed", "7")
    service.startService()
    return service


@pytest.fixture
def logged() -> Any:
    lines: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        if "line" in event:
            lines.append(event["line"])

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def test_it_runs_the_simulator_module(service: SimulatorProcess, reactor: FakeReactor) -> None:
    (child,) = reactor.children
    module = [sys.executable, "-m", "callcenter_ws.demo.simulator"]
    assert child.command == [*module, "unix:path=/run/amp.sock", "--tenant", "demo", "--seed", "7"]
    assert (child.environ, child.descriptors) == (None, {0: "w", 1: "r", 2: "r"})


def test_it_is_restarted_with_increasing_delays(service: SimulatorProcess, reactor: FakeReactor) -> None:
    delays = []
    for _ in range(7):
        reactor.children[-1].end(1)
        before, count = reactor.seconds(), len(reactor.children)
        while len(reactor.children) == count:
            reactor.advance(0.5)
        delays.append(reactor.seconds() - before)
    assert delays == [10, 20, 30, 30, 30, 30, 30]


def test_a_long_run_resets_the_delay(service: SimulatorProcess, reactor: FakeReactor) -> None:
    for _ in range(4):
        reactor.children[-1].end(1)
        reactor.advance(30)
    reactor.advance(61)
    reactor.children[-1].end(1)
    reactor.advance(10)
    assert len(reactor.children) == 6


@pytest.mark.logs_errors
def test_a_failing_spawn_is_retried(reactor: FakeReactor) -> None:
    reactor.spawn_fails = True
    service = SimulatorProcess(reactor, "unix:path=/run/amp.sock", "demo")
    service.startService()
    reactor.spawn_fails = False
    reactor.advance(10)
    assert len(reactor.children) == 1


def test_stop_waits_for_the_end(service: SimulatorProcess, reactor: FakeReactor) -> None:
    stopped = service.stopService()
    (child,) = reactor.children
    assert stopped is not None
    assert child.signals == ["TERM"]
    assert not stopped.called
    child.end(1)
    assert stopped.called
    assert reactor.getDelayedCalls() == []


def test_a_process_that_does_not_end_is_killed(service: SimulatorProcess, reactor: FakeReactor) -> None:
    service.stopService()
    reactor.advance(5)
    assert reactor.children[0].signals == ["TERM", "KILL"]


def test_stop_while_a_restart_is_pending(service: SimulatorProcess, reactor: FakeReactor) -> None:
    reactor.children[0].end(1)
    assert service.stopService() is None
    reactor.advance(60)
    assert len(reactor.children) == 1


def test_stop_when_the_process_has_ended_but_was_not_reaped(service: SimulatorProcess, reactor: FakeReactor) -> None:
    (child,) = reactor.children
    child.has_ended = True
    stopped = service.stopService()
    assert stopped is not None
    child.end()
    assert stopped.called


def test_its_output_is_logged_by_lines(service: SimulatorProcess, reactor: FakeReactor, logged: list[str]) -> None:
    (child,) = reactor.children
    child.write(2, b"one\ntw")
    child.write(2, b"o\n\xff\n")
    child.write(1, b"out")
    assert logged == ["one", "two", "\ufffd"]
    child.end(1)
    assert logged[3:] == ["out"]


def test_a_line_without_a_newline_is_passed_on_in_pieces(
    service: SimulatorProcess, reactor: FakeReactor, logged: list[str]
) -> None:
    (child,) = reactor.children
    for _ in range(100):
        child.write(2, b"x" * 1000)
    assert len(logged) >= 10
    assert max(map(len, logged)) < 16_000
