"""Nodes of a cluster on a real Redis, with short intervals."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted

if TYPE_CHECKING:
    from cluster_nodes import OpenNode
    from redis_server import RedisServer

_prefixes = (f"cluster-{number}" for number in itertools.count())


@pytest.fixture(autouse=True)
def _short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    from callcenter_ws.cluster import lease_renewal, membership, presence, reaper

    monkeypatch.setattr(lease_renewal, "RENEWAL_INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(membership, "RENEWAL_INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(membership, "CERTAINLY_ALIVE_SECONDS", 0.2)
    monkeypatch.setattr(reaper, "SCAN_INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr(presence, "RETRY_SECONDS", 0.05)


async def _opening(url: str) -> AsyncIterator[OpenNode]:
    from cluster_nodes import ClusterNode

    opened: list[ClusterNode] = []
    prefix = next(_prefixes)

    async def open_node(**limits: Any) -> ClusterNode:
        node = ClusterNode(url, prefix, f"node-{len(opened)}", **limits)
        opened.append(node)
        return await node.open()

    yield open_node
    for node in opened:
        await node.stop()


@pytest_twisted.async_yield_fixture
async def open_node(server: RedisServer) -> AsyncIterator[OpenNode]:
    """Makes nodes on the module's Redis."""
    async for opening in _opening(server.url):
        yield opening


@pytest_twisted.async_yield_fixture
async def open_own_node(own_server: RedisServer) -> AsyncIterator[OpenNode]:
    """Makes nodes on the test's own Redis."""
    async for opening in _opening(own_server.url):
        yield opening
