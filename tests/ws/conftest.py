"""Fixtures of the WebSocket tests."""

from __future__ import annotations

import pytest
import txaio
from ws_world import WebSocketWorld


@pytest.fixture(autouse=True)
def _reactor_of_autobahn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the reactor of txaio, which a WebSocketWorld replaces."""
    monkeypatch.setattr(txaio.config, "loop", None)


@pytest.fixture
def world() -> WebSocketWorld:
    return WebSocketWorld()
