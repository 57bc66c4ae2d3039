"""Reads the settings of a bridge from a TOML file, the environment and ``--set``; later ones override earlier ones.

All problems are reported together, each with its source, its key and a reason (docs/bridge.rst, "Settings").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from msgspec.structs import replace

from callcenter_ws.bridge.setting_checks import CHECKS, NO_SECRETS
from callcenter_ws.bridge.settings import (
    BridgeSettings,
    GatewaySettings,
    LogSettings,
    MetricsSettings,
    SourceSettings,
)
from callcenter_ws.bridge.table_decoder import Origin, TableDecoder, fields_of, is_table, quoted
from callcenter_ws.runtime import credentials
from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.setting_problems import ConfigError, Problem, unknown
from callcenter_ws.runtime.setting_values import kind_of, plain, value_of_text
from callcenter_ws.runtime.toml import parse_toml, read_file

ENVIRONMENT_PREFIX = "CALLCENTER_BRIDGE_"

SECTIONS: Mapping[str, type] = {"gateway": GatewaySettings, "log": LogSettings, "metrics": MetricsSettings}
"""The tables that a file has once."""

KEYS: Mapping[str, object] = {
    f"{section}.{name}": hint for section, cls in SECTIONS.items() for name, hint in fields_of(cls).items()
}
"""The keys of these tables with their types."""

MAX_SOURCES = 100

_NOT_YET = {"freeswitch": "FreeSWITCH is not supported yet; the kind of an Asterisk is asterisk"}

_NO_ENDPOINT = EndpointDescription.parse("tcp:127.0.0.1:5038")
_OFFLINE: Mapping[tuple[type, str], object] = {
    (GatewaySettings, "endpoint"): _NO_ENDPOINT,
    (SourceSettings, "kind"): "asterisk",
    (SourceSettings, "endpoint"): _NO_ENDPOINT,
    (SourceSettings, "username"): "",
    (SourceSettings, "secret_file"): Path(),
}
"""What a command that connects to nothing does not need."""

_Tables = dict[str, object]


def load(
    path: Path,
    *,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] = MappingProxyType({}),
    folder: Path | None = None,
    offline: bool = False,
) -> BridgeSettings:
    """Return the settings, complete and checked.

    Args:
        path: the TOML file.
        overrides: assignments ``section.key=value`` and ``sources.NAME.key=value``, as given to ``--set``.
        environ: the environment. Variables named ``CALLCENTER_BRIDGE_SECTION__KEY`` are read.
        folder: the folder in which ``path`` and relative paths of ``overrides`` and ``environ`` start; None: the
            current.
        offline: for commands that connect to nothing: neither the gateway, nor the address and the secret of a source
            are required, and files with secrets are not read.

    Raises:
        ConfigError: with all problems.
    """
    folder = Path.cwd() if folder is None else folder
    try:
        tables = parse_toml(read_file(folder / path))
    except ValueError as error:
        raise ConfigError([Problem(str(path), "", str(error))]) from None
    file = Origin(str(path), (folder / path).parent)
    problems: list[Problem] = []
    sources = _source_tables(tables, file, problems)
    overriding = _Overriding(tables, sources, folder, problems)
    overriding.environment(environ)
    overriding.assignments(overrides)
    checks, fallbacks = (NO_SECRETS, _OFFLINE) if offline else (CHECKS, {})
    decoder = TableDecoder(file, overriding.origins, checks, environ.get(credentials.VARIABLE), fallbacks)
    settings = _decode(decoder, tables, sources)
    if not offline:
        _check_token(tables.get("gateway"), decoder)
    problems += decoder.problems
    if problems or settings is None:
        raise ConfigError(problems)
    return replace(settings, warnings=tuple(map(str, _warnings(settings, environ, file))))


# Tables of the file


def _source_tables(tables: _Tables, file: Origin, problems: list[Problem]) -> dict[str, _Tables]:
    """Return the tables of the sources by the first part of their keys, as ``sources.pbx1`` or ``sources[2]``."""
    problems.extend(
        Problem(file.source, quoted(name), unknown("section", name, (*SECTIONS, "sources")))
        for name in tables
        if name not in SECTIONS and name != "sources"
    )
    given = tables.get("sources", [])
    if not isinstance(given, list) or not all(isinstance(table, dict) for table in given):
        problems.append(Problem(file.source, "sources", f"expected tables, each written as [[sources]]{_hint(given)}"))
        return {}
    if not given:
        problems.append(Problem(file.source, "sources", "lists no exchange; write a table [[sources]] for each"))
    if len(given) > MAX_SOURCES:
        problems.append(Problem(file.source, "sources", f"at most {MAX_SOURCES} are allowed, got {len(given)}"))
        return {}
    found: dict[str, _Tables] = {}
    for number, table in enumerate(given, 1):
        name = table.get("name")
        key = f"sources.{quoted(name)}" if isinstance(name, str) and name else f"sources[{number}]"
        if key in found:
            problems.append(Problem(file.source, f"sources[{number}].name", f"{name!r} is the name of another source"))
            key = f"sources[{number}]"
        found[key] = table
    return found


def _hint(given: object) -> str:
    return ", with two brackets" if isinstance(given, dict) else f", got {kind_of(given)}"


def _decode(decoder: TableDecoder, tables: _Tables, sources: Mapping[str, _Tables]) -> BridgeSettings | None:
    gateway = decoder.table(GatewaySettings, tables.get("gateway", {}), "gateway")
    log = decoder.table(LogSettings, tables.get("log", {}), "log")
    metrics = decoder.table(MetricsSettings, tables.get("metrics", {}), "metrics")
    found = [_source(decoder, table, key) for key, table in sources.items()]
    usable = tuple(source for source in found if source is not None)
    if gateway is None or log is None or metrics is None or len(usable) < len(found):
        return None
    return BridgeSettings(gateway=gateway, sources=usable, log=log, metrics=metrics)


def _check_token(gateway: object, decoder: TableDecoder) -> None:
    endpoint = gateway.get("endpoint") if isinstance(gateway, dict) else None
    is_network = isinstance(endpoint, str) and endpoint.startswith(("tcp:", "tls:"))
    if is_network and isinstance(gateway, dict) and not gateway.get("token_file"):
        decoder.report("gateway.token_file", "is missing: at an endpoint of the network, senders must authenticate")


def _source(decoder: TableDecoder, table: _Tables, key: str) -> SourceSettings | None:
    kind = table.get("kind")
    if isinstance(kind, str) and kind in _NOT_YET:
        decoder.report(f"{key}.kind", _NOT_YET[kind])
        table = {**table, "kind": "asterisk"}
    source = decoder.table(SourceSettings, table, key)
    if source is None:
        return None
    for number, rule in enumerate(source.tenants, 1):
        if not any((rule.variable, rule.account_code, rule.context, rule.queue, rule.domain, rule.device)):
            decoder.report(f"{key}.tenants[{number}]", f"matches everything; write tenant = {rule.tenant!r} above")
    if source.commands.hot_desks and not source.commands.device:
        decoder.report(f"{key}.commands.device", "is missing: it tells the devices of hot_desks")
    if source.commands.consult and not source.commands.context:
        decoder.report(f"{key}.commands.context", "is missing: consultations are dialed there")
    return source


# Overrides


class _Overriding:
    """Puts the values of the environment and of ``--set`` into the tables.

    Attributes:
        origins: where the keys that were set come from.
    """

    def __init__(self, tables: _Tables, sources: Mapping[str, _Tables], folder: Path, problems: list[Problem]) -> None:
        self._tables = tables
        self._sources = sources
        self._folder = folder
        self._problems = problems
        self.origins: dict[str, Origin] = {}

    def environment(self, environ: Mapping[str, str]) -> None:
        """Read the variables that are named as keys."""
        for variable in sorted(environ):
            section, separator, name = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
            if variable.startswith(ENVIRONMENT_PREFIX) and separator:
                self._set(f"{section}.{name}", environ[variable], variable, sources=False)

    def assignments(self, overrides: Sequence[str]) -> None:
        """Read the values of ``--set``."""
        for override in overrides:
            key, separator, text = override.partition("=")
            if separator:
                self._set(key.strip(), text, "--set", sources=True)
            else:
                self._problems.append(Problem("--set", key[:80], "expected section.key=value"))

    def _set(self, key: str, text: str, source: str, *, sources: bool) -> None:
        origin = Origin(source, self._folder)
        try:
            table, name, hint = self._source_field(key) if sources and key.startswith("sources.") else self._field(key)
            value = value_of_text(hint, text)
        except ValueError as error:
            self._problems.append(Problem(source, key[:80], str(error)))
            return
        table[name] = value
        self.origins[key] = origin

    def _field(self, key: str) -> tuple[_Tables, str, object]:
        if key not in KEYS:
            if key.startswith("sources"):
                raise ValueError("the settings of sources are set in the file, or by --set sources.NAME.KEY=VALUE")
            raise ValueError(unknown("key", key, KEYS))
        section, _, name = key.partition(".")
        table = self._tables.setdefault(section, {})
        if not isinstance(table, dict):
            raise ValueError(f"[{section}] of the file is no table")
        return table, name, KEYS[key]

    def _source_field(self, key: str) -> tuple[_Tables, str, object]:
        found = [own for own in self._sources if key.startswith(f"{own}.")]
        if not found:
            names = ", ".join(own.removeprefix("sources.") for own in self._sources) or "none"
            raise ValueError(f"there is no such source; the file has: {names}"[:300])
        own = max(found, key=len)
        table, cls, name = self._sources[own], SourceSettings, key.removeprefix(f"{own}.")
        if name == "name":
            raise ValueError("is set in the file only: it is the key of the other settings")
        first, _, rest = name.partition(".")
        inner = plain(fields_of(cls).get(first))
        if rest and is_table(inner):
            below = table.setdefault(first, {})
            if isinstance(below, dict) and isinstance(inner, type):
                return below, rest, _hint_of(inner, rest)
        return table, name, _hint_of(cls, name)


def _hint_of(cls: type, name: str) -> object:
    hints = fields_of(cls)
    if name not in hints:
        raise ValueError(unknown("key", name, hints))
    return hints[name]


# Warnings


def _warnings(settings: BridgeSettings, environ: Mapping[str, str], file: Origin) -> Iterator[Problem]:
    yield from _unread_variables(environ)
    for source in settings.sources:
        if not source.tenant and not source.tenants:
            reason = "is not set, and so is [[sources.tenants]]: everything is dropped"
            yield Problem(file.source, f"sources.{quoted(source.name)}.tenant", reason)
        if not source.agent_pattern and not source.agents:
            reason = "is not set, and so is agents: no device has a user, and there are no events of agents"
            yield Problem(file.source, f"sources.{quoted(source.name)}.agent_pattern", reason)


def _unread_variables(environ: Mapping[str, str]) -> Iterator[Problem]:
    intended = {key.replace(".", "_").upper(): key.replace(".", "__").upper() for key in KEYS}
    for variable in sorted(environ):
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if variable.startswith(ENVIRONMENT_PREFIX) and "__" not in name:
            close = get_close_matches(name.upper(), intended, 1)
            suggestion = f"; did you mean {ENVIRONMENT_PREFIX}{intended[close[0]]}?" if close else ""
            yield Problem(variable, "", f"is not a setting, and is not read{suggestion}")
