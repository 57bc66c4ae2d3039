"""The stores of a single gateway that are compared."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any


class Store(StrEnum):
    """A store; the value is its label in the tables."""

    MEMORY = "memory:"
    NORMAL = "sqlite, normal"
    FULL = "sqlite, full"

    def settings(self, folder: Path) -> dict[str, Any]:
        """Return the gateway's settings for the store; its file, if any, is in ``folder``."""
        if self is Store.MEMORY:
            return {"store.url": "memory:"}
        url = f"sqlite:{folder / 'events.sqlite'}"
        return {"store.url": url, "store.synchronous": self.name.lower()}
