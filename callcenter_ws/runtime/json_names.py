"""Names of JSON's types for error messages, which are read by authors of senders and clients in any language."""

from __future__ import annotations

import re

_NAMES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "datetime": "an RFC 3339 instant",
    "object": "an object",
    "array": "an array",
    "null": "null",
}
"""msgspec's names of types, which are partly Python's."""

_TYPES = re.compile(r"`([a-z]+(?: \| [a-z]+)*)`")


def json_name(value: object) -> str:
    """Return the name of the type of a decoded value, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    for kinds, name in ((str, "str"), (int, "int"), (float, "float"), ((list, tuple), "array")):
        if isinstance(value, kinds):
            return _NAMES[name]
    return _NAMES["object"]


def with_json_names(text: str) -> str:
    """Return a text of msgspec with JSON's names: ``expected `str | null`, got `int` `` says string, null, integer."""
    return _TYPES.sub(lambda found: " or ".join(_NAMES.get(name, name) for name in found[1].split(" | ")), text)
