"""One step of a reload: what is replaced for some keys, and what it is prepared from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from callcenter_ws.config.settings import Settings
from callcenter_ws.gateway.assembly import GatewayParts
from callcenter_ws.gateway.service import GatewayService

Commit = Callable[[], None]
"""Has a part use what was prepared. Does not raise."""


@dataclass(frozen=True, slots=True)
class Reloading:
    """One reload.

    Attributes:
        old: the settings that are in use now.
        new: those that are in use after it.
        changed: the keys that it changes in place, and those of files that have new contents.
        set_log_level: sets the lowest level that is written to the log.
    """

    service: GatewayService
    old: Settings
    new: Settings
    changed: frozenset[str]
    set_log_level: Callable[[str], None]

    @property
    def parts(self) -> GatewayParts:
        """The parts of the gateway."""
        return self.service.parts


class Step(NamedTuple):
    """What a reload does for some keys.

    Attributes:
        keys: the keys, or sections with a dot at the end.
        prepare: builds what is needed; raises ConfigError, OSError or ValueError for settings that cannot be used.
    """

    keys: tuple[str, ...]
    prepare: Callable[[Reloading], Commit]

    def covers(self, key: str) -> bool:
        """Return whether the step is for a key."""
        return key in self.keys or f"{key.partition('.')[0]}." in self.keys
