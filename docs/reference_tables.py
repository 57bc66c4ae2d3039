"""Generates the reference tables of the manual from the code: ``python docs/reference_tables.py [--write]``.

Each table stands in a page between the comments ``.. generated table: NAME`` and ``.. end of generated table``, so that
the pages can be read without building them. Without an option the command lists the tables that differ from the code,
and exits with status 1 if there are any; with ``--write`` it updates the pages. ``tests/docs`` runs the same check.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

DOCS = Path(__file__).parent

if __name__ == "__main__":
    sys.path.insert(0, str(DOCS.parent))

from callcenter_ws.cli.described import commands_of, spelling  # noqa: E402
from callcenter_ws.cli.event_texts import fields, meanings, methods, own_fields, slot_text  # noqa: E402 - the line above
from callcenter_ws.cli.main import make_parser  # noqa: E402
from callcenter_ws.config.changes import EFFECTS  # noqa: E402
from callcenter_ws.config.settings import KEYS, SECTIONS  # noqa: E402
from callcenter_ws.delivery.limits import Scope, limits_by_name  # noqa: E402
from callcenter_ws.errors import CLOSES, ERRORS, CloseCode  # noqa: E402
from callcenter_ws.events.catalogue import CATALOGUE, CallPayload, EventType  # noqa: E402
from callcenter_ws.events.commands import COMMANDS  # noqa: E402
from callcenter_ws.events.methods import EventMethods  # noqa: E402
from callcenter_ws.runtime.setting_values import range_of  # noqa: E402

COMMAND = "python docs/reference_tables.py --write"
"""The command that updates the pages; run it in the folder of the project."""

_WIDTH = 116
_MIN_LAST_COLUMN = 24
_MARKED = re.compile(
    r"(?P<start>^\.\. generated table: (?P<name>[a-z-]+)\n)(?P<table>.*?)(?P<end>^\.\. end of generated table\n)",
    re.MULTILINE | re.DOTALL,
)


# Tables


def close_codes() -> Iterator[str]:
    """Yield the lines of the table of close codes."""
    rows = [
        (str(entry.code.value), f"``{entry.name}``", entry.text, _after_close(entry.code.value, entry.code.reconnect))
        for entry in CLOSES.values()
    ]
    return _table(("code", "name", "text", "what to do"), rows)


def _after_close(code: int, reconnect: bool) -> str:
    if code in _CLIENT_ERRORS:
        return "correct the client; reconnect and resume"
    return "reconnect and resume" if reconnect else "do not reconnect"


_CLIENT_ERRORS = {CloseCode.UNSUPPORTED_DATA, CloseCode.INVALID_PAYLOAD, CloseCode.TOO_LARGE}


def error_codes() -> Iterator[str]:
    """Yield the lines of the table of error codes."""
    rows = [
        (f"``{entry.code}``", str(entry.http_status), f"``{entry.amp_code.decode()}``", entry.text)
        for entry in ERRORS.values()
    ]
    return _table(("code", "HTTP status", "AMP error", "meaning"), rows)


def limits() -> Iterator[str]:
    """Yield a table of the limits for each scope: defaults, ranges, what they protect, and what a peer sees."""
    defaults = SECTIONS["limits"]()
    described = limits_by_name()
    for scope in Scope:
        yield from (str(scope), "-" * len(scope), "")
        rows = [
            (f"``limits.{name}``", _number(getattr(defaults, name)), _range(name), limit.protects, limit.exceeded)
            for name, limit in described.items()
            if limit.scope is scope
        ]
        yield from _list_table(("key", "default", "range", "protects", "a peer that exceeds it sees"), rows)


def _range(name: str) -> str:
    smallest, largest = range_of(KEYS[f"limits.{name}"]) or (None, None)
    return f"{_number(smallest)} to {_number(largest)}"


def setting_effects() -> Iterator[str]:
    """Yield the table of when a reload lets each key take effect."""
    return _table(("key", "takes effect"), [(f"``{key}``", effect.value) for key, effect in EFFECTS.items()])


def agent_commands() -> Iterator[str]:
    """Yield the table of the commands of agents and supervisors."""
    rows = []
    for type_ in COMMANDS.values():
        declared = msgspec.structs.fields(type_.payload)
        fields = ", ".join(f"``{one.name}``{'' if one.required else '?'}" for one in declared)
        who = [NO_SCOPE if scope is None else scope.value for scope in (type_.agents, type_.supervisors)]
        rows.append((f"``{type_.name}``", fields, *who, f"{type_.deadline:g} s"))
    return _list_table(("command", "fields", "agents", "supervisors", "deadline"), rows)


NO_SCOPE = "—"
"""A role that may not issue a command."""


def fixed_limits() -> Iterator[str]:
    """Yield the table of the limits that are no settings."""
    rows = [
        (_number(getattr(importlib.import_module(f"callcenter_ws.{module}"), name)), protects, exceeded)
        for module, name, protects, exceeded in FIXED_LIMITS
    ]
    return _list_table(("limit", "of what", "a peer that exceeds it sees"), rows)


FIXED_LIMITS: Sequence[tuple[str, str, str, str]] = (
    ("http.site", "MAX_BODY_BYTES", "bytes of a request's body with a publisher's token", "413"),
    ("http.site", "MAX_UNTRUSTED_BODY_BYTES", "bytes of any other body", "401, 403 or 413"),
    ("http.http_connection", "MAX_HEADERS", "headers of a request", "431"),
    ("http.http_connection", "WRITE_TIMEOUT_SECONDS", "seconds to read 64 KiB of responses", "the connection ends"),
    ("runtime.turns", "UNITS_PER_TURN", "units of work in a turn of the event loop", "an answer some turns later"),
    ("runtime.listener", "MAX_ACCEPTS_PER_TURN", "connections that a port accepts in a turn", "the same"),
    ("runtime.peer_budget", "MAX_NETWORKS", "networks that are remembered", "the least recently used one is forgotten"),
    ("amp.authentication_throttle", "MAX_DELAYED", "delayed tries at the secret of a network", "OVERLOADED"),
    ("amp.authentication_throttle", "MAX_DELAYED_OF_KNOWN", "the same of a network of daemons", "OVERLOADED"),
    ("amp.authentication_throttle", "MAX_KNOWN", "networks of daemons that are remembered", "the limit above"),
    ("ws.protocol", "MAX_AUTH_BYTES", "bytes of the first frame with a token", "close 1009"),
    ("ws.protocol", "CONTROL_FRAMES_PER_SECOND", "pings and pongs of a client per second", "close 4004"),
    ("ws.protocol", "CONTROL_FRAMES_BURST", "pings and pongs of a client at once", "close 4004"),
    ("delivery.subscription", "MAX_NAMES", "names of event types, or queues, that a client subscribes to", "an error"),
    ("delivery.catch_up", "MAX_REQUESTS", "replays and snapshots that wait for a client", "``rate_limited``"),
    ("delivery.catch_up", "MAX_CHANGES", "changes of a subscription that wait for these", "``rate_limited``"),
    (
        "runtime.few_at_a_time",
        "MAX_RUNNING",
        "different views of large snapshots that are prepared at once",
        "the snapshot comes later",
    ),
    ("runtime.few_at_a_time", "MAX_WAITING_OF_KEY", "views of a tenant that wait for that", "the same"),
    (
        "runtime.few_at_a_time",
        "MAX_WAITING",
        "the same for all tenants; when it is reached, each has an equal share",
        "the same",
    ),
    ("requests.command", "MAX_COMMAND_BYTES", "bytes of the payload of a ``command``", "``too_large``"),
    (
        "commands.dispatching",
        "MAX_IN_FLIGHT",
        "commands that a source has not answered",
        "others wait until their deadline",
    ),
    (
        "commands.dispatching",
        "ANSWER_TIMEOUT_SECONDS",
        "seconds within which a source answers a command",
        "the connection is closed",
    ),
    ("events.commands", "MAX_DATA_BYTES", "bytes of the ``data`` of an outcome", "``TOO_LARGE``"),
    ("http.commands", "MAX_BODY_BYTES", "bytes of a command over HTTP", "413"),
    ("http.commands", "MAX_WAITING_OF_USER", "requests of a user that wait for the outcome of a command", "503"),
    ("http.commands", "MAX_WAITING_OF_TENANT", "the same of a tenant", "503"),
    ("http.commands", "MAX_WAITING", "the same of a process", "503"),
    ("gateway.audit", "MAX_WAITING_LINES", "lines of the audit log that wait for the disk", "nothing: a line is lost"),
    ("http.snapshot", "MAX_RESPONSES_PER_USER", "responses to ``GET /ws/snapshot`` for a user at once", "503"),
    ("http.snapshot", "MAX_RESPONSES_PER_TENANT", "the same for a tenant", "503"),
    ("http.snapshot", "MAX_RESPONSES", "the same for a process", "503"),
    (
        "http.calls",
        "MAX_LIMIT",
        "calls in a response to ``GET /ws/calls``",
        "``more`` says it; a larger ``limit``: 400",
    ),
    ("http.calls", "MAX_RESPONSES_PER_USER", "requests for the calls of today of a user at once", "503"),
    ("http.calls", "MAX_RESPONSES_PER_TENANT", "the same for a tenant", "503"),
    ("http.calls", "MAX_RESPONSES", "the same for a process", "503"),
    (
        "call_log.day",
        "MAX_CALLS",
        "calls of today of a tenant",
        "the oldest are forgotten; ``incomplete_since`` says it",
    ),
    ("call_log.day", "MAX_BYTES", "bytes of memory that these take, about", "the same"),
    (
        "call_log.service",
        "MAX_CALLS_IN_ALL",
        "the same of all tenants in a process",
        "those of a tenant are read again",
    ),
    ("call_log.service", "MAX_BYTES_IN_ALL", "bytes of memory that the calls of all tenants take, about", "the same"),
    ("call_log.service", "MAX_TENANTS", "tenants whose calls of today are in memory", "the same"),
    ("call_log.service", "IDLE_SECONDS", "seconds without a request for the calls of a tenant", "the same"),
    (
        "call_log.day",
        "MAX_STEPS",
        "events of a call that are kept for users who may not see all of them",
        "the middle ones are forgotten",
    ),
    (
        "call_log.filling",
        "MAX_SECONDS",
        "seconds in which a request reads the calls of the day",
        "503; the next goes on",
    ),
    (
        "http.statistics",
        "MAX_INTERVALS",
        "intervals of queues and agents in a response to ``GET /ws/statistics``",
        "413",
    ),
    ("http.statistics", "MAX_DAY_ROWS", "days of queues, or of agents, that are read for it", "413"),
    ("http.statistics", "MAX_NAMES", "queues, or agents, that a request names", "400"),
    ("http.statistics", "MAX_RESPONSES_PER_USER", "responses to ``GET /ws/statistics`` for a user at once", "503"),
    ("http.statistics", "MAX_RESPONSES_PER_TENANT", "the same for a tenant", "503"),
    ("http.statistics", "MAX_RESPONSES", "the same for a process", "503"),
    ("broker.command_table", "MAX_OPEN", "commands of a tenant without an outcome", "``overloaded``"),
    (
        "broker.command_table",
        "MAX_COMMANDS",
        "commands of a tenant that are remembered",
        "the one that was closed first is forgotten",
    ),
    (
        "broker.chats",
        "MAX_CHATS",
        "chat sessions of a tenant that are remembered",
        "the one longest without an event is forgotten",
    ),
    (
        "requests.visitor_chats",
        "MAX_NAME_CHARACTERS",
        "characters of a visitor's name in ``chat.start``",
        "``invalid_message``",
    ),
    (
        "requests.visitor_chats",
        "MAX_EMAIL_CHARACTERS",
        "the same of the visitor's e-mail address",
        "``invalid_message``",
    ),
    ("broker.chat_messages", "SESSION_BYTES", "bytes of the last messages of a chat", "the oldest are left out"),
    ("broker.chat_messages", "TENANT_BYTES", "the same for a tenant", "the oldest of all chats are left out"),
    ("events.slot_table", "MAX_LASTING", "users of a tenant who are online in a snapshot", "the first one is left out"),
    ("statistics.period", "MAX_DAYS", "days of the period of ``GET /ws/statistics``", "400"),
    ("statistics.state", "MAX_CALLS", "calls of a tenant that its statistics follow", "the oldest one counts as lost"),
    (
        "statistics.state",
        "MAX_QUEUES",
        "queues of a tenant that have statistics",
        "new ones have none, and are counted",
    ),
    ("statistics.sums", "MAX_DISPOSITIONS", "codes of dispositions in a sum of a queue", "the rest is ``other``"),
    ("statistics.state", "MAX_AGENTS", "agents of a tenant that have statistics", "the same"),
    ("statistics.state", "MAX_MEMBERS", "members of a queue that its statistics know", "the same"),
    (
        "figures.service",
        "MAX_TENANTS",
        "tenants whose statistics a process derives",
        "others have none; an error in the log",
    ),
    (
        "figures.waiting",
        "MAX_WAITING",
        "events of a tenant that wait for its statistics",
        "they are read from the store",
    ),
    ("figures.waiting", "MAX_WAITING_BYTES", "bytes of these", "the same"),
    ("figures.waiting", "MAX_WAITING_BYTES_OF_ALL", "bytes of these, of all tenants", "the same"),
    ("figures.archive", "MAX_GATHERED", "events of a tenant that wait for its archive", "the same"),
    ("figures.archive", "MAX_GATHERED_BYTES", "bytes of these", "the same"),
    ("figures.archive", "MAX_GATHERED_BYTES_OF_ALL", "bytes of these, of all tenants", "the same"),
    (
        "figures.alerting",
        "MAX_ALERTS",
        "alerts of a tenant that are pending or raised",
        "no more begin; a line in the log",
    ),
    ("figures.alert_rows", "MAX_DOWN", "sources of a tenant that alerts know to be down", "no more; a line in the log"),
    ("figures.publishing", "MAX_IN_FLIGHT", "alerts of a tenant that are being published", "the next second"),
    ("webhooks.queue", "MAX_ITEMS", "messages that wait for a receiver of webhooks", "the oldest one is given up"),
    ("webhooks.delivery", "MAX_ANSWER_BYTES", "bytes of the answer of a receiver", "it is sent again"),
    ("webhooks.delivery", "MAX_INTERIM", "interim responses (1xx) before its answer", "it is sent again"),
    ("delivery.figure_updates", "MAX_WAITING", "announced live figures of a tenant", "they are read from the store"),
    (
        "broker.sqlite.figures",
        "MAX_PENDING_ROWS",
        "rows of statistics that wait to be written into the store's file",
        "the statistics wait",
    ),
    (
        "runtime.one_at_a_time",
        "MAX_WAITING_OF_KEY",
        "messages of a visitor that wait for its earlier ones",
        "``overloaded``",
    ),
    ("runtime.one_at_a_time", "MAX_WAITING_CALLS", "the same for all visitors", "``unavailable``"),
    ("runtime.one_at_a_time", "MAX_WAITING_CALL_BYTES", "bytes of these messages", "``unavailable``"),
    ("runtime.json", "MAX_CONTAINERS", "objects and arrays in a JSON text", "an error"),
    ("runtime.json", "MAX_KEYS", "fields in a JSON text, in all its objects together", "an error"),
    ("amp.factory", "MAX_CONNECTIONS", "AMP connections over the network", "the connection ends"),
    ("amp.protocol", "MAX_BOX_KEYS", "keys of an AMP box", "the connection ends"),
    ("amp.protocol", "MAX_BOX_BYTES", "bytes of an AMP box", "the connection ends"),
    ("amp.protocol", "MAX_UNAUTHENTICATED_BOX_KEYS", "keys of a box before Authenticate", "the connection ends"),
    ("amp.protocol", "MAX_UNAUTHENTICATED_BOX_BYTES", "bytes of a box before Authenticate", "the connection ends"),
    ("amp.session", "AUTHENTICATION_TIMEOUT_SECONDS", "seconds until Authenticate", "the connection ends"),
    ("amp.session", "MAX_REFUSED_TOKENS", "refused tokens of an AMP connection", "the connection ends"),
    (
        "auth.revocation",
        "MAX_REVOCATIONS_PER_TENANT",
        "revoked tokens and users of a tenant, without a credential for all tenants",
        "``OVERLOADED``",
    ),
    ("auth.revocation", "MAX_REVOCATIONS", "revoked tokens and users of all tenants", "``OVERLOADED``"),
    (
        "auth.revocation",
        "RESERVED_REVOCATIONS",
        "of these, reserved for credentials for all tenants",
        "``OVERLOADED``",
    ),
    ("auth.passwords", "MAX_WAITING", "passwords that wait to be checked", "503; those of unknown networks first"),
    ("auth.passwords", "MAX_WAIT_SECONDS", "seconds for which one waits", "503"),
    ("auth.sign_in_tries", "MAX_OPEN_CODES", "screens of a network that wait to be paired", "429"),
    ("auth.sign_in_tries", "MAX_UNKNOWN_CODES", "the same of all networks that are not known", "429"),
    ("broker.account_table", "MAX_PAIRINGS", "the same of all networks", "503"),
    (
        "auth.sign_in_tries",
        "MAX_NAMES",
        "known networks, and names of users, whose tries are remembered",
        "the least recently used one is forgotten",
    ),
    ("broker.account_table", "MAX_USERS", "users of the pages", "``OVERLOADED``"),
    ("broker.account_table", "MAX_SESSIONS", "sessions of the pages", "503"),
    (
        "broker.account_table",
        "MAX_SESSIONS_PER_USER",
        "the same of a user",
        "the one that was used least recently ends",
    ),
    ("http.session", "MAX_BODY_BYTES", "bytes of the body of a request below ``/session``", "413"),
    ("amp.session", "MAX_EVENTS_IN_FLIGHT", "events of a daemon that are not answered", "the gateway reads no more"),
)
"""Module and name of a constant, what it limits, and what a peer sees that exceeds it."""


def _number(value: Any) -> str:
    return f"{value:,}"


def broadcaster_methods() -> Iterator[str]:
    """Yield the lines of the table of the EventBroadcaster's methods, in the order of the catalogue."""
    found = methods()
    rows = []
    for event in CATALOGUE:
        if event in found:
            name, _ = found[event]
            parameters = list(inspect.signature(getattr(EventMethods, name)).parameters.values())[1:]
            rows.append((f"``{event}``", f"``{name}({', '.join(map(_parameter, parameters))})``"))
    return _table(("event", "method"), rows)


def _parameter(parameter: inspect.Parameter) -> str:
    return f"**{parameter.name}" if parameter.kind is inspect.Parameter.VAR_KEYWORD else parameter.name


def event_catalogue() -> Iterator[str]:
    """Yield a section for the fields that all calls share, and one for each event type."""
    yield from ("Call fields", "-----------", "")
    yield "Every event whose entry says *call fields* may have these; ``unique_id`` is required in all of them."
    yield from _table(("field", "value"), list(map(_field, fields(CallPayload, _literal))))
    for type_ in CATALOGUE.values():
        yield from (type_.name, "-" * len(type_.name), "")
        yield from _entry(type_)


def _entry(type_: EventType) -> Iterator[str]:
    yield from (f"{meanings()[type_.name]}.", "")
    yield f":roles: {', '.join(sorted(role.value for role in type_.audience))}"
    if type_.needs_user:
        yield ":recipient: one user; ``user_id`` is required beside the payload"
    if type_.figure is not None:
        text = "derived by the gateway in tenants with statistics, without ``id`` and ``seq`` (:ref:`live-figures`)"
        yield f":figure: {text}"
    if type_.slot is not None:
        yield f":snapshot: {slot_text(type_.slot, _literal)}"
    if type_.conflate_by is not None:
        keys = ", ".join(f"``{field}``" for field in type_.conflate_by)
        yield f":conflation: only the newest event matters per {keys}"
    yield ""
    of_type = list(map(_field, own_fields(type_, _literal)))
    shared = issubclass(type_.payload, CallPayload)
    if not of_type:
        yield from ("Payload: the call fields.", "")
        return
    yield "Payload: the call fields, and" if shared else "Payload:"
    yield from _table(("field", "value"), of_type)


def _field(field: tuple[str, bool, str]) -> tuple[str, str]:
    name, required, value = field
    return f"**{name}**" if required else _literal(name), value


def _literal(text: str) -> str:
    return f"``{text}``"


def commands() -> Iterator[str]:
    """Yield a section for each command of ``callcenter-ws``: what it does, its options, and an example."""
    for command in commands_of(make_parser()):
        yield from (f".. _command-{command.name.replace(' ', '-')}:", "")
        yield from (command.name, "~" * len(command.name), "")
        yield from textwrap.wrap(_escaped(str(command.parser.description)), _WIDTH)
        rows = [(f"``{spelling(action)}``", _escaped(str(action.help))) for action in command.arguments]
        if rows:
            yield ""
            yield from _list_table(("argument", "meaning"), rows)
        yield from (*([] if rows else [""]), ".. code-block:: console", "", f"   $ {command.example}", "")


def _escaped(text: str) -> str:
    """Return a plain text as reStructuredText."""
    return re.sub(r"([*`|\\]|_(?!\w))", r"\\\1", text)


# reStructuredText


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a simple table; cells of the last column are wrapped.

    https://docutils.sourceforge.io/docs/ref/rst/restructuredtext.html#simple-tables
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    widths[-1] = min(widths[-1], max(_MIN_LAST_COLUMN, _WIDTH - sum(widths[:-1]) - 2 * (len(widths) - 1)))
    rule = "   " + "  ".join("=" * width for width in widths)
    yield from ("", ".. table::", "   :widths: auto", "", rule)
    yield from _row(header, widths)
    yield rule
    for row in rows:
        yield from _row(row, widths)
    yield from (rule, "")


def _row(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    *first, last = cells
    for part in textwrap.wrap(last, widths[-1], break_long_words=False, break_on_hyphens=False):
        line = "  ".join([*(f"{cell:<{width}}" for cell, width in zip(first, widths, strict=False)), part])
        yield f"   {line}".rstrip()
        first = ["" for _ in first]


def _list_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table whose cells are all wrapped."""
    yield from (".. list-table::", "   :header-rows: 1", "   :widths: auto", "")
    for row in (header, *rows):
        for number, cell in enumerate(row):
            first, *rest = textwrap.wrap(cell, _WIDTH - 7, break_long_words=False, break_on_hyphens=False)
            yield f"   {'* -' if number == 0 else '  -'} {first}"
            yield from (f"       {line}" for line in rest)
    yield ""


# Pages

TABLES: Mapping[str, Callable[[], Iterator[str]]] = {
    "close-codes": close_codes,
    "error-codes": error_codes,
    "limits": limits,
    "fixed-limits": fixed_limits,
    "setting-effects": setting_effects,
    "agent-commands": agent_commands,
    "broadcaster-methods": broadcaster_methods,
    "event-catalogue": event_catalogue,
    "commands": commands,
}


def pages() -> Iterator[Path]:
    """Yield the pages that have a generated table."""
    for page in sorted(DOCS.glob("*.rst")):
        if _MARKED.search(page.read_text()):
            yield page


def updated(text: str) -> str:
    """Return the text of a page with its tables generated from the code."""
    return _MARKED.sub(lambda found: f"{found['start']}{_generated(found['name'])}{found['end']}", text)


def _generated(name: str) -> str:
    return "\n" + "\n".join(TABLES[name]()).strip("\n") + "\n\n"


def outdated() -> dict[str, str]:
    """Return the tables that differ from the code: the name of the table, and of its page."""
    return {
        found["name"]: page.name
        for page in pages()
        for found in _MARKED.finditer(page.read_text())
        if found["table"] != _generated(found["name"])
    }


def main() -> int:
    """Check the pages, or update them; return the exit status."""
    parser = argparse.ArgumentParser("python docs/reference_tables.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="update the pages instead of checking them")
    if parser.parse_args().write:
        for page in pages():
            page.write_text(updated(page.read_text()))
        return 0
    for name, page_name in outdated().items():
        sys.stderr.write(f'docs/{page_name}: the table "{name}" differs from the code; run: {COMMAND}\n')
    return 1 if outdated() else 0


if __name__ == "__main__":
    sys.exit(main())
