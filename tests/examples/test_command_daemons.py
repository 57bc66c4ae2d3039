"""The examples that carry out commands, in processes of their own, at a gateway of this process.

``legacy_commands.py`` runs on Python 3 and, where it is installed, on Python 2.7.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest_twisted
from amp_doubles import LoopbackGateway, until
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import ProcessProtocol

from callcenter_ws.amp.commands import Command
from callcenter_ws.events.commands import CommandRecord, CommandState, OutcomeCode
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.testing import run as result_of

EXAMPLES = Path(__file__).parents[2] / "examples"
DESK = Principal("acme", "desk", Role.SERVICE)


class Daemon(ProcessProtocol):
    """A process that runs an example.

    Attributes:
        output: what it has printed.
    """

    def __init__(self, python: str, *arguments: str) -> None:
        self.output = ""
        self.is_over = False
        reactor.spawnProcess(self, python, [python, *arguments], env=None)

    def childDataReceived(self, descriptor: int, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self.output += data.decode()

    def processEnded(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        self.is_over = True

    async def kill(self) -> None:
        if not self.is_over:
            self.transport.signalProcess(signal.SIGKILL)
        await until(reactor, lambda: self.is_over)

    async def prints(self, text: str) -> None:
        await until(reactor, lambda: text in self.output or self.is_over)
        assert text in self.output, self.output


@pytest_twisted.async_yield_fixture
async def run(gateway: LoopbackGateway) -> AsyncIterator[Callable[..., Daemon]]:
    started: list[Daemon] = []

    def start(*arguments: str) -> Daemon:
        started.append(Daemon(*arguments))
        return started[-1]

    gateway.sources.start()
    yield start
    for daemon in started:
        await daemon.kill()
    await gateway.commands.stop()
    gateway.sources.stop()


async def ask(gateway: LoopbackGateway, command_id: str, name: str, **fields: Any) -> None:
    """Issue a command; the source is connected."""
    await gateway.commands.issue(DESK, {"name": name, "command_id": command_id, **fields})


def record_of(gateway: LoopbackGateway, command_id: str) -> CommandRecord:
    record = result_of(gateway.commands.command(DESK, command_id))
    assert record is not None
    return record


async def outcome(gateway: LoopbackGateway, command_id: str) -> CommandRecord:
    """Return a command when it is closed."""
    await until(reactor, lambda: not record_of(gateway, command_id).state.is_open)
    return record_of(gateway, command_id)


def events(gateway: LoopbackGateway) -> list[str]:
    types = [one.event.type.name for one in gateway.delivered]
    return [name for name in types if not name.startswith("source.")]


@pytest_twisted.ensureDeferred
async def test_the_example_carries_out_commands(
    gateway: LoopbackGateway, run: Callable[..., Daemon], tmp_path: Path
) -> None:
    arguments = [f"unix:{tmp_path}/amp.sock", str(tmp_path / "spool")]
    daemon = run(sys.executable, str(EXAMPLES / "command_daemon.py"), *arguments, "--seconds", "0")
    await daemon.prints("connected")
    await ask(gateway, "c1", "call.originate", destination="100")
    originated = await outcome(gateway, "c1")
    assert originated.state is CommandState.DONE
    assert originated.data is not None
    call_id = json.loads(originated.data)["call_id"]
    await ask(gateway, "c2", "call.hangup", call_id=call_id)
    assert (await outcome(gateway, "c2")).state is CommandState.DONE
    assert events(gateway) == [
        *("call.incoming", "call.answered", "command.done", "command.executed"),
        *("call.ended", "command.done", "command.executed"),
    ]
    await daemon.kill()


@pytest_twisted.ensureDeferred
async def test_a_killed_example_tells_that_the_outcome_is_not_known(
    gateway: LoopbackGateway, run: Callable[..., Daemon], tmp_path: Path
) -> None:
    arguments = [str(EXAMPLES / "command_daemon.py"), f"unix:{tmp_path}/amp.sock", str(tmp_path / "spool")]
    daemon = run(sys.executable, *arguments, "--seconds", "30")
    await daemon.prints("connected")
    await ask(gateway, "c1", "call.originate", destination="100")
    await daemon.prints("begun call.originate c1 of desk")
    await daemon.kill()
    assert record_of(gateway, "c1").state is CommandState.DISPATCHED
    daemon = run(sys.executable, *arguments, "--seconds", "0")
    unknown = await outcome(gateway, "c1")
    assert (unknown.state, unknown.code) == (CommandState.FAILED, OutcomeCode.OUTCOME_UNKNOWN)
    assert unknown.message == "the source was restarted meanwhile; it is not known whether this was done: look at it"
    assert "begun" not in daemon.output
    assert events(gateway) == ["command.failed", "command.executed"]


@pytest_twisted.ensureDeferred
async def test_the_legacy_example_carries_out_commands(
    gateway: LoopbackGateway, run: Callable[..., Daemon], python: str, tmp_path: Path
) -> None:
    state = tmp_path / "commands.json"
    script = [str(EXAMPLES / "legacy_commands.py"), f"unix:{tmp_path}/amp.sock", "--state", str(state)]
    daemon = run(python, *script, "--seconds", "0")
    await daemon.prints("connected")
    await ask(gateway, "c1", "agent.state.set", state="available", user_id="Zoé")
    done = await outcome(gateway, "c1")
    assert (done.state, done.data) == (CommandState.DONE, b'{"previous_state":"unknown"}')
    assert events(gateway) == ["agent.state.changed", "command.done", "command.executed"]
    assert json.loads(gateway.delivered[-3].event.payload)["user_id"] == "Zoé"
    await ask(gateway, "c2", "agent.state.set", state="break", user_id="8")
    assert (await outcome(gateway, "c2")).state is CommandState.DONE
    await until(reactor, lambda: json.loads(state.read_text())["waiting"] == [])
    kept = json.loads(state.read_text())
    assert [(entry["key"], entry["open"]) for entry in kept["taken"]] == [
        (["acme", "desk", "c1"], False),
        (["acme", "desk", "c2"], False),
    ]
    assert kept["number"] == 4


@pytest_twisted.ensureDeferred
async def test_a_killed_legacy_example_does_not_begin_again(
    gateway: LoopbackGateway, run: Callable[..., Daemon], python: str, tmp_path: Path
) -> None:
    state = tmp_path / "commands.json"
    script = [str(EXAMPLES / "legacy_commands.py"), f"unix:{tmp_path}/amp.sock", "--state", str(state)]
    daemon = run(python, *script, "--seconds", "600")
    await daemon.prints("connected")
    await ask(gateway, "c1", "agent.state.set", state="break", user_id="7")
    await daemon.prints("set break of 7")
    await daemon.kill()
    daemon = run(python, *script, "--seconds", "0")
    unknown = await outcome(gateway, "c1")
    assert (unknown.state, unknown.code) == (CommandState.FAILED, OutcomeCode.OUTCOME_UNKNOWN)
    await daemon.prints("CommandOutcome c1")
    await ask(gateway, "c2", "agent.state.set", state="away", user_id="7")
    assert (await outcome(gateway, "c2")).state is CommandState.DONE
    assert "set break" not in daemon.output


@pytest_twisted.ensureDeferred
async def test_the_legacy_example_begins_nothing_late_and_nothing_twice(
    gateway: LoopbackGateway, run: Callable[..., Daemon], python: str, tmp_path: Path
) -> None:
    script = [str(EXAMPLES / "legacy_commands.py"), f"unix:{tmp_path}/amp.sock", "--state", str(tmp_path / "s.json")]
    daemon = run(python, *script, "--seconds", "0")
    await daemon.prints("connected")

    def send(command_id: str, seconds: float) -> Deferred[Any]:
        (session,) = gateway.factory.sessions
        return session.callRemote(
            Command,
            command_id=command_id,
            tenant_id="acme",
            name="agent.state.set",
            payload=b'{"state":"away"}',
            user_id=command_id,
            role="agent",
            deadline_ms=int((time.time() + seconds) * 1_000),
        )

    await send("late", -0.5)
    await daemon.prints("CommandOutcome late")
    await gatherResults([send("twice", 60) for _ in range(2)])
    await daemon.prints("CommandOutcome twice")
    await send("twice", 60)
    await send("last", 60)
    await daemon.prints("CommandOutcome last")
    gateway.factory.abort()
    await until(reactor, lambda: daemon.output.count("connected") == 2)
    await send("twice", 60)
    await send("again", 60)
    await daemon.prints("CommandOutcome again")
    assert daemon.output.splitlines() == [
        *("connected", "CommandOutcome late"),
        *("set away of twice", "PublishEvent agent.state.changed", "CommandOutcome twice"),
        *("set away of last", "PublishEvent agent.state.changed", "CommandOutcome last"),
        *("connected", "set away of again", "PublishEvent agent.state.changed", "CommandOutcome again"),
    ]
