"""Caretaker: of all nodes the one that looks after what dead ones have left."""

from __future__ import annotations

from twisted.logger import Logger

from callcenter_ws.broker.redis.engine import Engine
from callcenter_ws.broker.redis.keys import Keys
from callcenter_ws.broker.redis.membership import Membership
from callcenter_ws.broker.redis.presence import ClusterPresence
from callcenter_ws.broker.redis.scripts import DEPART, DUE
from callcenter_ws.errors import Refusal
from callcenter_ws.interfaces import Clock, Spawn, Timer

ROUND = 2.0
"""Seconds between two looks."""

DUE_AT_ONCE = 500

_log = Logger("callcenter_ws.broker")


class Caretaker:
    """Buries dead nodes, and announces those gone whom nobody else did.

    A Redis that was away lets all leases run out at once. So nobody is buried before every node has had the time of a
    lease to renew its own.

    Args:
        grace: seconds that the users of a dead node may be away without being announced gone.
    """

    def __init__(
        self,
        engine: Engine,
        keys: Keys,
        membership: Membership,
        presence: ClusterPresence,
        clock: Clock,
        spawn: Spawn,
        grace: float,
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._membership = membership
        self._presence = presence
        self._clock = clock
        self._spawn = spawn
        self._grace = grace
        self._timer: Timer | None = None

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
            if self._clock.monotonic() - self._membership.settled_at >= self._membership.lease:
                for instance in self._membership.dead():
                    await self._bury(instance)
            for tenant in await self._engine.send("SMEMBERS", self._keys.tenants):
                await self._say_farewells(tenant.decode())
        except Refusal:
            return  # Redis is away; the next round is for whoever is caretaker then
        finally:
            if self._timer is not None:
                self.start()

    async def _bury(self, instance: str) -> None:
        _log.warn("node {instance} is dead: its users are gone unless they come back", instance=instance)
        name = self._keys.tenants_at(instance)
        for tenant in await self._engine.send("SMEMBERS", name):
            meta = self._keys.meta(tenant.decode())
            while await self._engine.run(DEPART, [meta], instance, repr(float(self._grace))):
                pass
            # Its users may have been all that was ever heard of the tenant.
            await self._engine.send("SADD", self._keys.tenants, tenant)
        await self._engine.send("DEL", name)
        await self._engine.send("ZREM", self._keys.leases, instance)

    async def _say_farewells(self, tenant_id: str) -> None:
        due = await self._engine.run(DUE, [self._keys.of(tenant_id, "farewells")], DUE_AT_ONCE)
        if due:
            await self._presence.farewell(tenant_id, [who.decode() for who in due])
