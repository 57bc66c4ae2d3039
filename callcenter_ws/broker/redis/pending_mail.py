"""Notes about mail, kept until Redis has taken them: bounded, the oldest is forgotten first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from callcenter_ws.broker.redis.tenant_store import TenantStore
from callcenter_ws.errors import Refusal
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock, Timer

MAX_NOTES = 50_000
"""Messages that are noted of. What is forgotten comes twice to its user."""

RETRY = 1.0
"""Seconds after which it is tried again to tell what could not be told."""

_Key = tuple[str, str, str]
"""Tenant, user, and ``sent`` or ``taken``."""


class PendingMailWrites:
    """Tells Redis which messages were sent to their users, and which the users have.

    Args:
        tenancy: gives a tenant's part of Redis.
        is_connected: whether anything can be told.
    """

    def __init__(
        self, tenant_store: Callable[[str], TenantStore], clock: Clock, spawn: Spawn, is_connected: Callable[[], bool]
    ) -> None:
        self._tenant_store = tenant_store
        self._clock = clock
        self._spawn = spawn
        self._is_connected = is_connected
        # Runs while something could not be told.
        self._retry: Timer | None = None
        self._waiting: dict[_Key, dict[str, None]] = {}
        self._count = 0

    def note(self, tenant_id: str, user_id: str, what: str, event_ids: Sequence[str]) -> None:
        """Note something, and tell it at once if that can be done."""
        self._add((tenant_id, user_id, what), event_ids)
        if self._retry is None:
            self.tell()

    def _add(self, key: _Key, event_ids: Sequence[str]) -> None:
        ids = self._waiting.setdefault(key, {})
        before = len(ids)
        ids.update(dict.fromkeys(event_ids))
        self._count += len(ids) - before
        while self._count > MAX_NOTES:
            oldest = next(iter(self._waiting))
            self._count -= len(self._waiting.pop(oldest))

    def tell(self) -> None:
        """Tell Redis everything that waits."""
        self.stop()
        if not self._is_connected():
            # It is called again as soon as there is a connection.
            return
        waiting, self._waiting, self._count = self._waiting, {}, 0
        for key, ids in waiting.items():
            self._spawn(self._tell(key, list(ids)))

    async def _tell(self, key: _Key, event_ids: list[str]) -> None:
        tenant_id, user_id, what = key
        try:
            await self._tenant_store(tenant_id).note_mail(user_id, what, event_ids)
        except Refusal:
            self._add(key, event_ids)
            if self._retry is None:
                self._retry = self._clock.call_later(RETRY, self.tell)

    def stop(self) -> None:
        """Try no more."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
