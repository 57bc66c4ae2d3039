"""What a rule of the settings finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from callcenter_ws.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """A violation of a rule: the key to change, the reason, and the keys that it ``also`` depends on."""

    key: str
    reason: str
    also: tuple[str, ...] = ()


Rule = Callable[[Settings], Iterator[Finding]]
