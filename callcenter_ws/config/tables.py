"""Decodes tables within tables, such as those of tenants, and reports each problem with its exact path."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any, Union, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

from callcenter_ws.runtime.setting_problems import unknown
from callcenter_ws.runtime.setting_values import converted, given_value, kind_of, with_credentials

Check = Callable[[Any], Iterator[tuple[str, str]]]  # each takes an instance of its own struct
"""Checks a decoded struct; yields the name of a field, which may be empty, with a reason."""


def named(path: str, name: str) -> str:
    """Return the path of an entry, with its name in quotes where TOML needs them."""
    return f"{path}.{name if re.fullmatch('[A-Za-z0-9_-]+', name) else json.dumps(name)}"


def numbered(path: str, number: int, name: str | None) -> str:
    """Return the path of an item of a list, with its name if it has one."""
    return f"{path}[{number}]" + (f" {json.dumps(name[:80])}" if name is not None else "")


class TableDecoder:
    """Decodes values to structs, with the checks of each struct.

    Args:
        base: the folder in which relative paths start.
        credentials: the folder of systemd's credentials; None if there is none.
        report: takes the path and the reason of each problem.
        checks: the checks of structs; those of one with problems are left out.
        limits: the most entries of lists and tables, by the last part of their paths.
    """

    def __init__(
        self,
        base: Path,
        credentials: str | None,
        report: Callable[[str, str], None],
        checks: Mapping[type, Check],
        limits: Mapping[str, int],
    ) -> None:
        self._base = base
        self._credentials = credentials
        self._report = report
        self._checks = checks
        self._limits = limits
        self._problems = 0

    def decode(self, path: str, hint: object, value: object) -> Any:  # the type that ``hint`` names
        """Return a value converted to ``hint``; None if there was a problem, which has been reported."""
        hint = _not_none(hint)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            return self._struct(path, hint, value)
        if get_origin(hint) is tuple:
            return self._list(path, get_args(hint)[0], value)
        if get_origin(hint) is Mapping:
            return self._mapping(path, get_args(hint)[1], value)
        try:
            return converted(hint, with_credentials(hint, value, self._credentials), self._base)
        except ValueError as error:
            self._problem(path, str(error))
            return None

    def _problem(self, path: str, reason: str) -> None:
        self._problems += 1
        self._report(path, reason)

    def _struct(self, path: str, cls: type[msgspec.Struct], value: object) -> Any:  # an instance of ``cls``
        if not isinstance(value, dict):
            self._problem(path, f"expected a table, got {given_value(value)}")
            return None
        before = self._problems
        fields = _fields(cls)
        values = {}
        for name, item in value.items():
            if name not in fields:
                self._problem(named(path, name), unknown("field", name, fields))
            else:
                values[fields[name].name] = self.decode(f"{path}.{name}", fields[name].type, item)
        for name, field in fields.items():
            if field.required and name not in value:
                self._problem(f"{path}.{name}", "is missing")
        if self._problems > before:
            return None
        result = cls(**values)
        for name, reason in self._checks[cls](result) if cls in self._checks else ():
            self._problem(f"{path}.{name}" if name else path, reason)
        return result if self._problems == before else None

    def _list(self, path: str, hint: object, value: object) -> tuple[object, ...] | None:
        if not isinstance(value, list):
            self._problem(path, f"expected a list, got {given_value(value)}")
            return None
        if self._is_too_long(path, len(value)):
            return None
        items = [
            self.decode(numbered(path, number, _name_of(item)), hint, item) for number, item in enumerate(value, 1)
        ]
        return None if None in items else tuple(items)

    def _mapping(self, path: str, hint: object, value: object) -> Mapping[str, object] | None:
        if not isinstance(value, dict):
            self._problem(path, f"expected tables, each written as [{path}.NAME], got {kind_of(value)}")
            return None
        if self._is_too_long(path, len(value)):
            return None
        items = {name: self.decode(named(path, name), hint, item) for name, item in value.items()}
        return None if None in items.values() else MappingProxyType(items)

    def _is_too_long(self, path: str, count: int) -> bool:
        limit = self._limits.get(path.rpartition(".")[2], 1_000)
        if count > limit:
            self._problem(path, f"has {count:,} entries; at most {limit:,} are allowed")
        return count > limit


@lru_cache(maxsize=64)
def _fields(cls: type[msgspec.Struct]) -> Mapping[str, FieldInfo]:
    # Made once: a reload of many tenants would take long otherwise.
    return {field.encode_name: field for field in msgspec.structs.fields(cls)}


def _not_none(hint: object) -> object:
    if get_origin(hint) in (Union, UnionType) and type(None) in get_args(hint):
        (hint,) = (one for one in get_args(hint) if one is not type(None))
    return hint


def _name_of(item: object) -> str | None:
    name = item.get("name") if isinstance(item, dict) else None
    return name if isinstance(name, str) else None
