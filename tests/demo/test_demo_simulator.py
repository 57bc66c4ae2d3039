"""The simulator: it keeps the model's time, loses nothing while the gateway is away, and ends when asked."""

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
from callcenter_ws.demo.scheduler import Happening
from callcenter_ws.demo.simulator import Simulation, parse_arguments
from callcenter_ws.errors import ErrorCode, Refusal


def callcenter() -> CallCenter:
    return CallCenter(Random(1), lambda at: at, "test")


def script(until: float) -> list[Happening]:
    model, told = callcenter(), []
    while model.next_at <= until:
        told += model.step()
    return told


class Gateway:
    """Takes events; ``answer`` decides how the next one is answered."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.taken: list[Happening] = []
        self.refusals: list[Refusal] = []
        self.waiting: Deferred[None] | None = None
        self.away = False

    async def publish(self, happening: Happening) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        if self.away:
            self.waiting = Deferred()
            await self.waiting
        self.taken.append(happening)

    def run(self, speed: float = 1.0) -> Deferred[None]:
        return Deferred.fromCoroutine(Simulation(self.clock, callcenter(), self.publish, speed).run())

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([0.05] * round(seconds / 0.05))


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_events_come_at_their_time(speed: float) -> None:
    gateway = Gateway()
    gateway.run(speed)
    gateway.pass_time(40 / speed)
    assert gateway.taken == script(400)[: len(gateway.taken)]
    assert len(script(39)) <= len(gateway.taken) <= len(script(41))


def test_the_story_stands_still_while_the_gateway_is_away() -> None:
    gateway = Gateway()
    gateway.run()
    gateway.pass_time(20)
    before = len(gateway.taken)
    gateway.away = True
    gateway.pass_time(300)
    assert len(gateway.taken) == before
    gateway.away = False
    assert gateway.waiting is not None
    gateway.waiting.callback(None)
    gateway.pass_time(1)
    assert before < len(gateway.taken) < before + 25
    gateway.pass_time(60)
    assert gateway.taken == script(400)[: len(gateway.taken)]


def test_an_event_that_cannot_be_taken_now_is_sent_again() -> None:
    gateway = Gateway()
    gateway.refusals = [Refusal(ErrorCode.OVERLOADED), Refusal(ErrorCode.UNAVAILABLE, retry_after=7)]
    gateway.run()
    gateway.pass_time(60)
    assert gateway.refusals == []
    assert len(gateway.taken) > 20
    assert gateway.taken == script(400)[: len(gateway.taken)]


@pytest.mark.logs_errors
def test_an_event_that_is_refused_for_good_is_left_out() -> None:
    gateway = Gateway()
    gateway.refusals = [Refusal(ErrorCode.INVALID_EVENT)]
    gateway.run()
    gateway.pass_time(40)
    assert gateway.taken == script(400)[1 : 1 + len(gateway.taken)]
    assert len(gateway.taken) > 20


def test_it_ends_when_cancelled() -> None:
    gateway = Gateway()
    ended: list[object] = []
    running = gateway.run()
    running.addErrback(lambda failure: ended.append(failure.trap(CancelledError)))
    gateway.pass_time(5)
    running.cancel()
    assert ended == [CancelledError]
    assert gateway.clock.getDelayedCalls() == []


def test_a_seed_is_chosen_unless_given() -> None:
    assert parse_arguments(["unix:path=/x", "--seed", "5"]).seed == 5
    first, second = (parse_arguments(["unix:path=/x"]).seed for _ in range(2))
    assert first != second


@pytest.mark.parametrize("argv", [[], ["unix:path=/x", "--speed", "0"], ["unix:path=/x", "--speed", "nan"]])
def test_arguments_that_make_no_sense_are_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(argv)
    assert "usage:" in capsys.readouterr().err


@pytest.fixture
def process(tmp_path: Path):
    """The real simulator, for a gateway that is not there, once it has begun."""
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
