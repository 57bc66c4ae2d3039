"""Who is here: connections per user, since when, and the events that say so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from callcenter_ws.core.access import Principal, is_announced
from callcenter_ws.errors import Refusal
from callcenter_ws.interfaces import Clock, Spawn, Timer, UserPresence

MAX_REMEMBERED = 50_000
"""Users whose ``last_seen`` is remembered; above that the one gone longest is forgotten."""

Announce = Callable[[str, dict[str, Any]], Awaitable[object]]
"""Publishes ``presence.changed`` with a payload for a tenant."""

UserKey = tuple[str, str, bool]
"""Tenant, user, and whether it is a visitor: a visitor and an agent with the same id are two people."""


@dataclass(slots=True)
class _Stay:
    """A user's time with us, over all its connections."""

    since: float
    connections: int = 0
    announced: bool = False
    farewell: Timer | None = None


class Presence:
    """Counts each user's connections and announces the first one and, after a grace, the end of the last.

    Args:
        grace: seconds that a user may be away, as when a page is reloaded, without being announced gone.
    """

    def __init__(self, clock: Clock, spawn: Spawn, announce: Announce, grace: float) -> None:
        self._clock = clock
        self._spawn = spawn
        self._announce = announce
        self._grace = grace
        self._stays: dict[UserKey, _Stay] = {}
        self._last_seen: dict[UserKey, float] = {}

    def arrived(self, principal: Principal) -> None:
        """A connection of the principal has opened."""
        key = (principal.tenant_id, principal.user_id, principal.is_visitor)
        stay = self._stays.get(key)
        if stay is None:
            stay = self._stays[key] = _Stay(self._clock.time())
        if stay.farewell is not None:
            stay.farewell.cancel()
            stay.farewell = None
        stay.connections += 1
        if not stay.announced and is_announced(principal):
            stay.announced = True
            self._say(key, online=True, connections=stay.connections, reason="connected")

    def left(self, principal: Principal) -> None:
        """A connection of the principal has closed."""
        key = (principal.tenant_id, principal.user_id, principal.is_visitor)
        stay = self._stays[key]
        stay.connections -= 1
        if stay.connections == 0:
            self._last_seen.pop(key, None)
            self._last_seen[key] = self._clock.time()
            if len(self._last_seen) > MAX_REMEMBERED:
                del self._last_seen[next(iter(self._last_seen))]
            stay.farewell = self._clock.call_later(self._grace, self._gone, key)

    def of(self, tenant_id: str, user_id: str) -> UserPresence:
        """Whether a user is connected; see ``UserPresence``. A visitor is told of where no staff has that id."""
        staff = self._presence_of((tenant_id, user_id, False))
        return staff if staff.online or staff.last_seen is not None else self._presence_of((tenant_id, user_id, True))

    def _presence_of(self, key: UserKey) -> UserPresence:
        stay = self._stays.get(key)
        if stay is None or stay.connections == 0:
            return UserPresence(False, 0, None, self._last_seen.get(key))
        return UserPresence(True, stay.connections, stay.since, self._clock.time())

    def _gone(self, key: UserKey) -> None:
        stay = self._stays.pop(key)
        if stay.announced:
            self._say(key, online=False, connections=0, reason="disconnected")

    def _say(self, key: UserKey, **facts: object) -> None:
        tenant_id, user_id, _ = key
        self._spawn(self._publish(tenant_id, {"user_id": user_id, **facts}))

    async def _publish(self, tenant_id: str, payload: dict[str, Any]) -> None:
        try:
            await self._announce(tenant_id, payload)
        except Refusal:
            # The store takes nothing now. Publishers are told so themselves, and /readyz says it to operators.
            return
