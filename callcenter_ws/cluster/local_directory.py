"""LocalDirectory: who is connected, and what is done about it, where this node is the only one."""

from __future__ import annotations

from typing import Any

from callcenter_ws.cluster.local_presence import LocalPresence
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.interfaces import PresenceStore, PublicationListener, Revocation, UserPresence
from callcenter_ws.runtime.clock import Clock


class LocalDirectory:
    """Implements ``interfaces.Directory`` on the Hub.

    Args:
        register: remembers what was revoked.
    """

    def __init__(self, hub: Hub, presence: LocalPresence, register: PresenceStore, clock: Clock) -> None:
        self._hub = hub
        self._presence = presence
        self._register = register
        self._clock = clock

    async def user_presence(self, tenant_id: str, user_id: str) -> UserPresence:
        """Whether the user has open connections."""
        return self._presence.of(tenant_id, user_id)

    async def disconnect_user(self, tenant_id: str, user_id: str) -> int:
        """Close all connections of a user; return how many."""
        return self._hub.disconnect_user(tenant_id, user_id)

    async def revoke(self, tenant_id: str, *, jti: str | None = None, user_id: str | None = None) -> int:
        """Refuse a token, or a user's tokens issued until now; see ``interfaces.Directory.revoke``."""
        now = self._clock.time()
        closed = self._hub.revoke(tenant_id, jti=jti, user_id=user_id, at=now)
        self._register.save_revocation(Revocation(tenant_id, jti, user_id, now))
        return closed

    def stats(self, tenant_id: str | None = None) -> dict[str, Any]:
        """Connections and messages of one tenant, or of all."""
        return self._hub.stats(tenant_id)

    def listen(self, listener: PublicationListener, tenant_id: str) -> None:
        """Show every delivered message of a tenant, or of all, to ``listener`` from now on."""
        self._hub.listen(listener, tenant_id)

    def unlisten(self, listener: PublicationListener) -> None:
        """Stop showing messages to ``listener``."""
        self._hub.unlisten(listener)
