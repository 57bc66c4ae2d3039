"""``callcenter-ws stats``: prints the figures of a gateway process."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from typing import Any

from callcenter_ws.cli.arguments import Commands, add_command
from callcenter_ws.cli.gateway import add_access, add_url, gateway_of, hinting_at_demo, print_lines, token_of
from callcenter_ws.cli.http_request import get_json, resource_url
from callcenter_ws.cli.printable import printable
from callcenter_ws.cli.spans import span
from callcenter_ws.events.principal import EVERY_TENANT


def add(commands: Commands) -> None:
    """Add the command."""
    example = "callcenter-ws stats --config gw.toml --tenant acme"
    text = "print the figures of a gateway process: connections, messages, store, sources"
    command = add_command(commands, "stats", print_stats, text, example)
    add_url(command)
    command.add_argument("--tenant", metavar="ID", help="figures of this tenant only (default: of all tenants)")
    command.add_argument("--json", action="store_true", help="print the JSON object of GET /ws/stats")
    add_access(command)


def print_stats(arguments: argparse.Namespace) -> int:
    """Print the figures of the process that answers."""
    target, address = gateway_of(arguments)
    token = token_of(arguments, target, "callcenter-ws stats", tenant=EVERY_TENANT)
    fields = [] if arguments.tenant is None else [("tenant_id", arguments.tenant)]
    with hinting_at_demo(target):
        stats = get_json(resource_url(address, "stats", fields), token, arguments.timeout)
    if arguments.json:
        print(json.dumps(stats))
    else:
        missing = f"{address} answers with an object that has no statistics"
        print_lines(lambda answer: map(printable, _lines(answer)), stats, missing)
    return 0


Stats = Mapping[str, Any]  # values of several types, see docs/http.rst


def _lines(stats: Stats) -> Iterator[str]:
    """Yield the lines of the figures: a name and a value each, those of no interest left out."""
    worker = "" if stats["worker"] is None else f", worker {stats['worker']}"
    since = f"{stats['started_at'][:10]} {stats['started_at'][11:19]} UTC"
    yield f"{stats['node']}{worker}: version {stats['version']}, up {span(stats['uptime'])}, since {since}"
    connections, messages, store = stats["connections"], stats["messages"], stats["broker"]
    yield _line("tenant", stats["tenant_id"] or "all tenants")
    yield _line("connections", _counts(connections["total"], connections["by_role"]))
    yield _line("endpoints", _counted(connections["by_endpoint"]) or "none in use")
    if stats["tenant_id"] is None:
        yield _line("largest tenants", _largest(connections["by_tenant"]) or "none connected")
    yield _line("lagging", f"{stats['lagging']:,} connections are being sent events from the history")
    yield _line("messages", f"{messages['in']:,} from clients, {messages['delivered']:,} to clients")
    yield _line("dropped", f"{messages['dropped']:,} messages that clients were told they miss")
    if "accepted" in messages:
        yield _line("events", f"{messages['accepted']:,} published, {messages['duplicates']:,} repeated")
        yield _line("refused events", _counts(sum(messages["refused"].values()), messages["refused"]))
    yield _line("store", ", ".join(_store(store)))
    if "statistics" in stats:
        yield _line("statistics", _statistics(stats["statistics"]))
    if "sources" in stats:
        yield _line("sources", f"{stats['sources']['connected']:,} connected, {stats['sources']['lost']:,} lost so far")
    yield from _scope(stats)


def _line(name: str, value: str) -> str:
    return f"  {name:16} {value}"


def _scope(stats: Stats) -> Iterator[str]:
    """Yield which part of the installation the figures describe."""
    nodes = " Other nodes have figures of their own." if stats["broker"]["kind"] == "redis" else ""
    if stats["worker"] is not None:
        yield f"These are the figures of one worker process: each request may be answered by another one.{nodes}"
    elif nodes:
        yield f"These are the figures of this node.{nodes}"


def _store(store: Stats) -> Iterator[str]:
    yield str(store["kind"])
    yield "ready" if store["ready"] else "NOT READY"
    if "waiting_events" in store:
        yield f"{store['waiting_events']:,} events wait to be stored"
    if "file_bytes" in store:
        yield f"file {store['file_bytes'] / 1e6:,.1f} MB"
    if "memory_bytes" in store:
        yield f"{store['memory_bytes'] / 1e6:,.1f} MB in memory"


def _statistics(statistics: Stats) -> str:
    """Return what the process does with the statistics of the tenant, or of all tenants."""
    if "tenants" in statistics:
        tenants = {name.replace("_", " "): number for name, number in statistics["tenants"].items() if number}
        return f"tenants: {_counted(tenants) or 'none'}; {statistics['behind']:,} events behind"
    if statistics["seq"] is None:
        return f"{statistics['state'].replace('_', ' ')}: this process does not derive them now"
    return f"{statistics['state'].replace('_', ' ')}, up to seq {statistics['seq']}, {statistics['behind']:,} behind"


def _counts(total: int, parts: Mapping[str, int]) -> str:
    return f"{total:,}: {_counted(parts)}" if total else "0"


def _counted(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in sorted(parts.items()))


_SHOWN_TENANTS = 5


def _largest(tenants: Mapping[str, int]) -> str:
    """Return the tenants with the most connections."""
    ordered = sorted(tenants.items(), key=lambda item: (-item[1], item[0]))
    more = [f"and {len(ordered) - _SHOWN_TENANTS:,} more"] if len(ordered) > _SHOWN_TENANTS else []
    return ", ".join([*(f"{name} {number:,}" for name, number in ordered[:_SHOWN_TENANTS]), *more])
