"""``callcenter-ws bridge replay``: prints the events that a bridge makes of captures."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from callcenter_ws.bridge.asterisk.capture import Capture, NotACapture
from callcenter_ws.bridge.asterisk.replay import Replay
from callcenter_ws.bridge.laws import LawChecker
from callcenter_ws.bridge.outgoing import BridgeEvent
from callcenter_ws.cli.arguments import Commands, add_command
from callcenter_ws.cli.bridge.captures import read_capture
from callcenter_ws.cli.bridge.settings import add_source, source_of
from callcenter_ws.cli.printable import printable
from callcenter_ws.cli.target import CommandFailed
from callcenter_ws.runtime.json import JsonObject, encode_json, rfc3339

_SHOWN_BREACHES = 100


def add(actions: Commands) -> None:
    """Add the action."""
    text = "print the events that a bridge makes of what an exchange sent, a line of JSON each; needs no gateway"
    example = "callcenter-ws bridge replay --config bridge.toml --source pbx1 --check monday.txt"
    command = add_command(actions, "replay", replay, text, example)
    add_source(command)
    text = "check that the events keep the laws of calls, queues and agents; exit with status 1 if not"
    command.add_argument("--check", action="store_true", help=text)
    text = "what the exchange sent; NAME.times and NAME.sent beside NAME.txt are read as well"
    command.add_argument(
        "captures", metavar="FILE", type=Path, nargs="+", help=f"{text}; several: one bridge reconnects"
    )


def replay(arguments: argparse.Namespace) -> int:
    """Print the events of captures; return 1 if they are checked and break a law."""
    settings = source_of(arguments, offline=True)
    # All are read before the first event is printed.
    captures = [(path, read_capture(path)) for path in arguments.captures]
    player, checker = Replay(settings), LawChecker()
    count = 0
    for event in _events(player, captures):
        print(encode_json(printed(event)).decode())
        count += 1
        if arguments.check:
            checker.check(event)
    if not arguments.check:
        return 0
    checker.finish()
    sys.stdout.flush()
    for line in _verdict(checker, count):
        print(line, file=sys.stderr)
    return 1 if checker.breaches else 0


def _events(player: Replay, captures: Sequence[tuple[Path, Capture]]) -> Iterator[BridgeEvent]:
    for path, capture in captures:
        try:
            for unit in player.play(capture):
                yield from unit.events
        except NotACapture as error:
            raise CommandFailed(f"{path}: is not a capture of the manager interface: {error}") from None
        for note in player.notes:
            print(f"{path}: {printable(note)}", file=sys.stderr)
    for unit in player.finish():
        yield from unit.events


def printed(event: BridgeEvent) -> JsonObject:
    """Return an event as it is printed: as a client receives it, with its tenant."""
    shown = {
        "type": event.type,
        "tenant_id": event.tenant_id,
        "timestamp": rfc3339(event.time),
        "event_id": event.event_id,
        "payload": event.payload,
    }
    return shown if event.user_id is None else {**shown, "user_id": event.user_id}


def _verdict(checker: LawChecker, count: int) -> Iterator[str]:
    breaches = checker.breaches
    for breach in breaches[:_SHOWN_BREACHES]:
        yield f"broken law: {printable(str(breach))}"
    if len(breaches) > _SHOWN_BREACHES:
        yield f"and {len(breaches) - _SHOWN_BREACHES} more"
    if not breaches:
        yield f"OK: {count} events keep the laws"
