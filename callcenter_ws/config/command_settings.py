"""The settings of commands and of the audit log: types, ranges, defaults and checks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from callcenter_ws.config.tables import Check, TableDecoder
from callcenter_ws.events.commands import COMMANDS
from callcenter_ws.runtime.setting_problems import unknown
from callcenter_ws.runtime.setting_values import shown

MAX_PAUSE_REASONS = 100
MAX_DISPOSITIONS = 500
MAX_DESTINATIONS = 200
MAX_DESTINATION_LENGTH = 64
"""As in ``events.commands``."""

MAX_REASON_LENGTH = 80

DEFAULT_DESTINATIONS = r"^\+?[0-9*#]{1,32}$"
"""A telephone number, an extension or a feature code."""

_Problems = Iterator[tuple[str, str]]


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the TOML file."""


class Disposition(_Table, frozen=True):
    """A result that an agent may record for a call.

    Attributes:
        code: what is stored and counted.
        label: what people read.
    """

    code: str
    label: str


class Destination(_Table, frozen=True):
    """Where calls are often transferred to.

    Attributes:
        name: what people read.
        destination: what a command names: a number, as ``destination_pattern`` accepts it.
        queue_name: the queue that is reached there, if it is one.
    """

    name: str
    destination: str
    queue_name: str | None = None


class AllowedCommands(_Table, frozen=True):
    """The commands of each role in place of the default; None: the default (docs/agent-commands.rst)."""

    agent: tuple[str, ...] | None = None
    supervisor: tuple[str, ...] | None = None


DEFAULT_DISPOSITIONS = (
    Disposition(code="resolved", label="Resolved"),
    Disposition(code="follow_up", label="Follow-up needed"),
    Disposition(code="forwarded", label="Forwarded to another team"),
    Disposition(code="wrong_number", label="Wrong number"),
)


class CommandSettings(_Table, frozen=True):
    """What clients may have done by the gateway and by the sources.

    Attributes:
        allow: the commands of agents and supervisors, in place of the default.
        rate, burst: commands per second of one user, continuously and at once after a pause.
        destination_pattern: the regular expression that a whole destination matches.
        pause_reasons: the reasons of a break; tenants may have others.
        dispositions: the results of a call; tenants may have others.
        destinations: where calls are often transferred to; tenants may have others.
    """

    enabled: bool = False
    allow: AllowedCommands = AllowedCommands()
    rate: Annotated[float, Meta(ge=0.01, le=10_000)] = 5
    burst: Annotated[int, Meta(ge=1, le=10_000)] = 20
    destination_pattern: str = DEFAULT_DESTINATIONS
    pause_reasons: tuple[str, ...] = ("break", "lunch", "training", "meeting", "paperwork")
    dispositions: tuple[Disposition, ...] = DEFAULT_DISPOSITIONS
    destinations: tuple[Destination, ...] = ()


class TenantCommands(_Table, frozen=True):
    """The commands of one tenant.

    Attributes:
        pause_reasons, dispositions, destinations: in place of those in the section ``commands``; None: the same.
        route: the source that carries out a command where several could: the name of the source by the name of the
            command, or by the beginning of names, as ``call.*``.
    """

    pause_reasons: tuple[str, ...] | None = None
    dispositions: tuple[Disposition, ...] | None = None
    destinations: tuple[Destination, ...] | None = None
    route: Mapping[str, str] = msgspec.field(default_factory=dict)


class AuditSettings(_Table, frozen=True):
    """The audit log.

    Attributes:
        file: the file to which it is written; None: there is no audit log.
    """

    file: Path | None = None


def pause_reason(text: str) -> str:
    """Check a reason of a break, which exchanges write to their own logs.

    Raises:
        ValueError: empty, too long, or with characters that are not printed.
    """
    if not 0 < len(text) <= MAX_REASON_LENGTH or not text.isprintable() or text != text.strip():
        reason = f"{shown(text)} is not a reason of 1 to {MAX_REASON_LENGTH} printable characters"
        raise ValueError(f"{reason}, without spaces at its ends")
    return text


def pattern_text(text: str) -> str:
    """Check the text of ``destination_pattern``, and return it.

    Raises:
        ValueError: as ``destination_pattern``.
    """
    destination_pattern(text)
    return text


def destination_pattern(text: str) -> re.Pattern[str]:
    """Check and compile the regular expression of destinations. Matching takes little time for every text.

    Raises:
        ValueError: not a regular expression, or one that repeats a group or has more than four repetitions.
    """
    if len(text) > 200:
        raise ValueError("has more than 200 characters")
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError) as error:
        raise ValueError(f"{shown(text)} is not a regular expression: {error}") from None
    if pattern.fullmatch(""):
        raise ValueError(f"{shown(text)} matches an empty destination")
    # Escaped characters and sets stand for one character each.
    plain = re.sub(r"\[\^?\]?[^\]]*\]", "x", re.sub(r"\\.", "x", text, flags=re.DOTALL))
    groups = plain.replace("(?:", "(")
    if "(?" in groups:
        raise ValueError(f"{shown(text)}: of groups with ?, only (?: is allowed")
    if re.search(r"\)[*+?{]", groups):
        raise ValueError(f"{shown(text)}: a group must not be repeated, since matching could take very long")
    if len(re.findall(r"[*+?{]", groups)) > 4:
        raise ValueError(f"{shown(text)}: has more than four repetitions, so that matching could take very long")
    return pattern


def check_allowed(allowed: AllowedCommands) -> _Problems:
    """Yield the names that are no commands."""
    for role in ("agent", "supervisor"):
        for name in getattr(allowed, role) or ():
            if name not in COMMANDS:
                yield role, f"{shown(name)}: {unknown('command', name, COMMANDS)}"


def check_disposition(disposition: Disposition) -> _Problems:
    """Yield what is wrong with one result of calls."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", disposition.code):
        yield "code", f"{shown(disposition.code)} is not a code of 1 to 64 letters, digits and _ . -"
    if not 0 < len(disposition.label) <= 100 or not disposition.label.isprintable():
        yield "label", f"{shown(disposition.label)} is not a text of 1 to 100 printable characters"


def check_destination(destination: Destination) -> _Problems:
    """Yield what is wrong with the names of a destination. What it is has to match ``destination_pattern``."""
    if not _is_shown(destination.name, 100):
        reason = f"{shown(destination.name)} is not a text of 1 to 100 printable characters"
        yield "name", f"{reason}, without spaces at its ends"
    queue_name = destination.queue_name
    if queue_name is not None and not _is_shown(queue_name, 255):
        yield "queue_name", f"{shown(queue_name)} is not the name of a queue, of 1 to 255 printable characters"
    if len(destination.destination) > MAX_DESTINATION_LENGTH:
        yield "destination", f"has more than {MAX_DESTINATION_LENGTH} characters, which no command may name"


def _is_shown(text: str, length: int) -> bool:
    return 0 < len(text) <= length and text.isprintable() and text == text.strip()


def check_tenant_commands(commands: TenantCommands) -> _Problems:
    """Yield what is wrong with the commands of a tenant."""
    for number, reason in enumerate(commands.pause_reasons or (), 1):
        try:
            pause_reason(reason)
        except ValueError as error:
            yield f"pause_reasons[{number}]", str(error)
    if text := repeated_code(commands.dispositions or ()):
        yield "dispositions", text
    if text := repeated_destination(commands.destinations or ()):
        yield "destinations", text
    for name, source in commands.route.items():
        if not _is_routed(name):
            yield "route", f"{shown(name)}: {unknown('command', name, COMMANDS)}"
        if not 0 < len(source) <= 255 or not source.isprintable():
            yield "route", f"{shown(source)} is not the name of a source"


def repeated_code(dispositions: Sequence[Disposition]) -> str | None:
    """Return why dispositions cannot be used together; None if they can."""
    return _repeated("code", (one.code for one in dispositions))


def repeated_destination(destinations: Sequence[Destination]) -> str | None:
    """Return why destinations cannot be used together; None if they can."""
    names = _repeated("name", (one.name for one in destinations))
    return names or _repeated("destination", (one.destination for one in destinations))


def _repeated(field: str, values: Iterable[str]) -> str | None:
    for value, count in Counter(values).items():
        if count > 1:
            return f"{count} of them have the {field} {shown(value)}; each needs its own"
    return None


def decode_command_table(
    key: str, hint: object, value: object, base: Path, report: Callable[[str, str], None]
) -> object:
    """Return the value of a key that holds tables; None if there was a problem, each of which was reported."""
    limits = {
        "dispositions": MAX_DISPOSITIONS,
        "destinations": MAX_DESTINATIONS,
        "agent": len(COMMANDS),
        "supervisor": len(COMMANDS),
    }
    return TableDecoder(base, None, report, COMMAND_CHECKS, limits).decode(key, hint, value)


def _is_routed(name: str) -> bool:
    beginning = name.removesuffix("*")
    if beginning == name:
        return name in COMMANDS
    return beginning.endswith(".") and any(command.startswith(beginning) for command in COMMANDS)


TABLE_KEYS = frozenset({"commands.allow", "commands.dispositions", "commands.destinations"})
"""The keys whose values are tables, or lists of tables."""

COMMAND_CHECKS: Mapping[type, Check] = {
    AllowedCommands: check_allowed,
    Disposition: check_disposition,
    Destination: check_destination,
    TenantCommands: check_tenant_commands,
}
