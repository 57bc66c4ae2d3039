"""``callcenter-ws pair``: lets a screen that shows a code sign in."""

from __future__ import annotations

import argparse
import json

from callcenter_ws.amp.commands import ApprovePairing
from callcenter_ws.auth.page_tokens import PAGE_ROLES
from callcenter_ws.auth.pairing_codes import read_code
from callcenter_ws.cli.amp_call import call_amp
from callcenter_ws.cli.arguments import Commands, add_amp, add_command, add_settings, names
from callcenter_ws.cli.target import CommandFailed, target_of, tenant_of
from callcenter_ws.events.principal import Role

ROLES = [role for role in PAGE_ROLES if role is not Role.ADMIN]
"""The roles of a screen: not ``admin``, because anyone who passes by may reach its keyboard."""


def add(commands: Commands) -> None:
    """Add the command."""
    text = "let the screen that shows a code sign in"
    example = "callcenter-ws pair K7QX-2M4P --tenant acme --queues sales,support --name 'Hall, ground floor'"
    command = add_command(commands, "pair", pair, text, example)
    command.add_argument("code", metavar="CODE", help="code on the screen, in upper or lower case")
    command.add_argument("--tenant", metavar="ID", help="tenant that the screen shows")
    command.add_argument("--role", choices=ROLES, default=Role.WALLBOARD, help="what it may see (default: wallboard)")
    command.add_argument("--queues", metavar="A,B", type=names, help="the only queues that it may see")
    command.add_argument("--name", metavar="TEXT", help="name of the screen, for the list of sessions")
    add_settings(command)
    add_amp(command)


def pair(arguments: argparse.Namespace) -> int:
    """Let a screen sign in."""
    if read_code(arguments.code) is None:
        raise CommandFailed("this is no code of a screen: it has eight letters and digits, as K7QX-2M4P")
    target = target_of(arguments, arguments.amp)
    queues = arguments.queues
    values = {
        "code": arguments.code,
        "tenant_id": tenant_of(arguments, target),
        "role": arguments.role,
        "queues": None if queues is None else json.dumps(queues).encode(),
        "name": arguments.name,
    }
    network = call_amp(arguments, target, ApprovePairing, values, "it may still be paired")["network"]
    print(f"paired: the screen signs in to tenant {values['tenant_id']} as {arguments.role} within some seconds")
    print(f"It is at {network}. If yours is not there, end its session: callcenter-ws user sign-out --session ID")
    return 0
