"""Reaper: evicts dead nodes, and makes their pending offline announcements; one of the nodes is the reaper."""

from __future__ import annotations

from contextlib import suppress

from twisted.logger import Logger

from callcenter_ws.cluster.membership import Membership
from callcenter_ws.cluster.offline import OfflineAnnouncements
from callcenter_ws.cluster.revocation_sync import RevocationExpiry
from callcenter_ws.errors import Refusal
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.keys import Keys
from callcenter_ws.redis.scripts import OFFLINE_DUE, PRESENCE_REMOVE_NODE
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.single_flight import SingleFlight

SCAN_INTERVAL_SECONDS = 2.0

TENANTS_PER_SCAN = 200
"""Tenants checked for offline announcements that are due; most are made by the nodes of the users."""

USERS_PER_CALL = 500

REVOCATIONS_PER_SCAN = 500
"""Revocations that are checked for expiry: 100,000 in seven minutes."""

_MARGIN_SECONDS = 0.1
"""How much later than the end of the grace the users of an evicted node are announced offline."""

_log = Logger()


class Reaper:
    """Evicts dead nodes, makes offline announcements that were missed, and deletes expired revocations.

    When Redis was unavailable, all leases expire at once. So no node is evicted before all have had the length of a
    lease to renew their own. Whether a lease has expired is decided by Redis, by the script that deletes it.

    Attributes:
        grace: seconds that the users of a dead node have to reconnect before they are announced offline; may be
            changed.
    """

    def __init__(
        self,
        redis: RedisClient,
        keys: Keys,
        membership: Membership,
        offline: OfflineAnnouncements,
        clock: Clock,
        spawn: Spawn,
        grace: float,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._membership = membership
        self._offline = offline
        self._clock = clock
        self._spawn = spawn
        self.grace = grace
        self._revocations = RevocationExpiry(redis, keys)
        self._scans: SingleFlight | None = None
        self._tenants_cursor = b"0"

    def start(self) -> None:
        """Scan every ``SCAN_INTERVAL_SECONDS`` while this node is the reaper."""
        self._scans = SingleFlight(self._scan, self._clock, self._spawn, delay=SCAN_INTERVAL_SECONDS)
        self._scans.request()

    def stop(self) -> None:
        """Scan no longer."""
        if self._scans is not None:
            self._scans.stop()

    async def _scan(self) -> None:
        if self._scans is not None:
            self._scans.request()  # the next scan
        # If Redis is unavailable, the node that is the reaper afterwards continues.
        if self._membership.is_reaper:
            await self._work()

    async def _work(self) -> None:
        # This process may have been suspended: then its view is outdated, and another node may be the reaper.
        await self._membership.refresh()
        if not self._membership.is_reaper:
            return
        await self._evict_dead()
        found = await self._redis.send("SSCAN", self._keys.tenants, self._tenants_cursor, "COUNT", TENANTS_PER_SCAN)
        self._tenants_cursor, tenants = found
        await self._announce_offline(tenants)
        await self._revocations.expire_some(REVOCATIONS_PER_SCAN)

    async def _evict_dead(self) -> None:
        for instance in self._membership.dead_nodes():
            if not (self._membership.is_reaper and self._membership.could_all_renew):
                return
            await self._evict(instance)

    async def _evict(self, instance: str) -> None:
        if not await self._membership.evict(instance, "begin"):
            return  # it has renewed its lease
        _log.warn("node {instance} is dead: its users are offline unless they reconnect", instance=instance)
        name = self._keys.tenants_at(instance)
        tenants = await self._redis.send("SMEMBERS", name)
        for tenant in tenants:
            if not await self._remove_connections(instance, tenant):
                return
        # If the node is alive after all, the last step marks it to report everything, its tenants included.
        await self._redis.send("DEL", name)
        await self._membership.evict(instance, "end")
        self._clock.call_later(
            self.grace + _MARGIN_SECONDS, lambda: self._spawn(self._attempt_to_announce_offline(tenants))
        )

    async def _remove_connections(self, instance: str, tenant: bytes) -> bool:
        """Remove the node's connections in one tenant; return whether the node is still dead."""
        meta = self._keys.meta(tenant.decode())
        left = 1
        while left:
            if not await self._membership.evict(instance, "continue"):
                return False
            left = await self._redis.run(PRESENCE_REMOVE_NODE, [meta], instance, repr(float(self.grace)))
        # Announcements scan the set of all tenants, which may not have this one if it has only had clients.
        await self._redis.send("SADD", self._keys.tenants, tenant)
        return True

    async def _attempt_to_announce_offline(self, tenants: list[bytes]) -> None:
        with suppress(Refusal):  # a later scan does it
            await self._announce_offline(tenants)

    async def _announce_offline(self, tenants: list[bytes]) -> None:
        for tenant in tenants:
            tenant_id = tenant.decode()
            due = [b""]
            while due:
                due = await self._redis.run(OFFLINE_DUE, [self._keys.offline_due(tenant_id)], USERS_PER_CALL)
                await self._offline.announce(tenant_id, [user.decode() for user in due])
