"""The ``callcenter-ws`` command, for operators and developers. Each command is a module of this package."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from callcenter_ws.cli import (
    calls,
    check_config,
    check_token,
    command,
    completion,
    control,
    emit,
    events,
    export,
    help,
    pair,
    source,
    statistics,
    stats,
    store,
    tail,
    token,
    user,
    users,
    version,
)
from callcenter_ws.cli.arguments import Parser
from callcenter_ws.cli.bridge import command as bridge
from callcenter_ws.cli.printable import printable
from callcenter_ws.cli.target import CommandFailed
from callcenter_ws.demo.state import DemoUnavailable

COMMANDS = (
    check_config,
    token,
    check_token,
    events,
    emit,
    tail,
    users,
    user,
    pair,
    source,
    stats,
    statistics,
    calls,
    store,
    export,
    command,
    control,
    bridge,
    completion,
    help,
    version,
)
"""The modules of the commands, in the order of the help text. Each has a function ``add(commands)``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status: 0 success, 1 failure, 2 invalid arguments, 130 interrupted."""
    try:
        arguments = make_parser().parse_args(argv)
    except SystemExit as end:
        return int(end.code or 0)
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except (CommandFailed, DemoUnavailable) as failure:
        # The reason may repeat what a gateway has answered.
        reason = printable(str(failure), keep="\n")
        print(f"callcenter-ws {arguments.command}: {reason}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of the output has ended, as in "callcenter-ws tail | head". Without this Python logs an error at
        # exit, when it flushes the standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return status


def make_parser() -> argparse.ArgumentParser:
    """Return the parser with all commands."""
    parser = Parser(
        prog="callcenter-ws",
        description="Work with a callcenter-ws gateway. The gateway itself is started with:\n"
        "  twistd -n --pidfile= callcenter-ws --config FILE",
        epilog="Without --config, the commands that need a gateway use the demo that\nthis user started last.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version.versions(), help="print the versions")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    parser.set_defaults(parser=parser)
    for module in COMMANDS:
        module.add(commands)
    return parser
