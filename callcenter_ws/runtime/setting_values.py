"""Converts values of a TOML file, of the environment and of ``--set`` to the types of the settings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import msgspec
from msgspec import Meta

from callcenter_ws.runtime.credentials import endpoint_of_credentials, path_of_credential
from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.toml import NOT_TOML, toml_value

SettingValue = Any  # a converted value has the type of its key


class Range(NamedTuple):
    """The smallest and the largest value of a number."""

    smallest: float
    largest: float


def range_of(annotation: object) -> Range | None:
    """Return the range in the type annotation of a setting; None for anything but a number."""
    for meta in getattr(annotation, "__metadata__", ()):
        if isinstance(meta, Meta) and meta.ge is not None and meta.le is not None:
            return Range(meta.ge, meta.le)
    return None


def shown(text: str) -> str:
    """Return a text of the settings, quoted and shortened for an error message."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


def plain(hint: object) -> object:
    """Return ``X`` for ``X | None`` and ``Annotated[X, …]``, any other type unchanged."""
    if get_origin(hint) is Annotated:
        return get_args(hint)[0]
    alternatives = get_args(hint)
    if NoneType in alternatives:
        (hint,) = (alternative for alternative in alternatives if alternative is not NoneType)
    return hint


def value_of_text(hint: object, text: str) -> object:
    """Return the value of a text from the command line or the environment for a field of type ``hint``.

    Raises:
        ValueError: it begins like a list and is none.
    """
    hint = plain(hint)
    parsed = toml_value(text)
    if get_origin(hint) is tuple:
        if isinstance(parsed, list):
            return parsed
        if text.lstrip().startswith("["):
            raise ValueError("is not a TOML list; did the shell remove the quotes?")
        return [parsed] if isinstance(parsed, str) else [item.strip() for item in text.split(",") if item.strip()]
    if get_origin(hint) is Literal and parsed in get_args(hint):
        return parsed
    if hint in (str, Path, EndpointDescription) or get_origin(hint) is Literal:
        return parsed if isinstance(parsed, str) else text
    return text if parsed is NOT_TOML else parsed


def with_credentials(hint: object, value: object, folder: str | None) -> object:
    """Return a value in which the folder of systemd's credentials is written out.

    Args:
        folder: that folder; None if systemd has not started this process.

    Raises:
        ValueError: the value names the folder, and there is none.
    """
    if not isinstance(value, str):
        return value
    if plain(hint) is Path:
        return path_of_credential(value, folder)
    if plain(hint) is EndpointDescription:
        return endpoint_of_credentials(value, folder)
    return value


def converted(hint: object, value: object, base: Path, *, hide_value: bool = False) -> SettingValue:
    """Return a value that is not a list, converted to the type ``hint``; the text of an endpoint stays a text.

    Args:
        base: the folder in which relative paths start.
        hide_value: whether the value may hold a password, and must not be shown.

    Raises:
        ValueError: with the reason.
    """
    limits, hint = range_of(hint), plain(hint)
    if hint is Path:
        if not isinstance(value, str) or not value:
            raise ValueError(f"expected the path of a file, got {kind_of(value)}")
        return base / value
    if hint is EndpointDescription:
        hint = str
    try:
        result = msgspec.convert(value, hint)
    except (msgspec.ValidationError, OverflowError, UnicodeError):
        given = kind_of(value) if hide_value else given_value(value)
        raise ValueError(f"expected {_expected(hint)}, got {given}{_near(hint, value)}") from None
    if limits is not None and not (math.isfinite(result) and limits.smallest <= result <= limits.largest):
        raise ValueError(f"{result} is out of range: {limits.smallest} to {limits.largest}")
    return result


def given_value(value: object) -> str:
    """Return the kind of a value and the value itself, for an error message."""
    kind = kind_of(value)
    if value == "" or not isinstance(value, str | int | float):
        return kind
    return f"{kind}: {shown(value) if isinstance(value, str) else str(value).lower()[:80]}"


def kind_of(value: object) -> str:
    """Return the kind of a value in words, for an error message."""
    for kinds, name in _KIND_NAMES:
        if isinstance(value, kinds):
            return name if value != "" else "an empty string"
    return "a date or time"


def _expected(hint: object) -> str:
    if get_origin(hint) is Literal:
        return " or ".join(json.dumps(choice) for choice in get_args(hint))
    return _EXPECTED[hint]


_EXPECTED: Mapping[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string in quotes",
}


def _near(hint: object, value: object) -> str:
    """Return a suggestion for a misspelled choice."""
    choices = [str(choice) for choice in get_args(hint)] if get_origin(hint) is Literal else []
    close = get_close_matches(value[:80].lower(), choices, 1) if isinstance(value, str) else []
    return f"; did you mean {json.dumps(close[0])}?" if close else ""


_KIND_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "a boolean"),
    (int, "a whole number"),
    (float, "a number with a fraction"),
    (str, "a string"),
    (list, "a list"),
    (dict, "a table"),
)
