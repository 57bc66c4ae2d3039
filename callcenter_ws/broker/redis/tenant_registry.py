"""TenantRegistry: the set of all tenants in Redis; nodes with all-tenant listeners read it."""

from __future__ import annotations

from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.keys import Keys

MAX_REGISTERED = 10_000
"""Tenants of which this node remembers that they are registered; others are registered again before they publish."""


class TenantRegistry:
    """Adds tenants to the set of all tenants, and announces new ones (``TenantDiscovery`` reads both)."""

    def __init__(self, redis: RedisClient, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        # In the order of registration.
        self._registered: dict[str, None] = {}

    def is_registered(self, tenant_id: str) -> bool:
        """Return whether this node has registered the tenant."""
        return tenant_id in self._registered

    async def register(self, tenant_id: str) -> None:
        """Add a tenant to the set; announce it if it is new.

        Raises:
            Refusal: ``unavailable``.
        """
        if await self._redis.send("SADD", self._keys.tenants, tenant_id):
            await self._redis.send("SPUBLISH", self._keys.tenants_channel, tenant_id)
        self._registered[tenant_id] = None
        if len(self._registered) > MAX_REGISTERED:
            del self._registered[next(iter(self._registered))]

    def clear(self) -> None:
        """Forget which tenants are registered: Redis may have lost the set."""
        self._registered.clear()
