"""TenantDiscovery: finds all tenants, for nodes that listen to the events of every tenant."""

from __future__ import annotations

from collections.abc import Callable

from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.keys import Keys
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.single_flight import SingleFlight

SCAN_INTERVAL_SECONDS = 10.0
"""Seconds between scans for tenants whose announcement was missed."""

SCAN_COUNT = 500
"""Tenants per SSCAN, so that Redis is not blocked for long."""


class TenantDiscovery:
    """Scans the set of tenants, and receives announcements of new ones.

    Args:
        follow: called once for each tenant, with whether it is to be followed from its first event on. Tenants found by
            the first scan are followed from their current position on.
    """

    def __init__(
        self, redis: RedisClient, keys: Keys, clock: Clock, spawn: Spawn, follow: Callable[[str, bool], None]
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._clock = clock
        self._follow = follow
        self._known: set[str] = set()
        self._first_scan_done = False
        # Counts stops: a scan that was started before a stop must not continue after it.
        self._stops = 0
        self._timer: Timer | None = None
        self._scans = SingleFlight(self._scan, clock, spawn)

    @property
    def known(self) -> set[str]:
        """The tenants that were found."""
        return self._known

    @property
    def is_running(self) -> bool:
        """Whether tenants are being discovered."""
        return self._timer is not None

    def start(self) -> None:
        """Discover tenants from now on."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(SCAN_INTERVAL_SECONDS, self.start)
        self.scan()

    def stop(self) -> None:
        """Discover no tenants any more, and forget those that were found."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._known = set()
        self._first_scan_done = False
        self._stops += 1

    def announced(self, data: bytes) -> None:
        """Process the announcement of a new tenant; empty: announcements may have been missed."""
        if not data:
            self.scan()
        elif self.is_running:
            self._found(data.decode("utf-8", "replace"), True)

    def scan(self) -> None:
        """Scan for tenants that are not known yet."""
        if self.is_running:
            self._scans.request()

    async def _scan(self) -> None:
        stops, cursor = self._stops, b"0"
        while self.is_running:
            cursor, names = await self._redis.send("SSCAN", self._keys.tenants, cursor, "COUNT", SCAN_COUNT)
            if self._stops != stops:
                return
            for name in sorted(names):
                self._found(name.decode(), self._first_scan_done)
            if cursor == b"0":
                self._first_scan_done = True
                return

    def _found(self, tenant_id: str, from_the_start: bool) -> None:
        if tenant_id not in self._known:
            self._known.add(tenant_id)
            self._follow(tenant_id, from_the_start)
