"""``callcenter-ws bridge watch``: shows the events of an exchange beside those that are made of them, live."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from callcenter_ws.bridge.asterisk.machine import AsteriskMachine
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.snapshot import AmiSnapshot
from callcenter_ws.bridge.settings import SourceSettings
from callcenter_ws.cli.arguments import Commands, add_command, positive
from callcenter_ws.cli.bridge.live import follow
from callcenter_ws.cli.bridge.replay import printed
from callcenter_ws.cli.bridge.settings import add_source, source_of
from callcenter_ws.cli.in_reactor import run_in_reactor
from callcenter_ws.cli.pretty import Pretty, Terminal
from callcenter_ws.cli.printable import printable

_RARELY_READ = frozenset(
    """
    Privilege Event ChannelStateDesc Language Priority DestChannelStateDesc DestLanguage DestPriority LastCall LastPause
    LoginTime CallsTaken Ringinuse BridgeVideoSourceMode BridgeTechnology BridgeCreator BridgeName
    """.split()  # noqa: SIM905 - a list is easier to read as a text
)
"""Headers that are not shown."""


def add(actions: Commands) -> None:
    """Add the action."""
    text = "show the events of an exchange beside those that a bridge makes of them, live; needs no gateway"
    example = "callcenter-ws bridge watch --config bridge.toml --source pbx1"
    command = add_command(actions, "watch", watch, text, example)
    add_source(command)
    command.add_argument("--all", action="store_true", help="show also the events that no other event is made of")
    text = "end after this time (default: with Ctrl-C)"
    command.add_argument("--seconds", metavar="SECONDS", type=positive, help=text)


def watch(arguments: argparse.Namespace) -> int:
    """Show what passes, until the exchange ends the session; return 1 if it did."""
    source = source_of(arguments)
    watched = Watched(source, Pretty(Terminal.of_output(), time.time), shows_all=arguments.all)
    why = run_in_reactor(lambda reactor: follow(reactor, source, watched, watched, arguments.seconds))
    if why and arguments.seconds is None:
        print(f"{source.name}: {printable(why)}", file=sys.stderr)
        return 1
    return 0


class Watched:
    """A state machine that prints what goes in and what comes out.

    Args:
        shows_all: whether to print also the events of the exchange that it does not use.
    """

    def __init__(self, settings: SourceSettings, pretty: Pretty, *, shows_all: bool) -> None:
        self._machine = AsteriskMachine(settings, {})
        self._pretty = pretty
        self._shows_all = shows_all

    def handle(self, message: AmiMessage, arrived: float) -> None:
        """Translate one event, and print it with what was made of it."""
        wanted = self._machine.wanted
        if self._shows_all or wanted is None or message.name in wanted:
            print(printable(f"{_clock(arrived)} {message.name:22} {' '.join(_shown(message))}"))
        self._machine.handle(message, arrived)
        self._print_events()

    def synchronizing(self, snapshot: AmiSnapshot, arrived: float) -> Iterator[None]:
        """Take the lists, and print how long they are, and what was made of them."""
        lengths = (
            f"{len(snapshot.channels)} channels, {len(snapshot.queues)} queues, {len(snapshot.members)} members, "
            f"{len(snapshot.entries)} waiting callers"
        )
        print(printable(f"{_clock(arrived)} the lists of Asterisk {snapshot.version}: {lengths}"))
        yield from self._machine.synchronizing(snapshot, arrived)
        self._print_events()

    def received(self, data: bytes, now: float) -> None:
        """Take what the exchange sent: nothing to do."""

    def sent(self, data: bytes) -> None:
        """Take what is sent to the exchange: nothing to do."""

    def passed(self, now: float) -> None:
        """Do what is due."""
        self._machine.pass_time(now)
        self._print_events()

    @property
    def is_comparing(self) -> bool:
        """Whether an audit compares."""
        return self._machine.is_comparing

    def compare_next(self) -> None:
        """Take one step of it, and print what it told."""
        self._machine.compare_next()
        self._print_events()

    def _print_events(self) -> None:
        for event in self._machine.take().events:
            for line in self._pretty.lines(printed(event), indent="    → "):
                print(line)
        sys.stdout.flush()


def _clock(now: float) -> str:
    moment = datetime.fromtimestamp(now, UTC)
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1_000:03}"


def _shown(message: AmiMessage) -> Iterator[str]:
    for header, value in message.headers.items():
        if value and header not in _RARELY_READ:
            yield f"{header}={value}" if " " not in value else f'{header}="{value}"'
