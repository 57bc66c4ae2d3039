"""Reaper: of all nodes the one that looks after what dead ones have left."""

from __future__ import annotations

from contextlib import suppress

from twisted.logger import Logger

from callcenter_ws.cluster.control import REVOCATIONS_KEPT
from callcenter_ws.cluster.membership import Membership
from callcenter_ws.cluster.presence import ClusterPresence
from callcenter_ws.errors import Refusal
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.keys import Keys
from callcenter_ws.redis.scripts import DEPART, DUE, SWEEP
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock, Timer

ROUND = 2.0
"""Seconds between two looks."""

TENANTS_AT_ONCE = 200
"""Tenants in which it is looked for farewells in one round: the nodes say most of them themselves."""

DUE_AT_ONCE = 500

SWEPT_AT_ONCE = 500
"""Revocations that are looked at in one round: 100,000 in seven minutes."""

_MARGIN = 0.1
"""Seconds by which the farewells of a dead node's users are looked for later than they may be said."""

_log = Logger("callcenter_ws.broker")


class Reaper:
    """Buries dead nodes, announces those gone whom nobody else did, and forgets old revocations.

    A Redis that was away lets all leases run out at once. So nobody is buried before every node has had the time of a
    lease to renew its own. Whether a lease has run out is decided by Redis, in one with taking it away.

    Args:
        grace: seconds that the users of a dead node may be away without being announced gone.
    """

    def __init__(
        self,
        redis: RedisClient,
        keys: Keys,
        membership: Membership,
        presence: ClusterPresence,
        clock: Clock,
        spawn: Spawn,
        grace: float,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._membership = membership
        self._presence = presence
        self._clock = clock
        self._spawn = spawn
        self._grace = grace
        self._timer: Timer | None = None
        self._cursor = b"0"
        self._swept_to = b"0"

    def start(self) -> None:
        """Look from time to time."""
        self._timer = self._clock.call_later(ROUND, self._look)

    def stop(self) -> None:
        """Leave it to another node."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        if self._membership.is_caretaker:
            self._spawn(self._work())
        else:
            self.start()

    async def _work(self) -> None:
        try:
            # This process may have been stopped: then all that it knew is old, and another may be caretaker.
            await self._membership.look()
            if not self._membership.is_caretaker:
                return
            await self._bury_dead()
            found = await self._redis.send("SSCAN", self._keys.tenants, self._cursor, "COUNT", TENANTS_AT_ONCE)
            self._cursor, tenants = found
            await self._say_farewells(tenants)
            await self._sweep()
        except Refusal:
            return  # Redis is away; the next round is for whoever is caretaker then
        finally:
            if self._timer is not None:
                self.start()

    async def _bury_dead(self) -> None:
        for instance in self._membership.dead():
            if not (self._membership.is_caretaker and self._membership.is_settled):
                return
            await self._bury(instance)

    async def _bury(self, instance: str) -> None:
        if not await self._membership.bury(instance, "begin"):
            return  # it has just renewed its lease
        _log.warn("node {instance} is dead: its users are gone unless they come back", instance=instance)
        name = self._keys.tenants_at(instance)
        tenants = await self._redis.send("SMEMBERS", name)
        for tenant in tenants:
            if not await self._strike_off(instance, tenant):
                return
        # If the node lives after all, it is told so by what follows, and notes its tenants anew.
        await self._redis.send("DEL", name)
        await self._membership.bury(instance, "end")
        self._clock.call_later(self._grace + _MARGIN, lambda: self._spawn(self._see_off(tenants)))

    async def _strike_off(self, instance: str, tenant: bytes) -> bool:
        """Strike off the node's connections in one tenant; return whether the node is dead still."""
        meta = self._keys.meta(tenant.decode())
        left = 1
        while left:
            if not await self._membership.bury(instance, "go on"):
                return False
            left = await self._redis.run(DEPART, [meta], instance, repr(float(self._grace)))
        # Its users may have been all that was ever heard of the tenant.
        await self._redis.send("SADD", self._keys.tenants, tenant)
        return True

    async def _sweep(self) -> None:
        """Make room for revocations."""
        self._swept_to = await self._redis.run(
            SWEEP, [self._keys.revocations], self._swept_to, SWEPT_AT_ONCE, REVOCATIONS_KEPT
        )

    async def _see_off(self, tenants: list[bytes]) -> None:
        with suppress(Refusal):  # it is done in some later round
            await self._say_farewells(tenants)

    async def _say_farewells(self, tenants: list[bytes]) -> None:
        for tenant in tenants:
            tenant_id = tenant.decode()
            due = [b""]
            while due:
                due = await self._redis.run(DUE, [self._keys.of(tenant_id, "farewells")], DUE_AT_ONCE)
                await self._presence.farewell(tenant_id, [who.decode() for who in due])
