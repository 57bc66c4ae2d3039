"""Fixtures of the HTTP tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from http_world import HttpWorld
from twisted.logger import globalLogPublisher


@pytest.fixture
def world() -> HttpWorld:
    return HttpWorld()


@pytest.fixture
def logged() -> Iterator[list[dict[str, Any]]]:
    """Every log event of the test."""
    events: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)
