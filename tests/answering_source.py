"""A source for tests, as a process: it tells which commands it has taken, and answers them when the test says so."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from processes import Process
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from callcenter_ws.remote import Command, CommandFailed, EventBroadcaster

NAMES = ("agent.state.set", "call.originate")


class AnsweringSource:
    """The process, from the side of the test.

    Args:
        amp_path: the unix socket of the gateway.
        names: the commands that it declares.
    """

    def __init__(self, amp_path: Path, names: Sequence[str] = NAMES) -> None:
        self._process = Process([sys.executable, __file__, str(amp_path), *names])
        while json.loads(self._process.next_line()).get("state") != "connected":
            pass

    def taken(self) -> dict[str, Any]:
        """Return the next command that the source has taken: its fields."""
        while "command_id" not in (line := json.loads(self._process.next_line())):
            pass
        found: dict[str, Any] = line
        return found

    def answer(self, command_id: str, code: str = "", **data: Any) -> None:
        """Have a command end: done with data, or failed with a code."""
        assert self._process.process.stdin is not None
        self._process.process.stdin.write(json.dumps([command_id, code, data]) + "\n")
        self._process.process.stdin.flush()

    def close(self) -> None:
        """End the process."""
        self._process.stop()


# The process


def write(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)  # noqa: T201 - the test reads it


class Answers(LineOnlyReceiver):
    """Reads how commands end."""

    delimiter = b"\n"

    def __init__(self, broadcaster: EventBroadcaster, names: Sequence[str]) -> None:
        self.ended: Deferred[None] = Deferred()
        self._open: dict[str, Deferred[dict[str, Any]]] = {}
        for name in names:
            broadcaster.on_command(name, self._carry_out)

    async def _carry_out(self, command: Command) -> dict[str, Any]:
        self._open[command.command_id] = answer = Deferred()
        write(command_id=command.command_id, name=command.name, user_id=command.user_id, payload=dict(command.payload))
        return await answer

    def lineReceived(self, line: bytes) -> None:
        command_id, code, data = json.loads(line)
        answer = self._open.pop(command_id)
        if code:
            answer.errback(CommandFailed(code, "as the test says"))
        else:
            answer.callback(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)


async def serve(reactor: Any, path: str, *names: str) -> None:
    broadcaster = EventBroadcaster(
        f"unix:{path}",
        reactor,
        source="pbx1",
        tenants=["acme"],
        state_changed=lambda state, reason: write(state=state.value),
    )
    answers = Answers(broadcaster, names)
    broadcaster.startService()
    StandardIO(answers, reactor=reactor)
    await answers.ended
    await broadcaster.stopService()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(serve(reactor, *sys.argv[1:])))
