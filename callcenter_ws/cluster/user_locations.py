"""UserLocations: at which nodes a user is connected."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from callcenter_ws.broker.redis.tenant_store import TenantStore
from callcenter_ws.cluster.membership import Membership
from callcenter_ws.cluster.node_user import user_key
from callcenter_ws.interfaces import UserPresence
from callcenter_ws.redis.scripts import USER_LOCATIONS
from callcenter_ws.runtime.clock import Clock

_Location = tuple[dict[str, int], float, float]
"""Connections by node, when the user came online, and when it was last seen (Unix seconds; 0: unknown)."""

_decode = msgspec.json.Decoder(list[_Location]).decode


class UserLocations:
    """Reads from Redis where users are connected.

    Args:
        unreported_connections: returns a user's connections at this node if Redis may have another number, else None.
    """

    def __init__(
        self,
        membership: Membership,
        tenant_store: Callable[[str], TenantStore],
        unreported_connections: Callable[[str, str], int | None],
        clock: Clock,
    ) -> None:
        self._membership = membership
        self._tenant_store = tenant_store
        self._unreported_connections = unreported_connections
        self._clock = clock

    async def user_presence(self, tenant_id: str, user_id: str) -> UserPresence:
        """Return whether a user is connected to any node; a visitor only if no other user with this id is or was.

        Raises:
            Refusal: ``unavailable``: it is not known.
        """
        self._membership.check_current()
        contact = self._membership.contact
        found = await self._read(tenant_id, user_id)
        nodes = [node for counts, *_ in found for node in counts]
        if not await self._membership.is_complete(nodes, contact):
            found = await self._read(tenant_id, user_id)
        staff, visitor = [self._presence(*location) for location in found]
        return staff if staff.online or staff.last_seen is not None else visitor

    async def _read(self, tenant_id: str, user_id: str) -> list[_Location]:
        keys = [user_key(user_id, is_visitor=False), user_key(user_id, is_visitor=True)]
        found = _decode(await self._tenant_store(tenant_id).run(USER_LOCATIONS, *keys))
        for key, (counts, *_) in zip(keys, found, strict=True):
            unreported = self._unreported_connections(tenant_id, key)
            if unreported is not None:
                counts[self._membership.instance] = unreported
        return found

    def _presence(self, counts: dict[str, int], since: float, last_seen: float) -> UserPresence:
        total = sum(count for node, count in counts.items() if self._membership.is_alive(node))
        if not total:
            return UserPresence(False, 0, None, last_seen or None)
        # ``since`` is a time of Redis's clock, which may be ahead.
        return UserPresence(True, total, since or None, max(since, self._clock.time()))
