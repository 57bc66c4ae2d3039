"""Reads the settings from a TOML file, the environment and ``--set``; later sources override earlier ones.

All problems are reported together, each with its source, its key and a reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from callcenter_ws.config import rules, validators
from callcenter_ws.config.command_settings import TABLE_KEYS, decode_command_table
from callcenter_ws.config.findings import Rule
from callcenter_ws.config.settings import KEYS, SECTIONS, PublicTenantSettings, Settings
from callcenter_ws.config.tenant_settings import TenantSettings
from callcenter_ws.config.tenants import decode_tenants
from callcenter_ws.events.principal import EVERY_TENANT
from callcenter_ws.runtime import credentials
from callcenter_ws.runtime.setting_problems import ConfigError, Problem, unknown
from callcenter_ws.runtime.setting_values import (
    SettingValue,
    converted,
    given_value,
    kind_of,
    plain,
    value_of_text,
    with_credentials,
)
from callcenter_ws.runtime.toml import parse_toml, read_file

__all__ = ["ConfigError", "Problem", "Settings", "load"]

ENVIRONMENT_PREFIX = "CALLCENTER_WS_"

OTHER_VARIABLES = frozenset(
    {
        *("CALLCENTER_WS_DEMO_DIR", "CALLCENTER_WS_TOKEN", "CALLCENTER_WS_PYTHON27", "CALLCENTER_WS_SEED"),
        *("CALLCENTER_WS_FAULTS", "CALLCENTER_WS_KILLS", "CALLCENTER_WS_SOURCE_FAULTS"),
        *("CALLCENTER_WS_DRAIN_CLIENTS", "CALLCENTER_WS_TAB_SECONDS", "CALLCENTER_WS_COMMAND_SECONDS"),
    }
)
"""Variables of the demo, of ``callcenter-ws tail`` and of the tests. They are not settings."""

_TENANT_HINTS: Mapping[str, Any] = get_type_hints(PublicTenantSettings)  # types
"""The fields of a public tenant. Made once: it takes as long as reading a tenant, and a reload holds the gateway."""

TENANTS = "tenants.by_name"
"""The key of the whole table ``tenants``; the names of its tables are those of tenants."""

_HIDDEN = "store.url"
"""The setting whose value may contain a password."""


def load(
    path: Path | None,
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = MappingProxyType({}),
    demo: bool = False,
    folder: Path | None = None,
    content: bytes | None = None,
) -> Settings:
    """Return the settings, complete and checked.

    Args:
        path: the TOML file; None for no file.
        overrides: assignments ``section.key=value``, as given to ``--set``.
        environ: the environment. Variables named ``CALLCENTER_WS_SECTION__KEY`` are read; other variables with this
            prefix cause a warning, unless they are in ``OTHER_VARIABLES``.
        demo: do not warn of missing secrets; the demo has its own.
        folder: the folder in which relative paths of ``path``, ``overrides`` and ``environ`` start; None: the current.
        content: the content of the TOML file, if it was read before. Messages name ``path`` all the same, in whose
            folder the relative paths start.

    Raises:
        ConfigError: with all problems.
    """
    folder = Path.cwd() if folder is None else folder
    problems: list[Problem] = []
    found: dict[str, _Found] = {}
    file_was_read = True
    if path is not None:
        try:
            _read_table(
                parse_toml(read_file(folder / path) if content is None else content),
                path,
                (folder / path).parent,
                found,
                problems,
            )
        except ValueError as error:
            problems.append(Problem(str(path), "", str(error)))
            file_was_read = False
    _read_environment(environ, folder, found, problems)
    _read_overrides(overrides, folder, found, problems)
    decoder = _Decoder(found, str(path or "defaults"), problems, environ.get(credentials.VARIABLE))
    settings = decoder.settings((folder / path).parent if path else folder)
    # Without the file every key has its default: problems of the defaults would mislead.
    if file_was_read:
        problems += decoder.findings(rules.RULES, settings)
    if problems:
        raise ConfigError(problems)
    warning_rules = rules.WARNINGS if demo else (*rules.ACCESS_WARNINGS, *rules.WARNINGS)
    warnings = [str(warning) for warning in (*_unread_variables(environ), *decoder.findings(warning_rules, settings))]
    return msgspec.structs.replace(settings, warnings=tuple(warnings))


# Reading the sources


@dataclass(frozen=True, slots=True)
class _Found:
    """A value as it was read, with its source. Relative paths in it start in the folder ``base``."""

    value: object
    source: str
    base: Path


def _read_table(
    table: Mapping[str, object], path: Path, base: Path, found: dict[str, _Found], problems: list[Problem]
) -> None:
    for section, entries in table.items():
        if section not in SECTIONS:
            problems.append(Problem(str(path), section, _unknown("section", section, SECTIONS)))
        elif not isinstance(entries, dict):
            problems.append(Problem(str(path), section, f"expected a table, written as [{section}]"))
        elif section == "tenants":
            found[TENANTS] = _Found(entries, str(path), base)
        else:
            for name, value in entries.items():
                key = f"{section}.{name}"
                if key in KEYS:
                    found[key] = _Found(value, str(path), base)
                else:
                    problems.append(Problem(str(path), key, _unknown("key", key, KEYS)))


def _read_environment(
    environ: Mapping[str, str], base: Path, found: dict[str, _Found], problems: list[Problem]
) -> None:
    for variable in sorted(environ):
        section, separator, name = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        if variable.startswith(ENVIRONMENT_PREFIX) and separator:
            _read_text(f"{section}.{name}", environ[variable], variable, base, found, problems)


def _unread_variables(environ: Mapping[str, str]) -> list[Problem]:
    """Return variables that look like settings but are not; most often the second underscore is missing."""
    intended = {key.replace(".", "_").upper(): key.replace(".", "__").upper() for key in KEYS}
    problems = []
    for variable in sorted(environ):
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if variable.startswith(ENVIRONMENT_PREFIX) and "__" not in name and variable not in OTHER_VARIABLES:
            close = get_close_matches(name.upper(), intended, 1)
            reason = "is not a setting, and is not read" + (
                f"; did you mean {ENVIRONMENT_PREFIX}{intended[close[0]]}?" if close else ""
            )
            problems.append(Problem(variable, "", reason))
    return problems


def _read_overrides(overrides: Sequence[str], base: Path, found: dict[str, _Found], problems: list[Problem]) -> None:
    for override in overrides:
        key, separator, text = override.partition("=")
        if separator:
            _read_text(key.strip(), text, "--set", base, found, problems)
        else:
            problems.append(Problem("--set", key[:80], "expected section.key=value"))


def _read_text(key: str, text: str, source: str, base: Path, found: dict[str, _Found], problems: list[Problem]) -> None:
    if key not in KEYS:
        problems.append(Problem(source, key[:80], _unknown("key", key, KEYS)))
        return
    try:
        found[key] = _Found(value_of_text(KEYS[key], text), source, base)
    except ValueError as error:
        problems.append(Problem(source, key, str(error)))


def _unknown(what: str, name: str, known: Mapping[str, object]) -> str:
    if name.startswith("public.tenants."):
        return "all tenants are set together: 'public.tenants={acme = {origins = [\"https://acme.example\"]}}'"
    if name.startswith("tenants."):
        return "all tenants are set together: 'tenants.by_name={acme = {statistics = {enabled = true}}}'"
    return unknown(what, name, known)


# Making values


class _Invalid(Exception):
    """A value cannot be used; the problem has been recorded."""


class _Decoder:
    """Converts the values that were read into settings, and records the keys that cannot be used."""

    def __init__(
        self,
        found: Mapping[str, _Found],
        default_source: str,
        problems: list[Problem],
        credentials_folder: str | None,
    ) -> None:
        self._credentials = credentials_folder
        self._found = found
        self._default_source = default_source
        self._problems = problems
        self._invalid: set[str] = set()

    def settings(self, folder: Path) -> Settings:
        """Return the settings; keys with problems keep their defaults."""
        values: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
        for key, found in self._found.items():
            section, _, name = key.partition(".")
            try:
                value = self._decode(key, found)
                if key == "store.url" and found.base != folder:
                    value = validators.store_url_from(value, found.base)
                values[section][name] = value
            except _Invalid:
                self._invalid.add(key)
        return Settings(folder=folder, **{section: SECTIONS[section](**values[section]) for section in SECTIONS})

    def findings(self, checks: Sequence[Rule], settings: Settings) -> list[Problem]:
        """Return the findings of ``checks``, without those that depend on keys that have a problem already."""
        return [
            Problem(self._source(finding.key), finding.key, finding.reason)
            for check in checks
            for finding in check(settings)
            if self._invalid.isdisjoint((finding.key, *finding.also))
        ]

    def _source(self, key: str) -> str:
        found = self._found.get(TENANTS if key.startswith("tenants.") else key)
        return found.source if found else self._default_source

    def _decode(self, key: str, found: _Found) -> SettingValue:
        if key == "public.tenants":
            return self._tenants(key, found)
        if key == TENANTS:
            return self._tenants_by_name(found)
        if key in TABLE_KEYS:
            return self._table(key, found)
        return self._value(key, key, KEYS[key], found.value, found)

    def _value(self, key: str, rule: str, hint: object, value: object, found: _Found) -> SettingValue:
        """Return ``value`` converted to ``hint`` and checked with the text check named ``rule``."""
        if value == "" and NoneType in get_args(hint):
            return None
        if get_origin(hint) is not tuple:
            try:
                return _leaf(rule, hint, with_credentials(hint, value, self._credentials), found.base)
            except ValueError as error:
                raise self._invalid_because(key, found, str(error)) from None
        if not isinstance(value, list):
            raise self._invalid_because(
                key, found, f"expected a list, got {kind_of(value) if rule == _HIDDEN else given_value(value)}"
            )
        return tuple(self._items(key, rule, get_args(hint)[0], value, found))

    def _items(self, key: str, rule: str, hint: object, values: Sequence[object], found: _Found) -> list[object]:
        items = []
        for number, value in enumerate(values, 1):
            try:
                items.append(_leaf(rule, hint, with_credentials(hint, value, self._credentials), found.base))
            except ValueError as error:
                self._problems.append(Problem(found.source, key, f"item {number}: {error}"))
        if len(items) < len(values):
            raise _Invalid
        return list(dict.fromkeys(items))

    def _invalid_because(self, key: str, found: _Found, reason: str) -> _Invalid:
        self._problems.append(Problem(found.source, key, reason))
        return _Invalid()

    def _tenants_by_name(self, found: _Found) -> Mapping[str, TenantSettings]:
        before = len(self._problems)
        tenants = decode_tenants(
            found.value,
            found.base,
            self._credentials,
            lambda path, reason: self._problems.append(Problem(found.source, path, reason)),
        )
        if tenants is None or len(self._problems) > before:
            raise _Invalid
        return tenants

    def _table(self, key: str, found: _Found) -> SettingValue:
        before = len(self._problems)
        value = decode_command_table(
            key,
            KEYS[key],
            found.value,
            found.base,
            lambda path, reason: self._problems.append(Problem(found.source, path, reason)),
        )
        if len(self._problems) > before:
            raise _Invalid
        return value

    def _tenants(self, key: str, found: _Found) -> Mapping[str, PublicTenantSettings]:
        if not isinstance(found.value, dict):
            raise self._invalid_because(key, found, "expected tables, each written as [public.tenants.NAME]")
        before = len(self._problems)
        tenants = {}
        for name, table in found.value.items():
            path = f"{key}.{name if re.fullmatch('[A-Za-z0-9_-]+', name) else json.dumps(name)}"
            if not 0 < len(name) <= 255 or name == EVERY_TENANT:
                self._problems.append(Problem(found.source, path, "cannot be the name of a tenant"))
            tenants[name] = self._tenant(path, table, found)
        if len(self._problems) > before:
            raise _Invalid
        return MappingProxyType(tenants)

    def _tenant(self, path: str, table: object, found: _Found) -> PublicTenantSettings:
        if not isinstance(table, dict):
            self._problems.append(Problem(found.source, path, f"expected a table, written as [{path}]"))
            return PublicTenantSettings()
        values = {}
        for name, value in table.items():
            key = f"{path}.{name}"
            if name not in _TENANT_HINTS:
                self._problems.append(Problem(found.source, key, _unknown("field", name, _TENANT_HINTS)))
                continue
            try:
                values[name] = self._value(key, f"public.tenants.*.{name}", _TENANT_HINTS[name], value, found)
            except _Invalid:
                continue
        return PublicTenantSettings(**values)


def _leaf(rule: str, hint: object, value: object, base: Path) -> SettingValue:
    """Return a value that is not a list, converted to ``hint``; raise ``ValueError`` with a reason."""
    result = converted(hint, value, base, hide_value=rule == _HIDDEN)
    if plain(hint) is Path:
        return validators.public_key_file(result) if rule == "jwt.public_key_files" else result
    check = rules.TEXT_CHECKS.get(rule)
    return check(result) if check else result
