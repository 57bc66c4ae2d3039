"""The stores that are compared."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any


class Store(StrEnum):
    """A store, by what it is called in the tables."""

    MEMORY = "memory:"
    NORMAL = "sqlite, normal"
    FULL = "sqlite, full"

    def settings(self, folder: Path) -> dict[str, Any]:
        """The gateway's settings for it; its file, if it has one, lies in ``folder``."""
        if self is Store.MEMORY:
            return {"store.url": "memory:"}
        url = f"sqlite:{folder / 'events.sqlite'}"
        return {"store.url": url, "store.synchronous": self.name.lower()}
