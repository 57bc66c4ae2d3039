"""BridgeReload: loads the settings of a running bridge again, all or nothing, without leaving an exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
from msgspec.structs import replace
from twisted.logger import Logger

from callcenter_ws.bridge.secrets import BridgeSecrets
from callcenter_ws.bridge.service import BridgeService
from callcenter_ws.bridge.settings import BridgeSettings, SourceSettings
from callcenter_ws.runtime.setting_problems import ConfigError

IN_PLACE_OF_SOURCES = ("agents", "agent_pattern", "commands", "directions", "tenant", "tenants", "secret_file")
"""The keys of a source that a reload changes."""

_AUTHENTICATION = "gateway.token_file"

IN_PLACE = ("log.level", "log.summary_interval", _AUTHENTICATION)
"""The other keys that a reload changes. The rest waits for a restart, and so does the first token, or none any more."""

_log = Logger()


class BridgeReload:
    """Loads settings and secrets again.

    Args:
        load: reads the settings as at the start of the process; raises ConfigError.
        set_log_level: sets the lowest level that is written to the log.

    Attributes:
        is_successful: whether the last reload was applied; True if there was none.
        applied_at: when the settings in use were read, in Unix seconds.
    """

    def __init__(
        self,
        service: BridgeService,
        load: Callable[[], BridgeSettings],
        set_log_level: Callable[[str], None],
        now: Callable[[], float],
    ) -> None:
        self._service = service
        self._load = load
        self._set_log_level = set_log_level
        self._now = now
        self.is_successful = True
        self.applied_at = now()

    def run(self) -> None:
        """Load the settings, and use what can be used at once. The log has the outcome."""
        if self._service.is_stopping:
            return
        try:
            new = self._load()
            secrets = BridgeSecrets.read(new)
        except ConfigError as error:
            self.is_successful = False
            _log.error("the new settings are refused, and the old ones stay in use:")
            for problem in error.problems:
                _log.error("the settings have a problem: {problem}", problem=problem)
            return
        self.is_successful, self.applied_at = True, self._now()
        _log.info("the settings were loaded again: {text}", text="; ".join(self._use(new, secrets)))
        for warning in new.warnings:
            _log.warn("settings: {warning}", warning=warning)

    def _use(self, new: BridgeSettings, secrets: BridgeSecrets) -> list[str]:
        old = self._service.settings
        changed = list(_changed_keys(old, new))
        waits = {key for key in changed if not _is_in_place(key)}
        token = self._service.secrets.token
        if (token is None) is not (secrets.token is None):
            # Whether there is a token at all is decided at the start.
            waits.add(_AUTHENTICATION)
            new = replace(new, gateway=replace(new.gateway, token_file=old.gateway.token_file))
            secrets = BridgeSecrets(token=token, of_sources=secrets.of_sources)
        in_place = [key for key in changed if key not in waits]
        waiting = [key for key in changed if key in waits]
        files = list(_changed_secrets(self._service.secrets, secrets))
        self._service.use(_merged(old, new), _merged_secrets(self._service.secrets, secrets))
        self._set_log_level(self._service.settings.log.level)
        lines = [f"in use now: {', '.join(in_place)}"] if in_place else []
        lines += [f"files with new contents: {', '.join(files)}"] if files else []
        lines += [f"not in use yet: {key}: after a restart" for key in waiting]
        return lines or ["no setting has changed"]


def _changed_keys(old: BridgeSettings, new: BridgeSettings) -> Iterator[str]:
    for section in ("gateway", "log", "metrics"):
        yield from _differences(section, getattr(old, section), getattr(new, section))
    known = {source.name: source for source in old.sources}
    given = {source.name: source for source in new.sources}
    for name in {**known, **given}:
        if name in known and name in given:
            yield from _differences(f"sources.{name}", known[name], given[name])
        else:
            yield f"sources.{name}"


def _differences(key: str, old: msgspec.Struct, new: msgspec.Struct) -> Iterator[str]:
    for name in old.__struct_fields__:
        if getattr(old, name) != getattr(new, name):
            yield f"{key}.{name}"


def _is_in_place(key: str) -> bool:
    if key.startswith("sources."):
        return key.rpartition(".")[2] in IN_PLACE_OF_SOURCES
    return key in IN_PLACE


def _changed_secrets(old: BridgeSecrets, new: BridgeSecrets) -> Iterator[str]:
    if old.token != new.token:
        yield _AUTHENTICATION
    for name, secret in old.of_sources.items():
        if new.of_sources.get(name, secret) != secret:
            yield f"sources.{name}.secret_file"


def _merged(old: BridgeSettings, new: BridgeSettings) -> BridgeSettings:
    """Return the settings after the reload: new values of the keys that it changes, old ones of the others."""
    given = {source.name: source for source in new.sources}
    return replace(
        old,
        sources=tuple(_merged_source(source, given.get(source.name, source)) for source in old.sources),
        gateway=replace(old.gateway, token_file=new.gateway.token_file),
        log=replace(old.log, level=new.log.level, summary_interval=new.log.summary_interval),
        warnings=new.warnings,
    )


def _merged_secrets(old: BridgeSecrets, new: BridgeSecrets) -> BridgeSecrets:
    of_sources = {name: new.of_sources.get(name, secret) for name, secret in old.of_sources.items()}
    return BridgeSecrets(token=new.token, of_sources=of_sources)


def _merged_source(old: SourceSettings, new: SourceSettings) -> SourceSettings:
    return replace(old, **{name: getattr(new, name) for name in IN_PLACE_OF_SOURCES})
