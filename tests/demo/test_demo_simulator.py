"""The simulator: it follows model time, loses no event while the gateway is unreachable, and ends on request."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from doubles import FakeClock
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from callcenter_ws.demo.callcenter import CallCenter
from callcenter_ws.demo.commands import Result
from callcenter_ws.demo.sample_data import DEMO_AGENT
from callcenter_ws.demo.scheduler import ModelEvent
from callcenter_ws.demo.simulator import Simulation, parse_arguments
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.remote import Command, CommandFailed
from callcenter_ws.remote.gateway_clock import GatewayClock


def callcenter() -> CallCenter:
    return CallCenter(Random(5), lambda at: at, "test")


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
        self.simulation = Simulation(self.clock, callcenter(), self.publish, speed)
        return Deferred.fromCoroutine(self.simulation.run())

    def command(self, name: str, seconds_left: float = 5.0, **payload: object) -> Deferred[None]:
        """Have the demo's agent ask for something."""
        clock = FakeClock()
        gateway_clock = GatewayClock(clock)
        gateway_clock.answered(0, clock.monotonic())
        command = Command("demo", name, payload, DEMO_AGENT.user_id, "agent", None, "c1", seconds_left, gateway_clock)
        return Deferred.fromCoroutine(self.simulation.carry_out(command))

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


def failure_of(asked: Deferred[None]) -> CommandFailed:
    failures: list[CommandFailed] = []
    asked.addErrback(lambda failure: failures.append(failure.value))
    (failure,) = failures
    return failure


def test_a_command_is_done_when_what_it_causes_is_published() -> None:
    gateway = FakeGateway()
    gateway.run()
    gateway.advance(20.02)
    before = len(gateway.accepted)
    gateway.unreachable = True
    asked = gateway.command("agent.state.set", state="break", reason="lunch")
    assert gateway.pending is not None and not asked.called
    gateway.unreachable = False
    gateway.pending.callback(None)
    assert asked.called and asked.result is None
    caused = gateway.accepted[before:]
    assert [event.type for event in caused] == ["queue.member.paused", "agent.state.changed"]
    assert {event.payload["user_id"] for event in caused} == {DEMO_AGENT.user_id}
    assert all(20 <= event.at <= 20.1 for event in caused)
    gateway.advance(60)
    assert gateway.accepted[-1].at > 75
    assert [event.at for event in gateway.accepted] == sorted(event.at for event in gateway.accepted)


class IdleModel(CallCenter):
    """Has nothing to do for an hour, but what a command causes ten seconds later."""

    next_at = 3600.0

    def __init__(self) -> None:
        super().__init__(Random(1), lambda at: at, "test")

    def step(self) -> list[ModelEvent]:
        at, self.next_at = self.next_at, 3600.0
        return [ModelEvent(at, "alert", {}, None)]

    def carry_out(
        self, at: float, name: str, payload: dict[str, object], user_id: str
    ) -> tuple[list[ModelEvent], Result]:
        self.next_at = at + 10
        return [], None


def test_what_a_command_schedules_is_not_late() -> None:
    gateway = FakeGateway()
    gateway.simulation = Simulation(gateway.clock, IdleModel(), gateway.publish)
    running = Deferred.fromCoroutine(gateway.simulation.run())
    gateway.advance(20)
    assert gateway.command("agent.state.set", state="available").called
    assert len(gateway.clock.getDelayedCalls()) == 1
    gateway.advance(9)
    assert gateway.accepted == []
    gateway.advance(2)
    assert [round(event.at, 1) for event in gateway.accepted] == [30]
    running.addErrback(lambda failure: failure.trap(CancelledError))
    running.cancel()


def test_a_command_waits_for_events_that_are_published_before() -> None:
    gateway = FakeGateway()
    gateway.run()
    gateway.advance(20)
    gateway.unreachable = True
    while gateway.pending is None:
        gateway.advance(0.05)
    before = len(gateway.accepted)
    asked = gateway.command("agent.state.set", state="away")
    assert not asked.called
    gateway.unreachable = False
    gateway.pending.callback(None)
    assert asked.called
    assert gateway.accepted[before].payload.get("user_id") != DEMO_AGENT.user_id
    assert gateway.accepted[-1].payload["state"] == "away"


def test_a_command_that_fails_publishes_nothing() -> None:
    gateway = FakeGateway()
    gateway.run()
    gateway.advance(20)
    before = len(gateway.accepted)
    assert failure_of(gateway.command("call.hangup", call_id="none")).code.value == "not_found"
    assert failure_of(gateway.command("agent.state.set", seconds_left=0, state="break")).code.value == "timeout"
    assert len(gateway.accepted) == before


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
        line = f"simulating a call center, pid {started.pid}, seed 7, for {endpoint}\n"
        assert started.stderr.readline() == line
        yield started
        started.kill()


def test_the_process_ends_when_its_standard_input_closes(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(10) == 0


def test_the_process_ends_on_sigterm(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) in (0, -signal.SIGTERM)
