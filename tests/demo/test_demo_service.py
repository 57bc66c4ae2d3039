"""SimulatorProcess: starts, restarts and ends a process; here against a reactor that only pretends to."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from callcenter_ws.demo.service import SimulatorProcess


class Child:
    """A process that does what the test says."""

    def __init__(self, protocol: Any, args: list[str]) -> None:
        self.protocol = protocol
        self.args = args
        self.signals: list[str] = []
        self.gone = False

    def signalProcess(self, signal: str) -> None:  # noqa: N802 - Twisted's name
        if self.gone:
            raise ProcessExitedAlready
        self.signals.append(signal)

    def end(self, code: int = 0) -> None:
        self.gone = True
        self.protocol.processEnded(Failure(ProcessTerminated(code) if code else ProcessDone(0)))


class Reactor(Clock):
    """A clock that also starts Children."""

    def __init__(self) -> None:
        super().__init__()
        self.children: list[Child] = []
        self.broken = False

    def spawnProcess(  # noqa: N802 - Twisted's name
        self,
        protocol: Any,
        executable: str,
        args: list[str],
        env: None,
        *,
        childFDs: object,  # noqa: N803 - Twisted's name
    ) -> Child:
        if self.broken:
            raise OSError(11, "Resource temporarily unavailable")
        assert (executable, env, childFDs) == (sys.executable, None, {0: "w", 1: "r", 2: "r"})
        self.children.append(Child(protocol, args))
        return self.children[-1]


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def service(reactor: Reactor) -> SimulatorProcess:
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


def test_it_runs_the_simulator_module(service: SimulatorProcess, reactor: Reactor) -> None:
    (child,) = reactor.children
    module = [sys.executable, "-m", "callcenter_ws.demo.simulator"]
    assert child.args == [*module, "unix:path=/run/amp.sock", "--tenant", "demo", "--seed", "7"]


def test_it_comes_back_later_and_later(service: SimulatorProcess, reactor: Reactor) -> None:
    delays = []
    for _ in range(7):
        reactor.children[-1].end(1)
        before, count = reactor.seconds(), len(reactor.children)
        while len(reactor.children) == count:
            reactor.advance(0.5)
        delays.append(reactor.seconds() - before)
    assert delays == [1, 2, 4, 8, 16, 30, 30]


def test_a_long_life_makes_up_for_earlier_deaths(service: SimulatorProcess, reactor: Reactor) -> None:
    for _ in range(4):
        reactor.children[-1].end(1)
        reactor.advance(30)
    reactor.advance(61)
    reactor.children[-1].end(1)
    reactor.advance(1)
    assert len(reactor.children) == 6


@pytest.mark.logs_errors
def test_a_process_that_cannot_be_started_is_tried_again(reactor: Reactor) -> None:
    reactor.broken = True
    service = SimulatorProcess(reactor, "unix:path=/run/amp.sock", "demo")
    service.startService()
    reactor.broken = False
    reactor.advance(1)
    assert len(reactor.children) == 1


def test_stop_waits_for_the_end(service: SimulatorProcess, reactor: Reactor) -> None:
    stopped = service.stopService()
    (child,) = reactor.children
    assert stopped is not None
    assert child.signals == ["TERM"]
    assert not stopped.called
    child.end(1)
    assert stopped.called
    assert reactor.getDelayedCalls() == []


def test_stop_does_not_wait_for_ever(service: SimulatorProcess, reactor: Reactor) -> None:
    service.stopService()
    reactor.advance(5)
    assert reactor.children[0].signals == ["TERM", "KILL"]


def test_stop_while_it_waits_for_a_restart(service: SimulatorProcess, reactor: Reactor) -> None:
    reactor.children[0].end(1)
    assert service.stopService() is None
    reactor.advance(60)
    assert len(reactor.children) == 1


def test_stop_when_the_process_is_gone_but_not_reaped(service: SimulatorProcess, reactor: Reactor) -> None:
    (child,) = reactor.children
    child.gone = True
    stopped = service.stopService()
    assert stopped is not None
    child.end()
    assert stopped.called


def test_what_it_writes_is_logged_by_lines(service: SimulatorProcess, reactor: Reactor, logged: list[str]) -> None:
    protocol = reactor.children[0].protocol
    protocol.childDataReceived(2, b"one\ntw")
    protocol.childDataReceived(2, b"o\n\xff\n")
    protocol.childDataReceived(1, b"out")
    assert logged == ["one", "two", "\ufffd"]
    reactor.children[0].end(1)
    assert logged[3:] == ["out"]


def test_a_line_without_an_end_is_cut(service: SimulatorProcess, reactor: Reactor, logged: list[str]) -> None:
    protocol = reactor.children[0].protocol
    for _ in range(100):
        protocol.childDataReceived(2, b"x" * 1000)
    assert len(logged) >= 10
    assert max(map(len, logged)) < 16_000
