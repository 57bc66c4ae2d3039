"""The settings that the workers of a node use: a copy of the file, and what must stay until a replacement or a restart.

The file on disk may hold settings that were refused, or that were not loaded yet. A worker that dies must restart with
those that its siblings use, so that the workers read copies in their private folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from callcenter_ws.config.changes import EFFECTS, Effect, changed_keys
from callcenter_ws.config.settings import Settings
from callcenter_ws.config.source import SettingsSource

Value = Any  # the value of a setting has the type of its key

_IN_PLACE = (Effect.RELOAD, Effect.CONNECTIONS)


@dataclass(frozen=True, slots=True)
class NodeVersion:
    """One version of the settings.

    Attributes:
        number: counts the versions that were read.
        content: of the TOML file; None without a file.
        settings: as loaded from it.
        base: the settings whose values are used of keys that a reload does not change.
    """

    number: int
    content: bytes | None
    settings: Settings
    base: Settings

    @property
    def pinned(self) -> tuple[str, ...]:
        """Assignments ``key=value`` of the values in ``base`` that a reload does not change."""
        keys = (key for key in changed_keys(self.base, self.settings) if EFFECTS[key] not in _IN_PLACE)
        return tuple(f"{key}={_override(_value(self.base, key))}" for key in keys)

    @property
    def waits_for_restart(self) -> list[str]:
        """Changed keys that new workers do not use either."""
        return [key for key in changed_keys(self.base, self.settings) if EFFECTS[key] is Effect.RESTART]


class NodeSettings:
    """Reads the settings and keeps the copies for the workers.

    Args:
        source: where they come from; the workers are given the same.
        content, settings: as they were read at the start.
        check: raises ``ConfigError`` if workers cannot use settings.
        use: is called with the settings that the workers use from then on: what the supervisor itself uses of them.

    Attributes:
        current: the version with which workers are started.
    """

    def __init__(
        self,
        source: SettingsSource,
        content: bytes | None,
        settings: Settings,
        *,
        check: Callable[[Settings], None] = lambda settings: None,
        use: Callable[[Settings], None] = lambda settings: None,
    ) -> None:
        self._source = source
        self._check = check
        self._use = use
        self._folder = Path()
        self._last_number = 1
        self.current = NodeVersion(1, content, settings, settings)

    def open(self, folder: Path) -> None:
        """Write the first copy to the workers' private folder; raises ``OSError``."""
        self._folder = folder
        self.write(self.current)

    def read_again(self, *, replaces_workers: bool) -> NodeVersion:
        """Return what the file holds now, checked.

        Args:
            replaces_workers: whether new workers will use it, which take every key but those of the supervisor.

        Raises:
            ConfigError: with all problems.
        """
        content = self._source.read()
        settings = self._source.load(content)
        self._check(settings)
        self._last_number += 1
        base = _base_of_new_workers(self.current.base, settings) if replaces_workers else self.current.base
        return NodeVersion(self._last_number, content, settings, base)

    def use(self, version: NodeVersion) -> None:
        """Start workers with this version from now on."""
        self.current = version
        self._use(version.settings)

    def path(self, version: NodeVersion) -> str:
        """Return the path of the copy of a version; empty without a file."""
        return "" if version.content is None else str(self._folder / f"settings-{version.number}.toml")

    def write(self, version: NodeVersion) -> None:
        """Write the copy of a version; raises ``OSError``."""
        if version.content is not None:
            file = Path(self.path(version))
            file.touch(0o600)
            file.write_bytes(version.content)

    def remove_except(self, numbers: Iterable[int]) -> None:
        """Remove the copies of all versions but the current one and those with these numbers."""
        kept = {self.current.number, *numbers}
        for file in self._folder.glob("settings-*.toml"):
            if int(file.stem.partition("-")[2]) not in kept:
                with suppress(OSError):
                    file.unlink()


def _base_of_new_workers(base: Settings, settings: Settings) -> Settings:
    """Return ``settings`` with the values in ``base`` of the keys that need a restart of the supervisor."""
    sections: dict[str, Value] = {}
    for key, effect in EFFECTS.items():
        if effect is Effect.RESTART:
            section, _, name = key.partition(".")
            changed = sections.get(section, getattr(settings, section))
            sections[section] = replace(changed, **{name: _value(base, key)})
    return replace(settings, **sections)


def _value(settings: Settings, key: str) -> Value:
    section, _, name = key.partition(".")
    return getattr(getattr(settings, section), name)


def _override(value: Value) -> str:
    """Return a value as the text of an override, such as ``--set`` has."""
    if value is None:
        return '""'
    if isinstance(value, tuple):
        return json.dumps([str(item) for item in value], ensure_ascii=False)
    return json.dumps(value if isinstance(value, bool | int | float) else str(value), ensure_ascii=False)
