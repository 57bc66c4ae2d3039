"""Fixtures of the tests of the work per turn of the reactor."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import txaio

for _folder in ("http", "ws"):
    sys.path.insert(0, str(Path(__file__).parent.parent / _folder))


@pytest.fixture(autouse=True)
def _reactor_of_autobahn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the reactor of txaio, which a WebSocketWorld replaces."""
    monkeypatch.setattr(txaio.config, "loop", None)
