"""``callcenter-ws statistics``: prints the figures of a tenant, as ``GET /ws/statistics`` has them."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from math import floor
from pathlib import Path
from typing import Any

from callcenter_ws.cli.arguments import Commands, add_command, instant, positive
from callcenter_ws.cli.gateway import add_access, add_url, gateway_of, hinting_at_demo, print_lines, token_of
from callcenter_ws.cli.http_request import get_json, get_text, resource_url
from callcenter_ws.cli.printable import printable
from callcenter_ws.cli.statistics_from import report_from
from callcenter_ws.cli.table import table
from callcenter_ws.cli.target import CommandFailed, Target
from callcenter_ws.statistics.period import NAMES
from callcenter_ws.statistics.report import Report, csv_pieces, json_pieces

_CLEAR = "\x1b[H\x1b[2J"

Answer = Mapping[str, Any]  # values of several types, see docs/statistics.rst


def add(commands: Commands) -> None:
    """Add the command."""
    example = "callcenter-ws statistics --config gw.toml --tenant acme --queue sales --interval 30"
    text = "print the statistics of queues and agents: of today, or of a period"
    command = add_command(commands, "statistics", print_statistics, text, example)
    add_url(command)
    command.add_argument("--tenant", metavar="ID", help="tenant (default: that of the token, or of the demo)")
    command.add_argument("--queue", metavar="NAME", action="append", default=[], help="this queue; may be repeated")
    command.add_argument("--agent", metavar="ID", action="append", default=[], help="this user id; may be repeated")
    command.add_argument("--since", metavar="WHEN", help="first local date, or instant with offset (default: today)")
    command.add_argument("--until", metavar="WHEN", help="the same, exclusive (default: the end of today)")
    command.add_argument("--interval", choices=NAMES, default="day", help="length of the rows (default: day)")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the JSON object of GET /ws/statistics")
    form.add_argument("--csv", action="store_true", help="print CSV")
    form.add_argument(
        "--watch", metavar="SECONDS", type=positive, nargs="?", const=5.0, help="repeat the table (every 5 s)"
    )
    text = "fold the lines that export printed, or the files of an archive, and ask no gateway; - for standard input"
    command.add_argument("--from", dest="files", metavar="FILE", type=Path, nargs="+", help=text)
    text = "with --from: the figures at this instant (default: when the last event was received)"
    command.add_argument("--at", metavar="INSTANT", type=instant, help=text)
    add_access(command)


def print_statistics(arguments: argparse.Namespace) -> int:
    """Print the figures, once or until it is interrupted."""
    if arguments.files is not None:
        _print_report(report_from(arguments), arguments)
        return 0
    if arguments.at is not None:
        raise CommandFailed("--at needs --from: a gateway has only the figures of now")
    target, address = gateway_of(arguments)
    while True:
        _print_once(arguments, target, resource_url(address, "statistics", _fields(arguments)))
        if arguments.watch is None:
            return 0
        sys.stdout.flush()
        time.sleep(arguments.watch)


def _print_report(report: Report, arguments: argparse.Namespace) -> None:
    """Print the bytes of ``GET /ws/statistics``, or the tables."""
    if arguments.json or arguments.csv:
        out = sys.stdout.buffer
        for piece in csv_pieces(report) if arguments.csv else json_pieces(report):
            out.write(piece)
        if arguments.json:
            out.write(b"\n")
        out.flush()
        return
    print("\n".join(lines_of(json.loads(b"".join(json_pieces(report))))))


def _print_once(arguments: argparse.Namespace, target: Target, url: str) -> None:
    # Made for each request: those that watch for hours need a valid one.
    token = token_of(arguments, target, "callcenter-ws statistics")
    try:
        with hinting_at_demo(target):
            if arguments.csv:
                sys.stdout.write(get_text(url, token, "text/csv", arguments.timeout))
                return
            if arguments.json:
                # Its bytes, so that they can be compared with those of --from.
                print(get_text(url, token, "application/json", arguments.timeout))
                return
            answer = get_json(url, token, arguments.timeout)
    except CommandFailed as failure:
        # The gateway names its parameters.
        raise CommandFailed(str(failure).replace(" from: ", " --since: ").replace(" to: ", " --until: ")) from None
    missing = f"{url.partition('?')[0]} answers with an object that has no statistics"
    head = _CLEAR if arguments.watch is not None and sys.stdout.isatty() else ""
    print_lines(lines_of, answer, missing, head)


def _fields(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the fields of the query."""
    fields = [("queue", name) for name in arguments.queue] + [("agent", name) for name in arguments.agent]
    texts = {"from": arguments.since, "to": arguments.until, "interval": arguments.interval}
    return fields + [
        (name, text) for name, text in {**texts, "tenant_id": arguments.tenant}.items() if text is not None
    ]


_QUEUE_HEAD = (
    "QUEUE", "START", "WAITING", "OFFERED", "ANSWERED", "ABANDONED", "FLOW OUT", "LEVEL", "ASA", "AHT", "AGENTS",
)  # fmt: skip
_AGENT_HEAD = ("AGENT", "START", "STATE", "ANSWERED", "HANDLED", "MISSED", "AHT", "OCCUPANCY", "LOGGED IN")


def lines_of(answer: Answer) -> Iterator[str]:
    """Yield the lines of tables of the queues and agents."""
    settings = answer["settings"]
    # In the night on which clocks are set back, two rows would have the same start.
    show_offset = answer["from"][-6:] != answer["to"][-6:]
    yield printable(
        f"{answer['tenant_id']}: {answer['from']} to {answer['to']} ({answer['time_zone']}), "
        f"at {answer['generated_at']}, up to seq {answer['as_of_seq']}"
    )
    yield printable(
        f"service level: {settings['service_level_method']}, within {settings['service_level_seconds']:g} s, "
        f"target {settings['service_level_target']:g} %, short below {settings['short_abandon_seconds']:g} s"
    )
    if answer["incomplete_since"] is not None:
        yield printable(f"INCOMPLETE since {answer['incomplete_since']}: events were lost before they were counted")
    counted = [f"{name} {number}" for name, number in answer.get("diagnostics", {}).items() if number]
    if counted:
        yield printable(f"diagnostics, of all times: {', '.join(counted)}")
    if answer["queues"]:
        rows = [row for queue in answer["queues"] for row in _queue_rows(queue, settings, show_offset)]
        yield from ("", *table([_QUEUE_HEAD, *rows]))
        yield from _disposition_lines(answer["queues"], show_offset)
    if answer["agents"]:
        yield from (
            "",
            *table([_AGENT_HEAD, *(row for agent in answer["agents"] for row in _agent_rows(agent, show_offset))]),
        )
    if answer["tenant"]:
        heads = ("CALLS", "START", "OFFERED", "ANSWERED", "QUEUE ENTRIES")
        rows = [
            (
                "",
                _start(row, show_offset),
                *(str(row[name]) for name in ("calls_offered", "calls_answered", "queue_entries")),
            )
            for row in answer["tenant"]
        ]
        yield from ("", *table([heads, *rows]))


_SHOWN = {"service_level_method": "", "service_level_seconds": " s", "short_abandon_seconds": " s short"}
"""Labels of a service level that the head of the tables has for all queues, and the unit where a row differs."""


def _with_now(one: Answer) -> Iterator[tuple[Answer, Answer | None]]:
    """Yield the rows, the last one with what is true now: of earlier ones it would be misread as what was true then."""
    last = len(one["intervals"]) - 1
    yield from ((row, one["now"] if number == last else None) for number, row in enumerate(one["intervals"]))


def _queue_rows(queue: Answer, settings: Answer, show_offset: bool) -> Iterator[tuple[str, ...]]:
    for row, now in _with_now(queue):
        mark = "*" if row["mixed_thresholds"] else ""
        other = [f"{row[name]}{unit}" for name, unit in _SHOWN.items() if row[name] != settings[name]]
        if other:
            mark += f" ({', '.join(other)})"
        yield (
            queue["queue_name"],
            _start(row, show_offset),
            "-" if now is None else str(now["calls_waiting"]),
            *(str(row[name]) for name in ("offered", "answered", "abandoned", "flow_out")),
            f"{_number(row['service_level'], ' %')}{mark}",
            _number(row["average_wait_time"], " s"),
            _number(row["average_handle_time"], " s"),
            "-" if now is None else f"{now['available_agents']} of {now['staffed_agents']}",
        )


def _disposition_lines(queues: list[Answer], show_offset: bool) -> Iterator[str]:
    """Yield the lines of the table of dispositions, none if there are none."""
    rows = [
        (queue["queue_name"], _start(row, show_offset), code, str(number))
        for queue in queues
        for row in queue["intervals"]
        # A gateway of the release before has none.
        for code, number in sorted(row.get("dispositions", {}).items(), key=lambda item: (-item[1], item[0]))
    ]
    if rows:
        yield from ("", *table([("QUEUE", "START", "DISPOSITION", "CALLS"), *rows]))


def _agent_rows(agent: Answer, show_offset: bool) -> Iterator[tuple[str, ...]]:
    name, user_id = agent["username"], agent["user_id"]
    for row, now in _with_now(agent):
        yield (
            f"{name} ({user_id})" if name and name != user_id else user_id,
            _start(row, show_offset),
            "-" if now is None else now["state"],
            *(str(row[name]) for name in ("answered", "handled", "missed")),
            _number(row["average_handle_time"], " s"),
            _number(row["occupancy"], " %"),
            f"{row['logged_in_seconds'] / 3600:.2f} h",
        )


def _start(row: Answer, show_offset: bool) -> str:
    start: str = row["start"]
    return f"{start[:16]}{start[19:]}" if show_offset else start[:16]


def _number(value: float | None, unit: str) -> str:
    # Half up, as the figures themselves are rounded: 81.25 is 81.3.
    return "-" if value is None else f"{floor(value * 10 + 0.5) / 10:.1f}{unit}"
