"""``callcenter-ws events``: prints the catalogue of events."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator

from callcenter_ws.cli.arguments import Commands, add_command
from callcenter_ws.cli.event_examples import EXAMPLES
from callcenter_ws.cli.event_texts import fields, meanings, own_fields, slot_text
from callcenter_ws.cli.table import table
from callcenter_ws.cli.target import CommandFailed
from callcenter_ws.events.catalogue import CATALOGUE, CallPayload, EventType, names_matching
from callcenter_ws.events.message_schemas import message_schemas
from callcenter_ws.events.source_rules import SOURCE_TYPES
from callcenter_ws.runtime.suggestions import did_you_mean


def add(commands: Commands) -> None:
    """Add the command."""
    text = "print the types of events, or the fields of one type and an example"
    command = add_command(commands, "events", print_events, text, "callcenter-ws events call.incoming")
    command.add_argument("type", metavar="TYPE", nargs="?", help="a type, or several, such as call.*")
    text = "print the JSON Schema of the messages that clients receive; without a TYPE an object with all of them"
    command.add_argument("--json", action="store_true", help=text)


def print_events(arguments: argparse.Namespace) -> int:
    """Print the catalogue, or one type of it."""
    wanted: str | None = arguments.type
    names = list(CATALOGUE) if wanted is None else [name for name in CATALOGUE if name in names_matching(wanted)]
    if not names:
        raise CommandFailed(f"there is no event type {wanted!r}{did_you_mean(wanted or '', CATALOGUE)}")
    if arguments.json:
        schemas = message_schemas()
        print(json.dumps(schemas[names[0]] if names == [wanted] else {name: schemas[name] for name in names}, indent=2))
    elif names == [wanted]:
        print("\n".join(_described(CATALOGUE[names[0]])))
    else:
        print("\n".join(table([(name, _meaning(name)) for name in names])))
    return 0


def _meaning(name: str) -> str:
    """Return what an event type means, without the markup of the manual."""
    return meanings().get(name, "").replace("``", "")


def _described(declared: EventType) -> Iterator[str]:
    yield f"{declared.name}: {_meaning(declared.name)}."
    yield ""
    yield from table(list(_rules(declared)))
    yield ""
    yield from _payload(declared)
    yield "Fields of other names are passed on unchanged. An id is text or a whole number, an instant is RFC 3339 text."
    yield ""
    yield "An example with all fields:"
    yield json.dumps(EXAMPLES[declared.name], indent=2, ensure_ascii=False)
    yield ""
    if declared.name in SOURCE_TYPES:
        yield "The gateway publishes it for its sources, or a source itself after Hello: emit cannot publish it."
    elif declared.by_gateway:
        yield "Only the gateway itself makes it: emit cannot publish it."
    else:
        yield "To publish it with the required fields:"
        yield f"  {_command(declared)}"


def _rules(declared: EventType) -> Iterator[tuple[str, str]]:
    yield "roles that see it", ", ".join(sorted(declared.audience))
    if declared.needs_user:
        yield "recipient", "one user: user_id beside the payload (--user-id) is required"
    if declared.persists:
        yield "mailbox", "kept until the user has received it"
    if declared.figure is not None:
        yield "figure", "derived by the gateway in tenants with statistics: without id and seq, not in the history"
    if declared.slot is not None:
        yield "snapshot", slot_text(declared.slot)
    if declared.conflate_by is not None:
        yield "conflation", f"only the newest event matters per {', '.join(declared.conflate_by)}"


def _payload(declared: EventType) -> Iterator[str]:
    of_type = sorted(own_fields(declared, str), key=lambda field: not field[1])
    names = {name for name, _, _ in of_type}
    of_calls: list[tuple[str, bool, str]] = []
    if issubclass(declared.payload, CallPayload):
        of_calls = [field for field in fields(CallPayload, str) if field[0] not in names]
    rows = [(f"  {name}", "required" if required else "", value) for name, required, value in (*of_type, *of_calls)]
    # All fields in one table, so that their values are below one another.
    lines = list(table(sorted(rows, key=lambda row: row[1] == "")))
    yield "Fields of the payload:"
    yield from lines


def _command(declared: EventType) -> str:
    """Return a command that publishes the example without its optional fields."""
    required = {name for name, is_required, _ in fields(declared.payload, str) if is_required}
    payload = {name: value for name, value in EXAMPLES[declared.name].items() if name in required}
    user = " --user-id 1001" if declared.needs_user else ""
    return f"callcenter-ws emit {declared.name} {shlex.quote(json.dumps(payload, ensure_ascii=False))}{user}"
