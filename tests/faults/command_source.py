"""A source for the fault tests of commands: writes down what it carries out, and answers soon, late or never.

It appends a line to a file before it carries a command out and before it answers, so that what was done is known also
if the process is killed the moment after. It publishes calls of its agents meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from pathlib import Path
from typing import Any

from command_evidence import EFFECT
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.logger import LogLevel, eventAsText, globalLogBeginner
from twisted.python.failure import Failure

from callcenter_ws.errors import ErrorCode
from callcenter_ws.remote import Command, CommandFailed, EventBroadcaster, LinkState

NAMES = (
    *("agent.state.set", "queue.member.pause", "queue.member.unpause", "queue.member.add"),
    *("call.hold", "call.unhold", "call.hangup"),
)
CALLS_PER_AGENT = 2
MAX_WAITING = 300
PLANTED = "planted"
"""In the log line of each error that is meant to happen."""

MANNERS = {"soon": 60, "slowly": 16, "late": 5, "never": 5, "rejects": 8, "fails": 6}
"""How often a command is treated in which way, in percent."""


def write(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)  # noqa: T201 - the test reads it


class Executions:
    """The file to which each execution is written before it is answered."""

    def __init__(self, path: Path, source: str) -> None:
        self._source = source
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, command: Command) -> None:
        line = {
            "tenant": command.tenant_id,
            "command_id": command.command_id,
            "name": command.name,
            "fields": json.dumps(command.payload, sort_keys=True),
            "source": self._source,
            "at": time.time(),
            "deadline": command.deadline,
        }
        os.write(self._file, json.dumps(line).encode() + b"\n")


class CommandSource:
    """An exchange with agents and their calls."""

    def __init__(self, reactor: Any, options: argparse.Namespace) -> None:
        self._reactor = reactor
        self._name = options.name
        self._process = options.process
        self._rng = random.Random(f"{options.name} {options.process} {options.seed}")
        self._tenants = options.tenants.split(",")
        self._agents = options.agents.split(",")
        self._executions = Executions(options.executions, options.name)
        self._calls: dict[str, tuple[str, str]] = {}
        self._number = 0
        self.remote = EventBroadcaster(
            options.endpoint,
            reactor,
            spool=options.spool,
            source=options.name,
            tenants=self._tenants,
            state_changed=self._state_changed,
        )
        for name in NAMES:
            self.remote.on_command(name, self._carry_out)

    def _state_changed(self, state: LinkState, reason: str) -> None:
        write(state=state, reason=reason)

    # Agents and their calls

    def begin(self) -> None:
        """Log the agents in; the calls of an earlier process have ended."""
        for tenant in self._tenants:
            self._send(self.remote.sync_state(tenant, "calls", []))
            for agent in self._agents:
                self._send(self.remote.agent_login(tenant, agent, agent))

    def ring(self) -> None:
        """Have an agent answer a call, unless all have enough, or the process is being stopped."""
        if not self.remote.running or self.remote.unacknowledged >= MAX_WAITING:
            return
        tenant, agent = self._rng.choice(self._tenants), self._rng.choice(self._agents)
        if list(self._calls.values()).count((tenant, agent)) >= CALLS_PER_AGENT:
            return
        self._number += 1
        call = f"{self._name}-{self._process}-{self._number}"
        self._calls[call] = (tenant, agent)
        self._send(self.remote.call_incoming(tenant, call, "+4930123", "100", call_id=call))
        self._send(self.remote.call_answered(tenant, call, agent, call_id=call))

    def _send(self, answer: Deferred[Any]) -> None:
        answer.addErrback(self._refused)

    def _refused(self, failure: Failure) -> None:
        if self.remote.running or failure.value.code is not ErrorCode.UNAVAILABLE:
            write(refused=str(failure.value))

    # Commands

    async def _carry_out(self, command: Command) -> dict[str, Any]:
        manner = self._rng.choices(list(MANNERS), list(MANNERS.values()))[0]
        if manner == "rejects":
            raise CommandFailed("rejected", "the exchange does not want to")
        if manner == "fails":
            raise RuntimeError(PLANTED)
        self._executions.add(command)
        self._apply(command)
        self._send(self.remote.send_alert(command.tenant_id, EFFECT + command.command_id, manner))
        if manner == "slowly":
            await deferLater(self._reactor, self._rng.uniform(0, 1.5))
        elif manner == "late":
            await deferLater(self._reactor, command.seconds_left + self._rng.uniform(0, 4))
        elif manner == "never":
            await deferLater(self._reactor, 30)
        return {"manner": manner}

    def _apply(self, command: Command) -> None:
        tenant, call = command.tenant_id, command.payload.get("call_id", "")
        if command.name == "agent.state.set":
            user = command.payload.get("user_id", command.user_id)
            self._send(self.remote.agent_state_change(tenant, user, user, command.payload["state"]))
        elif command.name == "call.hangup":
            self._calls.pop(call, None)
            self._send(self.remote.call_ended(tenant, call, 1, call_id=call))
        elif command.name in ("call.hold", "call.unhold") and call in self._calls:
            self._send(self.remote.publish(tenant, command.name, {"unique_id": call, "call_id": call}))


def write_error(event: dict[str, Any]) -> None:
    if event["log_level"] >= LogLevel.error:
        text = eventAsText(event)
        if PLANTED not in text:
            write(error=text)


async def drain(reactor: Any, remote: EventBroadcaster) -> None:
    """Wait until everything is acknowledged, and stop."""
    while remote.unacknowledged:
        await deferLater(reactor, 0.05)
    await remote.stopService()


def main(reactor: Any) -> Deferred[None]:
    parser = argparse.ArgumentParser()
    parser.add_argument("endpoint")
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--executions", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--tenants", required=True)
    parser.add_argument("--agents", required=True)
    parser.add_argument("--process", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--drain", action="store_true", help="send what is in the spool, and end")
    source = CommandSource(reactor, options := parser.parse_args())
    globalLogBeginner.beginLoggingTo([write_error], redirectStandardIO=False)
    source.remote.startService()
    reactor.addSystemEventTrigger("before", "shutdown", source.remote.stopService)
    if options.drain:
        return Deferred.fromCoroutine(drain(reactor, source.remote))
    source.begin()
    LoopingCall(source.ring).start(0.05)
    return Deferred()


if __name__ == "__main__":
    react(main)
