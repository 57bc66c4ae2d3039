"""A daemon for the tests: calls the methods of the remote EventBroadcaster that it reads from its standard input.

One JSON list a line: a number, the method, its arguments and its keywords. One JSON object a line comes back for
each answer, under the same number, and one for each message that it subscribed to. It ends with its input.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import connectionDone
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.logger import LogLevel, eventAsText, globalLogBeginner
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from callcenter_ws.remote import ClientMessage, EventBroadcaster, Refusal


def say(**facts: Any) -> None:
    print(json.dumps(msgspec.to_builtins(facts)), flush=True)  # noqa: T201 - what the test reads


def hear(message: ClientMessage) -> None:
    say(heard=message)


class Orders(LineOnlyReceiver):
    """Reads what to say."""

    delimiter = b"\n"
    MAX_LENGTH = 2**20

    def __init__(self, broadcaster: EventBroadcaster) -> None:
        self.ended: Deferred[None] = Deferred()
        self._broadcaster = broadcaster

    def lineReceived(self, line: bytes) -> None:
        number, method, arguments, fields = json.loads(line)
        if method == "subscribe":
            arguments = [*arguments, hear]
        called = maybeDeferred(getattr(self._broadcaster, method), *arguments, **fields)
        called.addCallback(lambda result: say(answers=number, result=result))
        called.addErrback(self._refused, number)

    def _refused(self, failure: Failure, number: int) -> None:
        failure.trap(Refusal)
        say(answers=number, refused=failure.value.code, message=failure.value.message)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)


async def live(reactor: Any, endpoint: str, token: str | None, spool: Path | None) -> None:
    broadcaster = EventBroadcaster(endpoint, reactor, token=token, spool=spool)
    broadcaster.startService()
    orders = Orders(broadcaster)
    StandardIO(orders, reactor=reactor)
    await orders.ended
    await broadcaster.stopService()


def complain(event: dict[str, Any]) -> None:
    """What a daemon logs as an error ends the test that reads its output."""
    if event["log_level"] >= LogLevel.error:
        print(eventAsText(event), flush=True)  # noqa: T201 - it is no JSON, so the test fails


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("endpoint")
    parser.add_argument("--token-file", type=Path)
    parser.add_argument("--spool", type=Path)
    options = parser.parse_args(sys.argv[1:])
    secret = None if options.token_file is None else options.token_file.read_text().strip()
    globalLogBeginner.beginLoggingTo([complain], redirectStandardIO=False)
    react(lambda reactor: Deferred.fromCoroutine(live(reactor, options.endpoint, secret, options.spool)))
