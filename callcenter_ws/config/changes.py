"""What a reload does with each key of the settings, and what it reports (docs/operations.rst)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

import msgspec
from msgspec.structs import replace

from callcenter_ws.config.settings import KEYS, SECTIONS, Settings


class Effect(Enum):
    """When a changed key takes effect; the value is the text for operators."""

    RELOAD = "at once"
    CONNECTIONS = "for new connections"
    PROCESS = "in new workers; without workers after a restart"
    RESTART = "after a restart"


_PER_CONNECTION = (
    "limits.handshake_timeout",
    "limits.auth_timeout",
    "limits.ping_interval",
    "limits.ping_timeout",
    "limits.message_bytes",
    "limits.visitor_message_bytes",
    "limits.connections",
    "limits.connections_per_ip",
    "limits.connections_per_tenant",
    "limits.connections_per_user",
    "policy.over_user_limit",
    "public.enabled",
    "web.trusted_proxies",
    "compression.enabled",
    "compression.level",
    "compression.threshold",
)

_RESTART = ("web.listen", "web.metrics_listen", "amp.listen", "control.socket", "log.format")

_PROCESS = (
    "web.demo",
    "web.pages",
    "cluster.node_id",
    "cluster.lease",
    "amp.source_lease",
    "public.history",
    "statistics.unfolded_events",
    "statistics.unfolded_bytes",
    "statistics.lease",
    "archive.folder",
    "commands.enabled",
)


def _effect(key: str) -> Effect:
    if key in _RESTART:
        return Effect.RESTART
    if key in _PROCESS or key.startswith("store."):
        return Effect.PROCESS
    return Effect.CONNECTIONS if key in _PER_CONNECTION else Effect.RELOAD


EFFECTS: Mapping[str, Effect] = {key: _effect(key) for key in KEYS}
"""When a change of each key takes effect after a reload."""


class ReloadReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a reload has changed, or will change.

    Attributes:
        applied: changed keys that take effect, at once or for new connections.
        files: settings whose files have other contents than before, as ``web.listen`` for a certificate.
        waiting: changed keys that need new processes, with the text of their effect; their old values stay in use.
        warnings: valid but unwise settings, one line of text each.
    """

    applied: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    waiting: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()


class PreparedReload(Protocol):
    """New settings whose files were all read, and which can be used."""

    @property
    def report(self) -> ReloadReport:
        """What ``commit`` will change."""

    def commit(self) -> None:
        """Use the new settings from now on. Never raises."""


class Reloadable(Protocol):
    """A process that can load its settings again without closing a connection."""

    def prepare(self) -> PreparedReload:
        """Read the settings and their files, and change nothing yet.

        Raises:
            ConfigError: with all problems; the old settings stay in use.
        """


def changed_keys(old: Settings, new: Settings) -> list[str]:
    """Return the keys whose values differ, in the order of ``KEYS``."""
    return [key for key in KEYS if _value(old, key) != _value(new, key)]


def settings_in_use(old: Settings, new: Settings) -> Settings:
    """Return the settings after a reload: new values of the keys that it changes in place, old ones of the others."""
    values: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
    for key in KEYS:
        section, _, name = key.partition(".")
        values[section][name] = _value(new if changes_in_place(key) else old, key)
    sections = {section: cls(**values[section]) for section, cls in SECTIONS.items()}
    return replace(old, warnings=new.warnings, **sections)


def changes_in_place(key: str) -> bool:
    """Return whether a reload changes a key, at once or for new connections."""
    return EFFECTS[key] in (Effect.RELOAD, Effect.CONNECTIONS)


def _value(settings: Settings, key: str) -> object:
    section, _, name = key.partition(".")
    value: object = getattr(getattr(settings, section), name)
    return value
