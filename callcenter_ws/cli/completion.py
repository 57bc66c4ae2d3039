"""``callcenter-ws completion``: prints the script with which a shell completes commands, options and their values."""

from __future__ import annotations

import argparse

from callcenter_ws.cli.arguments import Commands, add_command
from callcenter_ws.cli.described import all_actions
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.commands import COMMANDS

SHELLS = ("bash", "zsh", "fish")

_FILES = frozenset({"FILE", "PATH", "COPY"})
"""The metavars of arguments that name files."""

FIELDS = sorted({f"{field}=" for command in COMMANDS.values() for field in command.payload.__struct_fields__})
"""What is offered for a field of a command of agents."""


def add(commands: Commands) -> None:
    """Add the command."""
    text = "print the script with which a shell completes this command"
    example = "callcenter-ws completion bash | sudo tee /etc/bash_completion.d/callcenter-ws >/dev/null"
    command = add_command(commands, "completion", print_script, text, example)
    command.add_argument("shell", choices=SHELLS, help="the shell")


def print_script(arguments: argparse.Namespace) -> int:
    """Print the script for a shell. The parser, which is changed for it, must not be used any more."""
    import shtab  # no other command needs it

    for action in all_actions(arguments.parser):
        if action.metavar in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # read by shtab
        elif action.metavar == "TYPE" or action.dest == "events":
            action.choices = list(CATALOGUE)
        elif action.metavar == "FIELD=VALUE":
            action.choices = FIELDS
    print(shtab.complete(arguments.parser, arguments.shell))
    return 0
