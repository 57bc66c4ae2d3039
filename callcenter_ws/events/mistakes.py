"""Names everything that is wrong with an event that was refused. Not used for valid events."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice

import msgspec

from callcenter_ws.events.catalogue import CATALOGUE, EVERYTHING
from callcenter_ws.runtime.json import MAX_INTEGER, MIN_INTEGER
from callcenter_ws.runtime.json_names import json_name, with_json_names
from callcenter_ws.runtime.suggestions import MAX_WORDS, closest_name, did_you_mean

MAX_MISTAKES = 10
"""Mistakes that one refusal names."""

MAX_VALUES = 2_000
"""Values of a payload that are searched for a number that is out of range."""

MAX_LISTED = 20
"""Values of an enumeration that are named."""

MAX_PATH_LENGTH = 200

_MISSING = re.compile(r"Object missing required field `(.+)`")

_LOCATION = re.compile(r"(.*) - at `\$(.*)`", re.DOTALL)


def unknown_type(value: object, *, suggest: bool) -> str:
    """Return what is wrong with the ``type`` of an event that the catalogue does not contain."""
    if not isinstance(value, str):
        return f"type: expected a string, got {json_name(value)}"
    return f"type: there is no event type {value[:64]!r}{did_you_mean(value, CATALOGUE) if suggest else ''}"


def unknown_pattern(pattern: str) -> str:
    """Return what is wrong with a pattern that matches no event type."""
    families = dict.fromkeys(name.partition(".")[0] + ".*" for name in CATALOGUE)
    return f"there is no event type {pattern[:64]!r}{did_you_mean(pattern, (*families, EVERYTHING, *CATALOGUE))}"


def unknown_fields(draft: Iterable[object], known: Collection[str], *, suggest: bool) -> str:
    """Return what is wrong with an event that has fields beside ``known``."""
    names = islice((str(key) for key in draft if key not in known), MAX_MISTAKES)
    texts = [f"unknown field {name[:64]!r}{did_you_mean(name, known) if suggest else ''}" for name in names]
    return join_mistakes([*texts, "additional fields belong in the payload"])


def join_mistakes(mistakes: Iterable[str]) -> str:
    """Return at most ``MAX_MISTAKES`` mistakes as one text."""
    texts = list(islice(dict.fromkeys(mistakes), MAX_MISTAKES + 1))
    if len(texts) > MAX_MISTAKES:
        texts[MAX_MISTAKES] = "and more"
    return "; ".join(texts)


def payload_mistakes(payload: object, declared: type[msgspec.Struct], *, strict: bool = True) -> Iterator[str]:
    """Yield what is wrong with each declared field of a payload; for a missing one, which other may be meant by it.

    Args:
        strict: texts are not converted to numbers.
    """
    if not isinstance(payload, Mapping):
        yield _conversion_error(payload, declared, "", strict) or "payload: expected an object"
        return
    fields = msgspec.structs.fields(declared)
    names = {field.encode_name for field in fields}
    others = [name for name in islice(payload, MAX_WORDS) if isinstance(name, str) and name not in names]
    for field in fields:
        name = field.encode_name
        if name in payload:
            mistake = _conversion_error(payload[name], field.type, f".{name}", strict)
            if mistake is not None:
                yield mistake
        elif field.required:
            meant = closest_name(name, others)
            yield f"payload.{name}: required" + ("" if meant is None else f" (is {meant[:64]!r} meant?)")


def _conversion_error(value: object, type_: object, where: str, strict: bool) -> str | None:
    try:
        msgspec.convert(value, type_, strict=strict)
    except msgspec.ValidationError as error:
        values = _values_of(msgspec.inspect.type_info(type_))
        if values and isinstance(value, str):
            return f"payload{where}: expected one of: {', '.join(values)}"
        return payload_path(str(error), where)
    return None


def _values_of(declared: msgspec.inspect.Type) -> list[str]:
    """Return the values of an enumeration, which may be optional; none of another type."""
    kinds = declared.types if isinstance(declared, msgspec.inspect.UnionType) else (declared,)
    enumerations = [kind for kind in kinds if not isinstance(kind, msgspec.inspect.NoneType)]
    if len(enumerations) != 1 or not isinstance(enumerations[0], msgspec.inspect.LiteralType):
        return []
    return [str(value) for value in enumerations[0].values[:MAX_LISTED]]


def payload_path(text: str, where: str = "") -> str:
    """Return msgspec's ``… - at `$.field` `` as ``payload.field: …``, without any value that was sent.

    Args:
        where: the path of the value that msgspec checked.
    """
    found = _LOCATION.fullmatch(text)
    what, inside = (found[1], found[2]) if found else (text, "")
    where += inside
    missing = _MISSING.fullmatch(what)
    if missing:
        return f"payload{where}.{missing[1]}: required"
    if what.startswith("Invalid enum value"):
        what = "not one of the values that the protocol lists"
    return f"payload{where}: {what[:1].lower()}{with_json_names(what[1:])}"


def path_of_large_integer(payload: object) -> str:
    """Return the path of an integer that is out of range; ``payload`` if it is not among the first values."""
    waiting: list[tuple[str, object]] = [("payload", payload)]
    for _ in range(MAX_VALUES):
        if not waiting:
            break
        path, value = waiting.pop()
        if isinstance(value, int) and not MIN_INTEGER <= value <= MAX_INTEGER:
            return path[:MAX_PATH_LENGTH]
        children: Iterable[tuple[str, object]] = ()
        if isinstance(value, Mapping):
            children = ((f"{path}.{str(name)[:64]}", item) for name, item in value.items())
        elif isinstance(value, list | tuple):
            children = ((f"{path}[{index}]", item) for index, item in enumerate(value))
        if len(path) <= MAX_PATH_LENGTH:
            waiting.extend(islice(children, MAX_VALUES))
    return "payload"
