"""TenantDiscovery: scans the set of tenants in parts, and receives announcements."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from redis_nodes import Nodes, until
from redis_server import RedisServer
from twisted.internet import reactor

from callcenter_ws.broker.redis import tenant_discovery, tenant_registry
from callcenter_ws.broker.redis.tenant_discovery import TenantDiscovery
from callcenter_ws.broker.redis.tenant_registry import TenantRegistry
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import ReactorClock


@pytest_twisted.ensureDeferred
async def test_tenants_are_found_by_scans_and_by_announcements(
    nodes: Nodes, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await nodes.open([])
    redis, keys = node.store.redis, node.store.keys
    server.ask("SADD", keys.tenants, *[f"t{number}" for number in range(2_000)])
    scans: list[Any] = []
    send = redis.send

    def counted(*command: Any) -> Any:
        if command[1:2] == (keys.tenants,) and command[-1] == tenant_discovery.SCAN_COUNT:
            scans.append(command[0])
        return send(*command)

    monkeypatch.setattr(redis, "send", counted)
    followed: dict[str, bool] = {}
    discovery = TenantDiscovery(redis, keys, ReactorClock(reactor), spawn, followed.__setitem__)
    discovery.announced(b"before the start")
    discovery.scan()
    assert followed == {}
    discovery.start()
    await until(lambda: len(followed) == 2_000 and discovery._first_scan_done)
    assert not any(followed.values())
    assert 4 <= len(scans) <= 8
    discovery.announced(b"new")
    discovery.announced(b"new")
    assert followed.pop("new") is True
    count = len(scans)
    server.ask("SADD", keys.tenants, "missed")
    discovery.announced(b"")
    await until(lambda: "missed" in followed)
    assert followed["missed"] is True
    assert count < len(scans)
    # A discovery that is stopped and started during a scan finds all tenants.
    discovery.scan()
    discovery.stop()
    assert discovery.known == set()
    discovery.start()
    await until(lambda: len(discovery.known) == 2_001)
    assert followed["missed"] is False
    discovery.stop()


@pytest_twisted.ensureDeferred
async def test_the_registry_remembers_a_limited_number_of_tenants(
    nodes: Nodes, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_registry, "MAX_REGISTERED", 2)
    node = await nodes.open([])
    registry = TenantRegistry(node.store.redis, node.store.keys)
    for tenant_id in ("a", "b", "b", "c"):
        await registry.register(tenant_id)
    assert [registry.is_registered(tenant_id) for tenant_id in "abc"] == [False, True, True]
    assert server.ask("SCARD", node.store.keys.tenants) == 3
    registry.clear()
    assert not registry.is_registered("c")
