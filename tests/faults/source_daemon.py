"""A source for the fault tests: publishes numbered alerts as fast as they are taken, until it is killed.

Prints the number of each alert that the gateway has acknowledged. Whenever the link is lost, it gives the events that
it keeps new ids, as if the gateway had forgotten the old ones: only ``source_seq`` can then show a duplicate.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.logger import LogLevel, eventAsText, globalLogBeginner
from twisted.python.failure import Failure

from callcenter_ws.remote import EventBroadcaster, LinkState, Refusal

MAX_WAITING = 300
EVENTS_PER_TURN = 1


def write(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)  # noqa: T201 - the test reads it


class Source:
    """Publishes alerts of random tenants, with growing numbers in their titles."""

    def __init__(self, reactor: Any, options: argparse.Namespace) -> None:
        self._tenants = options.tenants.split(",")
        self._name = options.name
        self._number = options.first
        self._rng = random.Random(options.first)
        self._renamed = 0
        self.remote = EventBroadcaster(
            options.endpoint,
            reactor,
            spool=options.spool,
            source=options.name,
            tenants=self._tenants,
            state_changed=self._state_changed,
        )

    def _state_changed(self, state: LinkState, reason: str) -> None:
        write(state=state, reason=reason)
        if state is LinkState.UNREACHABLE:
            self._renamed += 1
            for event in self.remote._buffer._queue:
                event.fields["event_id"] = f"{event.fields['event_id'][:40]}~{self._renamed}"

    def publish(self) -> None:
        """Publish a few alerts, unless many wait for their acknowledgements."""
        for _ in range(EVENTS_PER_TURN):
            if self.remote.unacknowledged >= MAX_WAITING:
                return
            number, self._number = self._number, self._number + 1
            size = self._rng.choices((1, 10, 1_000, 70_000), (50, 50, 20, 1))[0]
            answer = self.remote.send_alert(self._rng.choice(self._tenants), f"{self._name}:{number}", "x" * size)
            answer.addCallbacks(self._published, self._refused, [number], errbackArgs=[number])

    def _published(self, result: object, number: int) -> None:
        write(acknowledged=number)

    def _refused(self, failure: Failure, number: int) -> None:
        failure.trap(Refusal)
        write(refused=number, reason=failure.value.message)


def write_error(event: dict[str, Any]) -> None:
    if event["log_level"] >= LogLevel.error:
        write(error=eventAsText(event))


async def drain(reactor: Any, remote: EventBroadcaster) -> None:
    """Wait until everything is acknowledged, and stop."""
    while remote.unacknowledged:
        await deferLater(reactor, 0.05)
    await remote.stopService()


def main(reactor: Any) -> Deferred[None]:
    parser = argparse.ArgumentParser()
    parser.add_argument("endpoint")
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--tenants", required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--drain", action="store_true", help="send what is in the spool, and end")
    options = parser.parse_args()
    source = Source(reactor, options)
    globalLogBeginner.beginLoggingTo([write_error], redirectStandardIO=False)
    source.remote.startService()
    if options.drain:
        return Deferred.fromCoroutine(drain(reactor, source.remote))
    LoopingCall(source.publish).start(0.03)
    return Deferred()


if __name__ == "__main__":
    react(main)
