"""``callcenter-ws source``: lists the registered sources of events, and releases their names."""

from __future__ import annotations

import argparse
import json
from typing import Any

from callcenter_ws.amp.commands import ForgetSource, ListSources
from callcenter_ws.cli.amp_call import call_amp
from callcenter_ws.cli.arguments import Commands, add_amp, add_command, add_settings
from callcenter_ws.cli.table import table
from callcenter_ws.cli.target import CommandFailed, target_of

_COLUMNS = ("source", "state", "kind", "version", "owner", "tenants", "capabilities")


def add(commands: Commands) -> None:
    """Add the command and its actions."""
    text = "list the daemons that send events under a name, or release a name"
    source = add_command(commands, "source", print_sources, text, "callcenter-ws source list --config gw.toml")
    actions = source.add_subparsers(metavar="ACTION", required=True)
    example = "callcenter-ws source list --config gw.toml --tenant acme"
    listing = add_command(actions, "list", print_sources, "list the sources and their states", example)
    listing.add_argument("--tenant", metavar="ID", help="list those of this tenant only")
    example = "callcenter-ws source forget pbx1 --config gw.toml --tenant acme"
    text = "release the name of a source that is not connected, so that another owner may use it"
    forgetting = add_command(actions, "forget", forget_source, text, example)
    forgetting.add_argument("name", metavar="NAME", help="name of the source")
    text = "release it in this tenant (default: the installation's source of this name, in all tenants)"
    forgetting.add_argument("--tenant", metavar="ID", help=text)
    for command in (listing, forgetting):
        add_settings(command)
        add_amp(command)


def print_sources(arguments: argparse.Namespace) -> int:
    """Print the registered sources of events."""
    target = target_of(arguments, arguments.amp)
    answer = call_amp(arguments, target, ListSources, {"tenant_id": arguments.tenant}, "is the gateway running?")
    try:
        rows = [tuple(_shown(source, name) for name in _COLUMNS) for source in json.loads(answer["sources"])]
    except (LookupError, TypeError, ValueError, RecursionError):
        raise CommandFailed(
            "the gateway answers with a list that this version of callcenter-ws does not know"
        ) from None
    for line in table([_COLUMNS, *rows]):
        print(line)
    if answer["left_out"]:
        print(f"and {answer['left_out']} more")
    return 0


def forget_source(arguments: argparse.Namespace) -> int:
    """Release the name of a source, so that another owner may use it."""
    target = target_of(arguments, arguments.amp)
    values = {"source": arguments.name, "tenant_id": arguments.tenant}
    released: int = call_amp(arguments, target, ForgetSource, values, "it may still be released")["released"]
    if not released:
        where = f"in tenant {arguments.tenant}" if arguments.tenant else "of the installation: give --tenant ID"
        raise CommandFailed(f"there is no source {arguments.name!r} {where}")
    print(f"{arguments.name}: released in {released} tenant{'s' if released > 1 else ''}")
    return 0


def _shown(source: dict[str, Any], name: str) -> str:  # values of several types, see sources.registry.description
    if name == "tenants":
        return ",".join(source["tenants"]) + (",…" if source["tenant_count"] > len(source["tenants"]) else "")
    if name == "capabilities":
        return ",".join(source[name]) or "-"
    return str(source[name]) or "-"
