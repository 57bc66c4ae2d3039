"""Fixtures of the WebSocket tests."""

from __future__ import annotations

import pytest
import txaio
from ws_world import World


@pytest.fixture(autouse=True)
def _reactor_of_autobahn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a World sets for its time is undone."""
    monkeypatch.setattr(txaio.config, "loop", None)


@pytest.fixture
def world() -> World:
    return World()
