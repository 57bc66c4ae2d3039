"""``callcenter-ws calls``: prints the calls of today, as ``GET /ws/calls`` has them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from callcenter_ws.cli.arguments import Commands, add_command
from callcenter_ws.cli.gateway import add_access, add_url, gateway_of, hinting_at_demo, print_lines, token_of
from callcenter_ws.cli.http_request import get_json, resource_url
from callcenter_ws.cli.printable import printable
from callcenter_ws.cli.table import table

_HEAD = ("BEGAN", "CALLER", "NAME", "QUEUE", "AGENT", "STATE", "WAIT", "TALK", "DISPOSITION", "CALL")

Call = Mapping[str, Any]  # values of several types, see docs/http.rst


def add(commands: Commands) -> None:
    """Add the command."""
    example = "callcenter-ws calls --config gw.toml --tenant acme --search 30123"
    command = add_command(commands, "calls", print_calls, "print the calls of today, or search in them", example)
    add_url(command)
    command.add_argument("--tenant", metavar="ID", help="tenant (default: that of the token, or of the demo)")
    text = "part of a caller's number or name, an agent, a destination or the id of a call"
    command.add_argument("--search", metavar="TEXT", help=text)
    command.add_argument("--caller", metavar="NUMBER", help="calls of this caller")
    command.add_argument("--queue", metavar="NAME", help="calls that were in this queue")
    command.add_argument("--agent", metavar="ID", help="calls of this agent, or of those with this in their names")
    command.add_argument("--state", help="calls in this state, such as talking or ended")
    text = "so many of the newest (default: 50; at most 200)"
    command.add_argument("--limit", metavar="NUMBER", type=int, default=50, help=text)
    command.add_argument("--json", action="store_true", help="print the JSON object of GET /ws/calls")
    add_access(command)


def print_calls(arguments: argparse.Namespace) -> int:
    """Print the calls, newest first."""
    target, address = gateway_of(arguments)
    token = token_of(arguments, target, "callcenter-ws calls")
    url = resource_url(address, "calls", _fields(arguments))
    with hinting_at_demo(target):
        answer = get_json(url, token, arguments.timeout)
    if arguments.json:
        print(json.dumps(answer, ensure_ascii=False))
    else:
        print_lines(lines_of, answer, f"{url.partition('?')[0]} answers with an object that has no calls")
    return 0


def _fields(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the fields of the query."""
    texts = {
        "search": arguments.search,
        "caller_id": arguments.caller,
        "queue": arguments.queue,
        "agent": arguments.agent,
        "state": arguments.state,
        "tenant_id": arguments.tenant,
    }
    return [(name, text) for name, text in texts.items() if text is not None] + [("limit", f"{arguments.limit}")]


def lines_of(answer: Call) -> Iterator[str]:
    """Yield the lines of a table of calls, and what is missing in it."""
    yield printable(f"since {answer['from']}, up to seq {answer['as_of_seq']}")
    if answer["incomplete_since"] is not None:
        yield printable(f"INCOMPLETE: calls that began before {answer['incomplete_since']} may be missing")
    if answer["calls"]:
        yield from table([_HEAD, *map(_row, answer["calls"])])
    else:
        yield "no calls"
    if answer["more"]:
        yield "there are more: raise --limit, or search"


def _row(call: Call) -> tuple[str, ...]:
    disposition = call["disposition"]
    return (
        call["started_at"],
        call["caller_id"] or "-",
        call["caller_name"] or "-",
        call["queue_name"] or "-",
        call["agent_name"] or call["agent_id"] or "-",
        call["outcome"] or call["state"],
        _seconds(call["wait_seconds"]),
        _seconds(call["talk_seconds"]),
        "-" if disposition is None else disposition["label"] or disposition["code"],
        call["call_id"],
    )


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.0f} s"
