"""Fixtures for tests with a real Redis: the server, and nodes that share it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
import pytest_twisted

if TYPE_CHECKING:
    from redis_nodes import Nodes
    from redis_server import RedisServer

_prefixes = (f"nodes-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """A Redis for the tests of a module, which must not change its settings."""
    from redis_server import RedisServer

    server = RedisServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A Redis for one test, which may stop it and change its settings."""
    from redis_server import RedisServer

    server = RedisServer()
    server.start()
    yield server
    server.stop()


@pytest_twisted.async_yield_fixture
async def nodes(server: RedisServer) -> AsyncIterator[Nodes]:
    """Nodes on the module's Redis."""
    from redis_nodes import Nodes

    nodes = Nodes(server.url, next(_prefixes))
    yield nodes
    await nodes.close()


@pytest_twisted.async_yield_fixture
async def own_nodes(own_server: RedisServer) -> AsyncIterator[Nodes]:
    """Nodes on the test's own Redis."""
    from redis_nodes import Nodes

    nodes = Nodes(own_server.url, next(_prefixes))
    yield nodes
    await nodes.close()


@pytest.fixture(autouse=True)
def _short_reconnect_delays(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnect to Redis within milliseconds."""
    if "redis" in request.module.__name__:
        from callcenter_ws.redis import reconnecting

        monkeypatch.setattr(reconnecting, "MAX_RETRY_SECONDS", 0.1)
        monkeypatch.setattr(reconnecting, "FIRST_RETRY_SECONDS", 0.02)
