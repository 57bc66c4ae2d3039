"""``callcenter-ws token``: prints a signed token, for tests."""

from __future__ import annotations

import argparse
from pathlib import Path

from callcenter_ws.cli.arguments import Commands, add_command, add_settings, names, positive
from callcenter_ws.cli.target import CommandFailed, Target, target_of, tenant_of
from callcenter_ws.events.principal import EVERY_TENANT, Role


def add(commands: Commands) -> None:
    """Add the command."""
    example = "callcenter-ws token --config gw.toml --tenant acme --user 1001 --role supervisor --ttl 600"
    command = add_command(commands, "token", print_token, "print a signed token, for tests", example)
    add_settings(command)
    command.add_argument("--secret-file", metavar="FILE", type=Path, help="sign with this secret (HS256)")
    command.add_argument("--tenant", metavar="ID", help="tenant; * for all tenants, with the roles admin and service")
    command.add_argument("--user", metavar="ID", help="user (default: test-ROLE)")
    roles = [role.value for role in Role]
    command.add_argument("--role", choices=roles, default=Role.AGENT.value, help="role (default: agent)")
    command.add_argument("--name", help="display name")
    command.add_argument("--queues", metavar="A,B", type=names, help="restrict the token to these queues")
    command.add_argument("--session", metavar="ID", help="a visitor's chat session")
    command.add_argument(
        "--ttl", metavar="SECONDS", type=positive, default=3_600, help="lifetime of the token (default: 3600)"
    )


def print_token(arguments: argparse.Namespace) -> int:
    """Print a signed token, for tests."""
    target = Target(secret_file=arguments.secret_file) if arguments.secret_file else target_of(arguments)
    tenant = tenant_of(arguments, target)
    if tenant == EVERY_TENANT and arguments.role not in (Role.ADMIN, Role.SERVICE):
        raise CommandFailed(
            f"the tenant {EVERY_TENANT} is for the roles admin and service only, not for {arguments.role}"
        )
    if arguments.role == Role.VISITOR and not arguments.session:
        raise CommandFailed("a visitor needs a chat session: give --session ID")
    claims = {
        "sub": arguments.user or f"test-{arguments.role}",
        "tenant_id": tenant,
        "role": arguments.role,
        "name": arguments.name,
        "queues": arguments.queues,
        "session_id": arguments.session,
    }
    print(target.token({name: value for name, value in claims.items() if value is not None}, arguments.ttl))
    return 0
