"""TenantDiscovery: follows every tenant there is, for those who want to hear of all."""

from __future__ import annotations

from collections.abc import Callable

from callcenter_ws.errors import Refusal
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.keys import Keys
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock, Timer

ROUND = 10.0
"""Seconds between two looks for tenants of whom nothing was announced."""

PIECE = 500
"""Tenants that are asked for at once: Redis serves others between."""


class TenantDiscovery:
    """Finds the tenants.

    Args:
        follow: is given each tenant once, and whether it is to be followed from its first event on: of those that are
            found first, from the present.
    """

    def __init__(
        self, redis: RedisClient, keys: Keys, clock: Clock, spawn: Spawn, follow: Callable[[str, bool], None]
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._clock = clock
        self._spawn = spawn
        self._follow = follow
        self._known: set[str] = set()
        # All those that there were in the beginning have been found.
        self._is_acquainted = False
        self._is_looking = False
        self._is_to_look = False
        self._stops = 0
        self._timer: Timer | None = None

    @property
    def known(self) -> set[str]:
        """The tenants that were found."""
        return self._known

    @property
    def is_wanted(self) -> bool:
        """Whether anybody wants to hear of all."""
        return self._timer is not None

    def start(self) -> None:
        """Find them from now on."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(ROUND, self.start)
        self.look()

    def stop(self) -> None:
        """Nobody wants to hear of all any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._known = set()
        self._is_acquainted = False
        self._stops += 1

    def announced(self, data: bytes) -> None:
        """A new tenant was announced by its name; or, if there is none, some may have been that were not heard."""
        if not data:
            self.look()
        elif self.is_wanted:
            self._found(data.decode("utf-8", "replace"), True)

    def look(self) -> None:
        """There may be others."""
        if not self.is_wanted:
            return
        self._is_to_look = True
        if not self._is_looking:
            self._is_looking = True
            self._spawn(self._look())

    async def _look(self) -> None:
        try:
            while self._is_to_look:
                self._is_to_look = False
                await self._go_through()
        except Refusal:
            return  # in the next round
        finally:
            self._is_looking = False

    async def _go_through(self) -> None:
        stops, cursor = self._stops, b"0"
        while True:
            cursor, names = await self._redis.send("SSCAN", self._keys.tenants, cursor, "COUNT", PIECE)
            if self._stops != stops:
                return
            for name in sorted(names):
                self._found(name.decode(), self._is_acquainted)
            if cursor == b"0":
                break
        self._is_acquainted = True

    def _found(self, tenant_id: str, from_the_start: bool) -> None:
        if tenant_id not in self._known:
            self._known.add(tenant_id)
            self._follow(tenant_id, from_the_start)
