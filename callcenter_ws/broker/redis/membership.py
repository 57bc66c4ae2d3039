"""Membership: which nodes there are. Each renews its lease; one that does not is dead when it runs out."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from callcenter_ws.broker.redis.engine import Engine
from callcenter_ws.broker.redis.keys import Keys
from callcenter_ws.broker.redis.scripts import LEASE
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import Clock, Spawn, Timer

RENEWAL = 1.0
"""Seconds between two renewals."""

FRESH = 1.5
"""Seconds since its last renewal for which a node certainly lives."""

_decode = msgspec.json.Decoder(tuple[bool, bool, float, dict[str, float]]).decode


class Membership:
    """This node's lease, and what is known of the others'.

    Args:
        instance: this node, in this life: another life has another name.
        lease: seconds for which one is good.
        unknown: is told that the others know nothing of this node, so that it has to tell everything anew.

    Attributes:
        is_caretaker: this node looks after what dead ones have left.
        settled_at: the monotonic clock when contact with Redis was taken up again for the last time.
    """

    def __init__(
        self,
        engine: Engine,
        keys: Keys,
        clock: Clock,
        spawn: Spawn,
        instance: str,
        lease: float,
        unknown: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._clock = clock
        self._spawn = spawn
        self.lease = lease
        self._unknown = unknown
        self._leases: dict[str, float] = {}
        self._offset = 0.0
        self._renewed_at: float | None = None
        self._timer: Timer | None = None
        self._is_renewing = False
        self._stopped = True
        self.instance = instance
        self.is_caretaker = False
        self.settled_at = 0.0

    def start(self) -> None:
        """Renew the lease from now on."""
        self._stopped = False
        self._tick()

    async def stop(self, *, give_back: bool) -> None:
        """Renew the lease no more, and give it back if nothing has to be done when it runs out."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if not give_back:
            return
        try:
            await self._engine.send("DEL", self._keys.tenants_at(self.instance))
            await self._engine.send("ZREM", self._keys.leases, self.instance)
            if self.is_caretaker:
                await self._engine.send("DEL", self._keys.caretaker)
        except Refusal:
            return  # it runs out by itself

    def renew(self) -> None:
        """Renew the lease now: Redis is there again."""
        if not self._stopped and not self._is_renewing:
            self._is_renewing = True
            self._spawn(self._renew())

    def _tick(self) -> None:
        self._timer = self._clock.call_later(RENEWAL, self._tick)
        self.renew()

    async def _renew(self) -> None:
        try:
            reply = await self._engine.run(
                LEASE, [self._keys.leases, self._keys.caretaker], self.instance, repr(float(self.lease))
            )
        except Refusal:
            self.is_caretaker = False
            return
        finally:
            self._is_renewing = False
        was_known, self.is_caretaker, now, self._leases = _decode(reply)
        before, self._renewed_at = self._renewed_at, self._clock.monotonic()
        self._offset = now - self._renewed_at
        if before is None or self._renewed_at - before > self.lease / 2:
            self.settled_at = self._renewed_at
        if not was_known:
            self._unknown()

    # What is known

    @property
    def is_informed(self) -> bool:
        """Whether what is known here, and in Redis, is recent enough to be told."""
        renewed_at = self._renewed_at
        if self._engine.trouble is not None:
            # It may be readable: but what has happened since could not be written.
            return False
        return renewed_at is not None and self._clock.monotonic() - renewed_at < self.lease

    def check_informed(self) -> None:
        """Let pass whoever needs to know.

        Raises:
            Refusal: ``unavailable``.
        """
        if not self.is_informed:
            raise Refusal(ErrorCode.UNAVAILABLE, "it is not known what the other nodes do", retry_after=1)

    async def look(self) -> None:
        """Find out which nodes there are now: one may have come since the last renewal.

        Raises:
            Refusal: ``unavailable``.
        """
        await self._renew()
        self.check_informed()

    def knows(self, instance: str) -> bool:
        """Whether anything is known of a node."""
        return instance == self.instance or instance in self._leases

    def lives(self, instance: str) -> bool:
        """Whether a node's lease has not run out, as far as is known."""
        return instance == self.instance or self._until(instance) > 0

    def certainly_lives(self, instance: str) -> bool:
        """Whether a node was heard of a moment ago."""
        return instance == self.instance or self._until(instance) > self.lease - FRESH - RENEWAL

    def _until(self, instance: str) -> float:
        """For how many more seconds a lease is good."""
        return self._leases.get(instance, 0.0) - (self._clock.monotonic() + self._offset)

    def others(self) -> set[str]:
        """The other nodes that live."""
        return {name for name in self._leases if name != self.instance and self.lives(name)}

    def dead(self) -> list[str]:
        """Nodes whose leases have run out, and who have not been buried yet."""
        return [name for name in self._leases if not self.lives(name)]
