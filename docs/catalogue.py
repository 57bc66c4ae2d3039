"""Sphinx directives that print the tables of the code, so that the pages cannot drift from it.

``event-catalogue`` prints ``events.catalogue.CATALOGUE``, ``close-codes`` and ``error-codes`` print the tables of
``errors``, ``broadcaster-methods`` prints what ``EventMethods`` can say, ``default-limits`` the ``Limits``.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from typing import Any, ClassVar, get_args

import msgspec
from docutils.nodes import Node
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from callcenter_ws.delivery.limits import Limits
from callcenter_ws.errors import CLOSES, ERRORS
from callcenter_ws.events.catalogue import CATALOGUE, AgentState, Call, EventType, Payload
from callcenter_ws.events.methods import EventMethods

_MEANING = re.compile(r"(?P<meaning>.+): ``(?P<event>[a-z.]+)``\.")


def table(header: Iterable[str], rows: Iterable[Iterable[str]], widths: str = "auto") -> Iterator[str]:
    """Yield the lines of a list-table."""
    yield from ("", ".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", "")
    for row in (header, *rows):
        for number, cell in enumerate(row):
            yield f"   {'* -' if number == 0 else '  -'} {cell}".rstrip()
    yield ""


def methods() -> dict[str, tuple[str, str]]:
    """The EventBroadcaster's methods: event type to method name and meaning."""
    found = {}
    for name, method in inspect.getmembers(EventMethods, inspect.isfunction):
        match = _MEANING.search(inspect.getdoc(method) or "")
        if match and not name.startswith("_"):
            found[match["event"]] = (name, match["meaning"])
    return found


def event_catalogue() -> Iterator[str]:
    """Yield a section per event type, after one for the fields that all calls share."""
    yield from ("Call fields", "-----------", "")
    yield "Every event whose entry says *call fields* may carry these; ``unique_id`` is required in all of them."
    yield from table(("field", "value"), _fields(Call, set()))
    for type_ in CATALOGUE.values():
        yield from (type_.name, "-" * len(type_.name), "")
        yield from _about(type_)


def _about(type_: EventType) -> Iterator[str]:
    _, meaning = methods().get(type_.name, ("", ""))
    if meaning:
        yield from (f"{meaning}.", "")
    yield f":seen by: {', '.join(sorted(role.value for role in type_.audience))}"
    if type_.needs_user:
        yield ":for one user: ``user_id`` is required beside the payload"
    if type_.slot is not None:
        entity = ", ".join(" or ".join(f"``{field}``" for field in fields) for fields in type_.slot.entity)
        yield f":snapshot: {_slot(type_.slot.kind, type_.slot.keeps, type_.slot.drops)} (by {entity})"
    if type_.conflate_by is not None:
        keys = ", ".join(f"``{field}``" for field in type_.conflate_by)
        yield f":conflation: while a client lags, only the newest per {keys} matters"
    yield ""
    shared: set[str] = set()
    if issubclass(type_.payload, Call):
        # A call field that this type requires is listed again.
        known = {(field.name, field.required) for field in msgspec.structs.fields(Call)}
        shared = {f.name for f in msgspec.structs.fields(type_.payload) if (f.name, f.required) in known}
    yield "Payload: the call fields, and" if shared else "Payload:"
    yield from table(("field", "value"), _fields(type_.payload, shared))


def _slot(kind: str, keeps: str | None, drops: str | None) -> str:
    if keeps is not None:
        return f"kept as the last *{keeps}* of its {kind}"
    return f"removes the {kind}" if drops == "*" else f"removes the *{drops}* of its {kind}"


def _fields(payload: type[Payload], without: set[str]) -> Iterator[tuple[str, str]]:
    info: Any = msgspec.inspect.type_info(payload)
    for field in info.fields:
        if field.name not in without:
            name = f"``{field.encode_name}``"
            yield f"**{name[2:-2]}**" if field.required else name, _value(field.type)


def _value(type_: Any) -> str:
    match type_:
        case msgspec.inspect.UnionType(types=types):
            names = dict.fromkeys(_value(one) for one in types if not isinstance(one, msgspec.inspect.NoneType))
            names = {"id": None} if set(names) == {"text", "whole number"} else names
            return "number" if set(names) == {"whole number", "number"} else " or ".join(names)
        case msgspec.inspect.LiteralType(values=values):
            # The order of the declaration, which tells more than the alphabet.
            order: Iterable[str] = get_args(AgentState) if set(values) == set(get_args(AgentState)) else values
            return ", ".join(f"``{value}``" for value in order)
        case msgspec.inspect.ListType(item_type=item):
            return f"list of {_value(item)}"
        case msgspec.inspect.IntType(ge=0):
            return "whole number, 0 or more"
    return _NAMES[type(type_)]


_NAMES = {
    msgspec.inspect.StrType: "text",
    msgspec.inspect.IntType: "whole number",
    msgspec.inspect.FloatType: "number",
    msgspec.inspect.BoolType: "true or false",
    msgspec.inspect.DateTimeType: "instant",
    msgspec.inspect.DictType: "object",
    msgspec.inspect.AnyType: "any JSON",
}


def close_codes() -> Iterator[str]:
    """Yield the table of close codes."""
    rows = (
        (str(entry.code.value), f"``{entry.name}``", entry.text, _after(entry.code.value, entry.code.reconnect))
        for entry in CLOSES.values()
    )
    return table(("code", "name", "text", "then"), rows)


def _after(code: int, reconnect: bool) -> str:
    if code < 4000:
        return "as RFC 6455 says"
    return "reconnect and resume" if reconnect else "do not reconnect"


def error_codes() -> Iterator[str]:
    """Yield the table of error codes."""
    rows = (
        (f"``{entry.code}``", str(entry.http_status), f"``{entry.amp_code.decode()}``", entry.text)
        for entry in ERRORS.values()
    )
    return table(("code", "HTTP status", "AMP error", "meaning"), rows)


def broadcaster_methods() -> Iterator[str]:
    """Yield the table of the EventBroadcaster's methods, in the order of the catalogue."""
    said = methods()
    rows = []
    for event in CATALOGUE:
        if event in said:
            name, _ = said[event]
            arguments = list(inspect.signature(getattr(EventMethods, name)).parameters.values())[1:]
            shown = ", ".join(
                f"**{argument.name}" if argument.kind.name == "VAR_KEYWORD" else argument.name for argument in arguments
            )
            rows.append((f"``{name}({shown})``", f"``{event}``"))
    return table(("method", "event"), rows, "70 30")


def default_limits() -> Iterator[str]:
    """Yield the table of limits and their defaults."""
    return table(("key", "default"), ((f"``limits.{field.name}``", f"{field.default:,}") for field in fields(Limits)))


class Printed(SphinxDirective):
    """Parses the lines that a function yields."""

    lines: ClassVar[Callable[[], Iterator[str]]]

    def run(self) -> list[Node]:
        """Return the nodes."""
        text = "\n".join(type(self).lines())
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    unsaid = CATALOGUE.keys() - methods().keys()
    if unsaid != {"presence.changed"}:
        raise ValueError(f"no EventBroadcaster method says {unsaid}, or its docstring does not name the event")

    for print_ in (event_catalogue, close_codes, error_codes, broadcaster_methods, default_limits):
        directive = type(print_.__name__, (Printed,), {"lines": staticmethod(print_)})
        app.add_directive(print_.__name__.replace("_", "-"), directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
