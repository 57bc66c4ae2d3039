"""``callcenter-ws bridge``: tools for the person who connects a telephone exchange. Each action is a module."""

from __future__ import annotations

from callcenter_ws.cli.arguments import Commands
from callcenter_ws.cli.bridge import check, record, replay, watch

ACTIONS = (check, watch, record, replay)
"""The modules of the actions, in the order of the help text. Each has a function ``add(actions)``."""


def add(commands: Commands) -> None:
    """Add the command and its actions."""
    text = "try and examine the connection of a telephone exchange"
    bridge = commands.add_parser("bridge", help=text, description=f"{text.capitalize()}.")
    actions = bridge.add_subparsers(dest="action", metavar="ACTION", required=True)
    for module in ACTIONS:
        module.add(actions)
