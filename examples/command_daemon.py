"""Carry out commands of agents and supervisors, at a telephone exchange that exists in this process only.

    python command_daemon.py unix:/run/callcenter-ws/amp.sock /var/lib/dialer/dialer.spool --token-file amp.token

``commands.enabled = true`` must be set at the gateway. Then try:

    callcenter-ws command call.originate destination=100 --tenant acme --wait
    callcenter-ws command call.hangup call_id=... --tenant acme --wait

However often the process is killed and started again, no command is carried out twice, and each has one outcome. That
of a command that was under way is ``outcome_unknown``.
"""

from __future__ import annotations

import argparse
import sys
import uuid
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from callcenter_ws.remote import Command, CommandFailed, EventBroadcaster

TENANT = "acme"


# Begin of the example in the manual
class Exchange:
    """Calls that are answered at once, and agents.

    A function publishes what has happened, and returns when the exchange has confirmed it. So clients
    receive the event first, and then the outcome.
    """

    def __init__(self, reactor: Any, gateway: EventBroadcaster, seconds: float) -> None:
        self._reactor = reactor
        self._gateway = gateway
        self._seconds = seconds
        self._calls: set[str] = set()
        gateway.on_command("agent.state.set", self.set_state)
        gateway.on_command("call.originate", self.originate)
        gateway.on_command("call.hangup", self.hang_up)

    async def originate(self, command: Command) -> dict[str, str]:
        """Call a destination. The gateway has checked who may do that, and the form of the destination."""
        destination = command.payload["destination"]
        if len(self._calls) >= 100:
            raise CommandFailed("busy", "all lines are in use")
        await self._confirmed(command)
        call_id = uuid.uuid4().hex
        self._calls.add(call_id)
        self._gateway.call_incoming(TENANT, call_id, command.user_id, destination, direction="outbound")
        self._gateway.call_answered(TENANT, call_id, command.user_id)
        return {"call_id": call_id}

    async def hang_up(self, command: Command) -> None:
        """End a call."""
        call_id = command.payload["call_id"]
        if call_id not in self._calls:
            raise CommandFailed("not_found", "this call has ended")
        await self._confirmed(command)
        self._calls.discard(call_id)
        self._gateway.call_ended(TENANT, call_id, 10)

    async def set_state(self, command: Command) -> None:
        """Set the state of the agent who asks, or of the one who is named."""
        user_id = command.payload.get("user_id", command.user_id)
        await self._confirmed(command)
        self._gateway.agent_state_change(TENANT, user_id, user_id, command.payload["state"])

    async def _confirmed(self, command: Command) -> None:
        """Wait for the exchange, but no longer than the person who asked is going to wait."""
        print(f"begun {command.name} {command.command_id} of {command.user_id}", flush=True)
        if self._seconds > command.seconds_left:
            # It may be carried out later, or not: only the exchange's events tell.
            raise CommandFailed("outcome_unknown", "the exchange does not answer; look at the call")
        await deferLater(self._reactor, self._seconds)


# End of the example in the manual


def main(reactor: Any, *arguments: str) -> Deferred[None]:
    """Carry out commands until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoint")
    parser.add_argument("spool", type=Path)
    parser.add_argument("--token-file", type=Path)
    parser.add_argument("--source", default="exchange", help="default: exchange")
    parser.add_argument("--seconds", type=float, default=0.1, help="how long the exchange needs for a command")
    options = parser.parse_args(arguments)
    token = options.token_file and options.token_file.read_text().strip()
    gateway = EventBroadcaster(
        options.endpoint,
        reactor,
        token=token,
        source=options.source,
        tenants=[TENANT],
        spool=options.spool,
        state_changed=lambda state, reason: print(state, reason, flush=True),
    )
    Exchange(reactor, gateway, options.seconds)
    gateway.startService()
    reactor.addSystemEventTrigger("before", "shutdown", gateway.stopService)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
