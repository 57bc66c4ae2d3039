"""``callcenter-ws tail``: connects as a client and prints the messages."""

from __future__ import annotations

import argparse

from callcenter_ws.cli.arguments import (
    TOKEN_VARIABLE,
    Commands,
    add_command,
    add_settings,
    add_token,
    count,
    position,
)
from callcenter_ws.cli.in_reactor import run_in_reactor
from callcenter_ws.cli.pretty import Terminal
from callcenter_ws.cli.tail_client import TailOptions, tail
from callcenter_ws.cli.target import CommandFailed, Target, demo_hint, given_token, target_of
from callcenter_ws.events.principal import EVERY_TENANT, Role


def add(commands: Commands) -> None:
    """Add the command."""
    example = "callcenter-ws tail --url wss://gw.example.com/ws --token-file my.token --events 'call.*' agent.login"
    command = add_command(
        commands, "tail", tail_stream, "connect as a client and print the messages, one JSON object per line", example
    )
    add_settings(command)
    command.add_argument(
        "--url", help="ws:// or wss:// (SSL_CERT_FILE: file with the CAs to trust, if not the system's)"
    )
    add_token(command)
    command.add_argument(
        "--tenant", metavar="ID", help="connect as a supervisor of this tenant, with a token signed by this command"
    )
    command.add_argument(
        "--events",
        metavar="NAME",
        nargs="+",
        action="extend",
        default=[],
        help="print these events and figures only, such as call.* or queue.stats",
    )
    text = "stop after N events; figures count if --events names them, control messages do not"
    command.add_argument("--count", metavar="N", type=count, help=text)
    command.add_argument(
        "--resume", metavar="EPOCH:SEQ", type=position, help="start with the events after this position"
    )
    command.add_argument("--snapshot", action="store_true", help="start with the current state")
    command.add_argument("--pretty", action="store_true", help="print lines for people in place of JSON; times are UTC")


def tail_stream(arguments: argparse.Namespace) -> int:
    """Connect as a client and print the messages, one JSON object per line.

    It reconnects and resumes when a gateway that stops asks for it.
    """
    target = target_of(arguments, arguments.url)
    url = arguments.url or target.url
    if url is None:
        raise CommandFailed("no URL known: give --url wss://gw.example.com/ws, with the name in the certificate")
    token = given_token(arguments)
    if token is None and (arguments.tenant or not arguments.url):
        token = _signed_token(target, arguments.tenant or target.tenant)
    options = TailOptions(
        url=url,
        token=token,
        events=tuple(arguments.events),
        count=arguments.count,
        resume=arguments.resume,
        snapshot=arguments.snapshot,
        pretty=Terminal.of_output() if arguments.pretty else None,
    )
    reason = run_in_reactor(lambda reactor: tail(reactor, options, lambda line: print(line, flush=True)))
    if reason is not None:
        raise CommandFailed(reason + (demo_hint(target) if "cannot connect" in reason and not arguments.url else ""))
    return 0


def _signed_token(target: Target, tenant: str | None) -> str:
    """Return a new token with the role supervisor for the tenant that was given, or that of the demo."""
    if tenant is None:
        raise CommandFailed(f"no tenant given: use --tenant ID, or a token in --token-file FILE or in {TOKEN_VARIABLE}")
    if tenant == EVERY_TENANT:
        raise CommandFailed("a stream belongs to one tenant: give --tenant ID")
    return target.token({"sub": "tail", "name": "tail", "tenant_id": tenant, "role": Role.SUPERVISOR})
