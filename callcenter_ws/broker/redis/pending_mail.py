"""PendingMailWrites: marks of mailbox items that Redis has not stored yet; bounded, the oldest are dropped first."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from callcenter_ws.broker.redis.tenant_store import MailMark, TenantStore
from callcenter_ws.errors import Refusal
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock, Timer

MAX_MARKS = 50_000
"""Pending marks of items. The items of marks that are dropped are delivered to their users again."""

RETRY_SECONDS = 1.0

_Key = tuple[str, str, MailMark]
"""Tenant, user, and the mark."""


class PendingMailWrites:
    """Writes to Redis which mailbox items were sent and which were acknowledged.

    Writes are pipelined, not one at a time: a read of the mailbox that follows must see them.

    Args:
        tenant_store: returns a tenant's store.
        is_connected: whether commands can be sent to Redis.
    """

    def __init__(
        self, tenant_store: Callable[[str], TenantStore], clock: Clock, spawn: Spawn, is_connected: Callable[[], bool]
    ) -> None:
        self._tenant_store = tenant_store
        self._clock = clock
        self._spawn = spawn
        self._is_connected = is_connected
        # Set while a failed write waits to be repeated.
        self._retry: Timer | None = None
        self._pending: dict[_Key, dict[str, None]] = {}
        self._count = 0

    def add(self, tenant_id: str, user_id: str, mark: MailMark, event_ids: Sequence[str]) -> None:
        """Add marks, and write them unless a repetition is due."""
        self._add((tenant_id, user_id, mark), event_ids)
        if self._retry is None:
            self.write()

    def _add(self, key: _Key, event_ids: Sequence[str]) -> None:
        ids = self._pending.setdefault(key, {})
        before = len(ids)
        ids.update(dict.fromkeys(event_ids))
        self._count += len(ids) - before
        while self._count > MAX_MARKS:
            oldest = next(iter(self._pending))
            self._count -= len(self._pending.pop(oldest))

    def write(self) -> None:
        """Write all pending marks; without a connection they stay pending until this is called again."""
        self.stop()
        if not self._is_connected():
            return
        pending, self._pending, self._count = self._pending, {}, 0
        for key, ids in pending.items():
            self._spawn(self._write(key, list(ids)))

    async def _write(self, key: _Key, event_ids: list[str]) -> None:
        tenant_id, user_id, mark = key
        try:
            await self._tenant_store(tenant_id).mark_mail(user_id, mark, event_ids)
        except Refusal:
            self._add(key, event_ids)
            if self._retry is None:
                self._retry = self._clock.call_later(RETRY_SECONDS, self.write)

    def stop(self) -> None:
        """Repeat no failed write."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
