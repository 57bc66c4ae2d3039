"""``callcenter-ws help``: prints the same as the option ``--help``."""

from __future__ import annotations

import argparse

from callcenter_ws.cli.arguments import Commands, add_command


def add(commands: Commands) -> None:
    """Add the command."""
    command = add_command(commands, "help", print_help, "print the help text of a command", "callcenter-ws help emit")
    command.add_argument("about", metavar="COMMAND", nargs="*", help="the command (default: all of them)")


def print_help(arguments: argparse.Namespace) -> int:
    """Print the help text of the command that was named."""
    parser: argparse.ArgumentParser = arguments.parser
    try:
        parser.parse_args([*arguments.about, "--help"])
    except SystemExit as end:
        return int(end.code or 0)
    return 0
