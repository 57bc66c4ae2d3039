"""ClusterDirectory: who is connected, and what is done about it, over all nodes that share a Redis."""

from __future__ import annotations

from typing import Any

from callcenter_ws.cluster.control import ControlMessages
from callcenter_ws.cluster.presence import ClusterPresence
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import PublicationListener, UserPresence


class ClusterDirectory:
    """Implements ``interfaces.Directory``."""

    def __init__(self, hub: Hub, presence: ClusterPresence, orders: ControlMessages) -> None:
        self._hub = hub
        self._presence = presence
        self._orders = orders

    async def user_presence(self, tenant_id: str, user_id: str) -> UserPresence:
        """Whether the user has open connections, to whatever node."""
        return await self._presence.of(tenant_id, user_id)

    async def disconnect_user(self, tenant_id: str, user_id: str) -> int:
        """Close all connections of a user, on all nodes; return how many."""
        return await self._orders.give(tenant_id, user_id, None, revoke=False)

    async def revoke(self, tenant_id: str, *, jti: str | None = None, user_id: str | None = None) -> int:
        """Refuse a token, or a user's tokens issued until now, on all nodes; see ``interfaces.Directory.revoke``."""
        if jti is None and user_id is None:
            raise Refusal(ErrorCode.INVALID_MESSAGE, "jti or user_id: one of them is required")
        return await self._orders.give(tenant_id, user_id, jti, revoke=True)

    def stats(self, tenant_id: str | None = None) -> dict[str, Any]:
        """Connections and messages of one tenant, or of all, on this node."""
        return self._hub.stats(tenant_id)

    def listen(self, listener: PublicationListener, tenant_id: str) -> None:
        """Show every delivered message of a tenant, or of all, to ``listener`` from now on."""
        self._hub.listen(listener, tenant_id)

    def unlisten(self, listener: PublicationListener) -> None:
        """Stop showing messages to ``listener``."""
        self._hub.unlisten(listener)
