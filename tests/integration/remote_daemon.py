"""A daemon for tests: calls methods of the remote EventBroadcaster, which it reads from its standard input.

Each line of the input is a JSON list: a number, the name of the method, its positional arguments and its keyword
arguments. Each line of the output is a JSON object: the result of a call, with its number, or an event that the daemon
has subscribed to. The process ends with its input.
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


def write(**fields: Any) -> None:
    print(json.dumps(msgspec.to_builtins(fields)), flush=True)  # noqa: T201 - the test reads it


def write_message(message: ClientMessage) -> None:
    write(message=message)


class MethodCaller(LineOnlyReceiver):
    """Calls the methods that it receives."""

    delimiter = b"\n"
    MAX_LENGTH = 2**20

    def __init__(self, broadcaster: EventBroadcaster) -> None:
        self.ended: Deferred[None] = Deferred()
        self._broadcaster = broadcaster

    def lineReceived(self, line: bytes) -> None:
        number, method, arguments, fields = json.loads(line)
        if method == "subscribe":
            arguments = [*arguments, write_message]
        called = maybeDeferred(getattr(self._broadcaster, method), *arguments, **fields)
        called.addCallback(lambda result: write(call=number, result=result))
        called.addErrback(self._refused, number)

    def _refused(self, failure: Failure, number: int) -> None:
        failure.trap(Refusal)
        write(call=number, refused=failure.value.code, reason=failure.value.message)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)


async def serve(reactor: Any, endpoint: str, token: str | None, spool: Path | None, source: str | None) -> None:
    tenants = None if source is None else ["acme"]
    broadcaster = EventBroadcaster(endpoint, reactor, token=token, spool=spool, source=source, tenants=tenants)
    broadcaster.startService()
    caller = MethodCaller(broadcaster)
    StandardIO(caller, reactor=reactor)
    await caller.ended
    await broadcaster.stopService()


def write_error(event: dict[str, Any]) -> None:
    """Write what is logged as an error: a line that is not JSON fails the test that reads it."""
    if event["log_level"] >= LogLevel.error:
        print(eventAsText(event), flush=True)  # noqa: T201 - the test reads it


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("endpoint")
    parser.add_argument("--token-file", type=Path)
    parser.add_argument("--spool", type=Path)
    parser.add_argument("--source")
    options = parser.parse_args(sys.argv[1:])
    secret = None if options.token_file is None else options.token_file.read_text().strip()
    globalLogBeginner.beginLoggingTo([write_error], redirectStandardIO=False)
    given = (options.endpoint, secret, options.spool, options.source)
    react(lambda reactor: Deferred.fromCoroutine(serve(reactor, *given)))
