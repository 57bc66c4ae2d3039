"""Everybody: follows every tenant there is, for those who want to hear of all."""

from __future__ import annotations

from collections.abc import Callable

from callcenter_ws.broker.redis.engine import Engine
from callcenter_ws.broker.redis.keys import Keys
from callcenter_ws.errors import Refusal
from callcenter_ws.interfaces import Clock, Spawn, Timer

ROUND = 10.0
"""Seconds between two looks for tenants of whom nothing was announced."""


class Everybody:
    """Finds the tenants.

    Args:
        follow: is given each tenant once, and whether it is to be followed from its first event on: of those that are
            found first, from the present.
    """

    def __init__(
        self, engine: Engine, keys: Keys, clock: Clock, spawn: Spawn, follow: Callable[[str, bool], None]
    ) -> None:
        self._engine = engine
        self._keys = keys
        self._clock = clock
        self._spawn = spawn
        self._follow = follow
        self._known: set[str] | None = None
        self._is_looking = False
        self._timer: Timer | None = None

    @property
    def known(self) -> set[str]:
        """The tenants that were found."""
        return self._known or set()

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
        self._known = None

    def look(self) -> None:
        """There may be others."""
        if self.is_wanted and not self._is_looking:
            self._is_looking = True
            self._spawn(self._look())

    async def _look(self) -> None:
        try:
            found = {name.decode() for name in await self._engine.send("SMEMBERS", self._keys.tenants)}
        except Refusal:
            return
        finally:
            self._is_looking = False
        if not self.is_wanted:
            return
        known, self._known = self._known, found | self.known
        for tenant_id in sorted(found - (known or set())):
            self._follow(tenant_id, known is not None)
