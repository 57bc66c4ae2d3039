"""The simulator: it follows model time, loses no event while the gateway is unreachable, and ends on request."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from callcenter_ws.demo.callcenter import CallCenter
from callcenter_ws.demo.scheduler import ModelEvent
from callcenter_ws.demo.simulator import Simulation, parse_arguments
from callcenter_ws.errors import ErrorCode, Refusal


def callcenter() -> CallCenter:
    return CallCenter(Random(1), lambda at: at, "test")


def expected_events(until: float) -> list[ModelEvent]:
    model, events = callcenter(), []
    while model.next_at <= until:
        events += model.step()
    return events


class FakeGateway:
    """Accepts events; raises ``refusals`` first, and does not respond while ``unreachable``."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.accepted: list[ModelEvent] = []
        self.refusals: list[Refusal] = []
        self.pending: Deferred[None] | None = None
        self.unreachable = False

    async def publish(self, event: ModelEvent) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        if self.unreachable:
            self.pending = Deferred()
            await self.pending
        self.accepted.append(event)

    def run(self, speed: float = 1.0) -> Deferred[None]:
        return Deferred.fromCoroutine(Simulation(self.clock, callcenter(), self.publish, speed).run())

    def advance(self, seconds: float) -> None:
        self.clock.pump([0.05] * round(seconds / 0.05))


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_events_are_published_at_their_time(speed: float) -> None:
    gateway = FakeGateway()
    gateway.run(speed)
    gateway.advance(40 / speed)
    assert gateway.accepted == expected_events(400)[: len(gateway.accepted)]
    assert len(expected_events(39)) <= len(gateway.accepted) <= len(expected_events(41))


def test_model_time_stands_still_while_the_gateway_is_unreachable() -> None:
    gateway = FakeGateway()
    gateway.run()
    gateway.advance(20)
    before = len(gateway.accepted)
    gateway.unreachable = True
    gateway.advance(300)
    assert len(gateway.accepted) == before
    gateway.unreachable = False
    assert gateway.pending is not None
    gateway.pending.callback(None)
    gateway.advance(1)
    assert before < len(gateway.accepted) < before + 25
    gateway.advance(60)
    assert gateway.accepted == expected_events(400)[: len(gateway.accepted)]


def test_an_event_refused_for_a_transient_reason_is_sent_again() -> None:
    gateway = FakeGateway()
    gateway.refusals = [Refusal(ErrorCode.OVERLOADED), Refusal(ErrorCode.UNAVAILABLE, retry_after=7)]
    gateway.run()
    gateway.advance(60)
    assert gateway.refusals == []
    assert len(gateway.accepted) > 20
    assert gateway.accepted == expected_events(400)[: len(gateway.accepted)]


@pytest.mark.logs_errors
def test_an_event_refused_for_another_reason_is_skipped() -> None:
    gateway = FakeGateway()
    gateway.refusals = [Refusal(ErrorCode.INVALID_EVENT)]
    gateway.run()
    gateway.advance(40)
    assert gateway.accepted == expected_events(400)[1 : 1 + len(gateway.accepted)]
    assert len(gateway.accepted) > 20


def test_it_ends_when_cancelled() -> None:
    gateway = FakeGateway()
    ended: list[object] = []
    running = gateway.run()
    running.addErrback(lambda failure: ended.append(failure.trap(CancelledError)))
    gateway.advance(5)
    running.cancel()
    assert ended == [CancelledError]
    assert gateway.clock.getDelayedCalls() == []


def test_the_default_seed_is_random() -> None:
    assert parse_arguments(["unix:path=/x", "--seed", "5"]).seed == 5
    first, second = (parse_arguments(["unix:path=/x"]).seed for _ in range(2))
    assert first != second


@pytest.mark.parametrize("argv", [[], ["unix:path=/x", "--speed", "0"], ["unix:path=/x", "--speed", "nan"]])
def test_invalid_arguments_are_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(argv)
    assert "usage:" in capsys.readouterr().err


@pytest.fixture
def process(tmp_path: Path):
    """A running simulator process, for a gateway that does not exist."""
    endpoint = f"unix:path={tmp_path}/amp.sock"
    command = [sys.executable, "-m", "callcenter_ws.demo.simulator", endpoint, "--seed", "7"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        assert started.stderr.readline() == f"simulating a call center, seed 7, for {endpoint}\n"
        yield started
        started.kill()


def test_the_process_ends_when_its_standard_input_closes(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(10) == 0


def test_the_process_ends_on_sigterm(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) in (0, -signal.SIGTERM)
