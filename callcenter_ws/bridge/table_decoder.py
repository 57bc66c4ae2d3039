"""Converts tables of a TOML file to the settings of a bridge, and records every problem with them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from callcenter_ws.runtime.setting_problems import Problem, unknown
from callcenter_ws.runtime.setting_values import SettingValue, converted, given_value, kind_of, plain, with_credentials

Table = TypeVar("Table", bound=msgspec.Struct)

Check = Callable[[Any], object]  # it is called with a value of the type of its field
"""Checks and normalises a value; raises ``ValueError`` with the reason."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was set, and the folder in which relative paths of it start."""

    source: str
    base: Path


class _Invalid(Exception):
    """A value cannot be used; the problem has been recorded."""


class TableDecoder:
    """Converts tables, and records what cannot be used.

    Args:
        file: where values were set, unless ``overridden`` has their key.
        checks: of single values, by the class of the table and the name of the field.
        credentials_folder: that of systemd; None if it has not started this process.
        fallbacks: values of fields that have no default and may be missing nevertheless.

    Attributes:
        problems: what was found.
    """

    def __init__(
        self,
        file: Origin,
        overridden: Mapping[str, Origin],
        checks: Mapping[tuple[type, str], Check],
        credentials_folder: str | None,
        fallbacks: Mapping[tuple[type, str], object],
    ) -> None:
        self._file = file
        self._overridden = overridden
        self._checks = checks
        self._credentials = credentials_folder
        self._fallbacks = fallbacks
        self.problems: list[Problem] = []

    def table(self, cls: type[Table], table: object, key: str) -> Table | None:
        """Return a table as a ``cls``; fields with problems have their defaults. None if it cannot be used."""
        if not isinstance(table, dict):
            self.report(key, f"expected a table, got {kind_of(table)}")
            return None
        hints, values, is_usable = fields_of(cls), {}, True
        for name, value in table.items():
            if name not in hints:
                self.report(f"{key}.{quoted(name)}", unknown("key", name, hints))
                continue
            try:
                values[name] = self._field(cls, name, value, f"{key}.{name}")
            except _Invalid:
                is_usable = is_usable and name not in _required(cls)
        for name in _required(cls):
            if name not in table:
                if (cls, name) in self._fallbacks:
                    values[name] = self._fallbacks[cls, name]
                else:
                    self.report(f"{key}.{name}", "is missing")
                    is_usable = False
        return cls(**values) if is_usable else None

    def report(self, key: str, reason: str) -> None:
        """Record a problem with a key."""
        self.problems.append(Problem(self._origin(key).source, key, reason))

    def _origin(self, key: str) -> Origin:
        return self._overridden.get(key, self._file)

    def _field(self, cls: type, name: str, value: object, key: str) -> SettingValue:
        hint, check = fields_of(cls)[name], self._checks.get((cls, name))
        if value == "" and NoneType in get_args(hint):
            return None
        kind, arguments = get_origin(plain(hint)), get_args(plain(hint))
        if kind is tuple and is_table(arguments[0]):
            return self._tables(arguments[0], value, key)
        if kind is tuple:
            return self._items(arguments[0], check, value, key)
        if kind is dict:
            return self._named_tables(arguments[1], check, value, key)
        if is_table(plain(hint)):
            return self._required_table(plain(hint), value, key)
        return self._leaf(hint, check, value, key, key)

    def _leaf(self, hint: object, check: Check | None, value: object, key: str, origin: str, place: str = "") -> object:
        try:
            filled = with_credentials(hint, value, self._credentials)
            result = converted(hint, filled, self._origin(origin).base)
            return check(result) if check else result
        except ValueError as error:
            self.report(key, f"{place}{error}")
            raise _Invalid from None

    def _items(self, hint: object, check: Check | None, value: object, key: str) -> tuple[object, ...]:
        items, is_usable = [], True
        for number, item in enumerate(self._list(value, key), 1):
            try:
                items.append(self._leaf(hint, check, item, key, key, f"item {number}: "))
            except _Invalid:
                is_usable = False
        if not is_usable:
            raise _Invalid
        return tuple(dict.fromkeys(items))

    def _tables(self, cls: Any, value: object, key: str) -> tuple[object, ...]:  # a class of tables
        tables = [self.table(cls, item, f"{key}[{number}]") for number, item in enumerate(self._list(value, key), 1)]
        if None in tables:
            raise _Invalid
        return tuple(tables)

    def _named_tables(self, cls: Any, check: Check | None, value: object, key: str) -> object:  # a class of tables
        if not isinstance(value, dict):
            self.report(key, f"expected a table of tables, got {kind_of(value)}")
            raise _Invalid
        found, is_usable = {}, True
        for name, table in value.items():
            try:
                self._leaf(str, check, name, f"{key}.{quoted(name)}", key)
                found[name] = self._required_table(cls, table, f"{key}.{quoted(name)}")
            except _Invalid:
                is_usable = False
        if not is_usable:
            raise _Invalid
        return found

    def _required_table(self, cls: Any, value: object, key: str) -> object:  # a class of tables
        found: object = self.table(cls, value, key)
        if found is None:
            raise _Invalid
        return found

    def _list(self, value: object, key: str) -> list[object]:
        if not isinstance(value, list):
            self.report(key, f"expected a list, got {given_value(value)}")
            raise _Invalid
        return value


def is_table(hint: object) -> bool:
    """Return whether a type is that of a table."""
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


@cache
def fields_of(cls: type) -> Mapping[str, object]:
    """Return the fields of a table with their types; that of a number has its range."""
    return get_type_hints(cls, include_extras=True)


@cache
def _required(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in msgspec.structs.fields(cls) if field.required)


def quoted(name: str) -> str:
    """Return a part of a key as TOML writes it."""
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else json.dumps(name[:80])
