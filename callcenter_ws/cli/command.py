"""``callcenter-ws command``: has a source carry out a command, as hanging up a call."""

from __future__ import annotations

import argparse
import json
import uuid
from collections.abc import Sequence

import msgspec

from callcenter_ws.cli.arguments import Commands, add_command
from callcenter_ws.cli.gateway import add_access, gateway_of, hinting_at_demo, token_of
from callcenter_ws.cli.http_request import NoAnswer, post_json, resource_url
from callcenter_ws.cli.printable import printable
from callcenter_ws.cli.target import CommandFailed
from callcenter_ws.events.commands import COMMANDS, GRACE_SECONDS, CommandState, CommandType
from callcenter_ws.events.mistakes import join_mistakes, payload_mistakes
from callcenter_ws.events.principal import Role
from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.runtime.suggestions import did_you_mean


def add(commands: Commands) -> None:
    """Add the command."""
    example = "callcenter-ws command call.hangup call_id=1763840400.17 --tenant acme --wait"
    text = "have a source, as an exchange, carry out a command; prints the gateway's answer as JSON"
    command = add_command(commands, "command", send_command, text, example)
    command.epilog = f"{command.epilog}\n\ncommands and their fields, optional ones in brackets:\n{_usages()}"
    command.add_argument("name", metavar="NAME", choices=list(COMMANDS), help="name of the command, as call.hangup")
    command.add_argument(
        "fields", metavar="FIELD=VALUE", nargs="*", help="a field of the command, as call_id=1763840400.17"
    )
    command.add_argument("--tenant", metavar="ID", help="tenant of the command (default: that of the token)")
    command.add_argument("--wait", action="store_true", help="wait for the outcome; exit with status 1 if it failed")
    command.add_argument(
        "--id",
        metavar="ID",
        help="id of the command; one with an id that was used before is not carried out, but its outcome is printed",
    )
    command.add_argument("--url", help="address of the gateway, such as https://gw.example.com")
    add_access(command)


def _usages() -> str:
    """Return a line for each command, with its fields."""
    lines = []
    for declared in COMMANDS.values():
        fields = msgspec.structs.fields(declared.payload)
        names = [field.name if field.required else f"[{field.name}]" for field in fields]
        lines.append(f"  {declared.name} {' '.join(names)}")
    return "\n".join(lines)


def send_command(arguments: argparse.Namespace) -> int:
    """Send the command, and print the answer or, with ``--wait``, the outcome."""
    declared = COMMANDS[arguments.name]
    command_id: str = arguments.id or uuid.uuid4().hex
    document = {"name": declared.name, "command_id": command_id, **_payload(declared, arguments.fields)}
    target, address = gateway_of(arguments)
    token = token_of(arguments, target, "callcenter-ws command", Role.SERVICE)
    fields = [("tenant_id", arguments.tenant)] if arguments.tenant else []
    url = resource_url(address, "commands", [*fields, ("wait", "1")] if arguments.wait else fields)
    timeout = arguments.timeout + (declared.deadline + GRACE_SECONDS if arguments.wait else 0)
    try:
        with hinting_at_demo(target):
            answer = post_json(url, token, document, timeout)
    except NoAnswer as failure:
        again = f"The same with --wait --id {command_id} prints the outcome"
        raise CommandFailed(f"{failure}; whether it was carried out is not known. {again}") from None
    print(json.dumps(answer))
    if answer.get("state") == CommandState.FAILED:
        raise CommandFailed(": ".join(printable(str(answer[name])) for name in ("code", "message") if answer.get(name)))
    return 0


def _payload(declared: CommandType, given: Sequence[str]) -> JsonObject:
    """Return the fields of the command line with the types of their declaration.

    Raises:
        CommandFailed: a field is unknown, missing, given twice or has a wrong value.
    """
    known = [field.name for field in msgspec.structs.fields(declared.payload)]
    payload: dict[str, str] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator:
            raise CommandFailed(f"{text}: expected FIELD=VALUE; fields of {declared.name}: {', '.join(known)}")
        if name not in known:
            raise CommandFailed(f"{declared.name} has no field {name}{did_you_mean(name, known)}")
        if name in payload:
            raise CommandFailed(f"{name} is given twice")
        payload[name] = value
    # Not strict: "penalty=5" is a number.
    mistakes = join_mistakes(
        mistake.removeprefix("payload.") for mistake in payload_mistakes(payload, declared.payload, strict=False)
    )
    if mistakes:
        raise CommandFailed(f"{declared.name}: {mistakes}")
    decoded: JsonObject = msgspec.to_builtins(msgspec.convert(payload, declared.payload, strict=False))
    return decoded
