"""Nodes with sources on a real Redis."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted

if TYPE_CHECKING:
    from redis_server import RedisServer

_prefixes = (f"sources-{number}" for number in itertools.count())


@pytest.fixture(autouse=True)
def _short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    from callcenter_ws.sources import shared

    monkeypatch.setattr(shared, "TICK_SECONDS", 0.02)


@pytest_twisted.async_yield_fixture
async def open_node(server: RedisServer) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Open nodes that share a Redis: called with the lease, and the tenants that the node follows."""
    from shared_nodes import LONG, SourceNode

    nodes: list[SourceNode] = []
    prefix = next(_prefixes)

    async def open_node(lease: float = LONG, tenants: tuple[str, ...] = ("acme", "globex")) -> SourceNode:
        node = SourceNode(server.url, prefix, lease)
        nodes.append(node)
        await node.open(tenants)
        return node

    yield open_node
    for node in nodes:
        await node.close()


@pytest_twisted.async_yield_fixture
async def open_own_node(own_server: RedisServer) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Open nodes on a Redis of the test's own, which does not answer within a moment counts as unavailable."""
    from shared_nodes import LONG, SourceNode

    nodes: list[SourceNode] = []

    async def open_node(lease: float = LONG) -> SourceNode:
        node = SourceNode(own_server.url, "own", lease, timeout=0.5)
        nodes.append(node)
        await node.open(("acme", "globex"))
        return node

    yield open_node
    for node in nodes:
        await node.close()
