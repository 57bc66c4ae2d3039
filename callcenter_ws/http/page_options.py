"""What the pages that the gateway serves depend on, and a reload may change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from callcenter_ws.config.settings import Settings
from callcenter_ws.config.wallboards import WallboardSettings

Wallboards = Mapping[str, Sequence[WallboardSettings]]
"""The wallboards of each tenant that has some, by tenant id."""


@dataclass(slots=True)
class PageOptions:
    """Options of the pages.

    Attributes:
        embedders: the exact origins of the sites that may show the pages in a frame, and give them a token.
        wallboards: those that the settings describe.
        build: the digest of the files of the pages; empty without pages.
    """

    embedders: tuple[str, ...] = ()
    wallboards: Wallboards = field(default_factory=dict)
    build: str = ""


def wallboards_of(settings: Settings) -> Wallboards:
    """Return the wallboards that the settings describe."""
    return {name: tenant.wallboards for name, tenant in settings.tenants.by_name.items() if tenant.wallboards}
