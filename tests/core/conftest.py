"""A core over fakes of the outside world, for the tests of single modules."""

from __future__ import annotations

import pytest
from world import World


@pytest.fixture
def world() -> World:
    return World()
