"""LeaseRenewal: renews this node's lease in Redis, which shows the other nodes that it is alive."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from callcenter_ws.errors import Refusal
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.keys import Keys
from callcenter_ws.redis.scripts import LEASE
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.single_flight import SingleFlight

RENEWAL_INTERVAL_SECONDS = 1.0


class Leases(msgspec.Struct, array_like=True, frozen=True):
    """The answer to a renewal; see ``lease.lua``.

    Attributes:
        was_known: whether Redis had a lease of this node, and has removed none of its connections.
        is_reaper: whether this node is the one that evicts dead nodes.
        now: Redis's clock, Unix seconds.
        expiry: when each node's lease expires.
        unreported: nodes that have not reported all their users.
        evictions: nodes that are being evicted.
    """

    was_known: bool
    is_reaper: bool
    now: float
    expiry: dict[str, float]
    unreported: list[str]
    evictions: list[str]


_decode = msgspec.json.Decoder(Leases).decode


class LeaseRenewal:
    """Renews this node's lease every ``RENEWAL_INTERVAL_SECONDS``, and on request.

    Args:
        instance: the name of this node; different after each start.
        lease: the length of the lease in seconds.
        has_reported_all: returns whether Redis has the connections of all users of this node.
        renewed: called with the answer to each renewal.
        failed: called when a renewal has failed.

    Attributes:
        is_stopped: whether the lease is not renewed.
    """

    def __init__(
        self,
        redis: RedisClient,
        keys: Keys,
        clock: Clock,
        spawn: Spawn,
        instance: str,
        lease: float,
        *,
        has_reported_all: Callable[[], bool],
        renewed: Callable[[Leases], None],
        failed: Callable[[], None],
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._clock = clock
        self._instance = instance
        self._lease = lease
        self._has_reported_all = has_reported_all
        self._renewed = renewed
        self._failed = failed
        self._timer: Timer | None = None
        self._spawn = spawn
        self._renewals = SingleFlight(self.renew, clock, spawn)
        self.is_stopped = True

    def start(self) -> None:
        """Renew the lease from now on."""
        self.is_stopped = False
        self._renewals = SingleFlight(self.renew, self._clock, self._spawn)
        self._tick()

    def stop(self) -> None:
        """Renew the lease no longer."""
        self.is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
        self._renewals.stop()

    async def release(self, *, is_reaper: bool) -> None:
        """Delete the lease: the other nodes have nothing to clean up after this node."""
        try:
            await self._redis.send("DEL", self._keys.tenants_at(self._instance))
            await self._redis.send("HDEL", self._keys.evictions, self._instance)
            await self._redis.send("SREM", self._keys.unreported, self._instance)
            await self._redis.send("ZREM", self._keys.leases, self._instance)
            if is_reaper:
                await self._redis.send("DEL", self._keys.reaper)
        except Refusal:
            return  # the lease expires

    def request(self) -> None:
        """Renew the lease soon."""
        if not self.is_stopped:
            self._renewals.request()

    def _tick(self) -> None:
        self._timer = self._clock.call_later(RENEWAL_INTERVAL_SECONDS, self._tick)
        self.request()

    async def renew(self) -> None:
        """Renew the lease now.

        Raises:
            Refusal: ``unavailable``.
        """
        try:
            reply = await self._redis.run(
                LEASE,
                [self._keys.leases, self._keys.reaper, self._keys.evictions, self._keys.unreported],
                self._instance,
                repr(float(self._lease)),
                int(self._has_reported_all()),
            )
        except Refusal:
            self._failed()
            raise
        self._renewed(_decode(reply))
