"""LocalDirectory: queries and actions on connected users where this node is the only one."""

from __future__ import annotations

from callcenter_ws.cluster.local_presence import LocalPresence
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.interfaces import PresenceStore, PublicationListener, Revocation, UserPresence
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import JsonObject


class LocalDirectory:
    """Implements ``interfaces.Directory`` on the Hub.

    Args:
        store: stores revocations.
    """

    def __init__(self, hub: Hub, presence: LocalPresence, store: PresenceStore, clock: Clock) -> None:
        self._hub = hub
        self._presence = presence
        self._store = store
        self._clock = clock

    async def user_presence(self, tenant_id: str, user_id: str) -> UserPresence:
        """Return whether the user has open connections."""
        return self._presence.of(tenant_id, user_id)

    async def disconnect_user(self, tenant_id: str, user_id: str) -> int:
        """Close all connections of a user; return how many."""
        return self._hub.disconnect_user(tenant_id, user_id)

    async def revoke(
        self, tenant_id: str, *, jti: str | None = None, user_id: str | None = None, for_all: bool = False
    ) -> int:
        """Refuse a token, or a user's tokens issued until now; see ``interfaces.Directory.revoke``."""
        self._hub.revocations.check_room(tenant_id, jti, user_id, for_all=for_all)
        cutoff = self._hub.revocations.cutoff(self._clock.time())
        closed = self._hub.revoke(tenant_id, jti=jti, user_id=user_id, at=cutoff)
        self._store.save_revocation(Revocation(tenant_id, jti, user_id, cutoff))
        return closed

    def stats(self, tenant_id: str | None = None) -> JsonObject:
        """Return connections and messages of one tenant, or of all."""
        return self._hub.stats(tenant_id)

    def listen(self, listener: PublicationListener, tenant_id: str) -> None:
        """Pass every delivered publication of a tenant, or of all, to ``listener`` from now on."""
        self._hub.listen(listener, tenant_id)

    def unlisten(self, listener: PublicationListener) -> None:
        """Stop passing publications to ``listener``."""
        self._hub.unlisten(listener)
