"""ClusterDirectory: queries and actions on connected users over all nodes that share a Redis."""

from __future__ import annotations

from callcenter_ws.cluster.control import ControlMessages
from callcenter_ws.cluster.user_locations import UserLocations
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import PublicationListener, UserPresence
from callcenter_ws.runtime.json import JsonObject


class ClusterDirectory:
    """Implements ``interfaces.Directory`` for nodes that share a Redis."""

    def __init__(self, hub: Hub, locations: UserLocations, control: ControlMessages) -> None:
        self._hub = hub
        self._locations = locations
        self._control = control

    async def user_presence(self, tenant_id: str, user_id: str) -> UserPresence:
        """Return whether the user has open connections at any node."""
        return await self._locations.user_presence(tenant_id, user_id)

    async def disconnect_user(self, tenant_id: str, user_id: str) -> int:
        """Close all connections of a user at all nodes; return how many."""
        return await self._control.send(tenant_id, user_id, None, revoke=False)

    async def revoke(
        self, tenant_id: str, *, jti: str | None = None, user_id: str | None = None, for_all: bool = False
    ) -> int:
        """Refuse a token, or a user's tokens issued until now, at all nodes; see ``interfaces.Directory.revoke``."""
        if jti is None and user_id is None:
            raise Refusal(ErrorCode.INVALID_MESSAGE, "jti or user_id: one of them is required")
        return await self._control.send(tenant_id, user_id, jti, revoke=True, for_all=for_all)

    def stats(self, tenant_id: str | None = None) -> JsonObject:
        """Return connections and messages of one tenant, or of all, at this node."""
        return self._hub.stats(tenant_id)

    def listen(self, listener: PublicationListener, tenant_id: str) -> None:
        """Pass every delivered publication of a tenant, or of all, to ``listener`` from now on."""
        self._hub.listen(listener, tenant_id)

    def unlisten(self, listener: PublicationListener) -> None:
        """Stop passing publications to ``listener``."""
        self._hub.unlisten(listener)
