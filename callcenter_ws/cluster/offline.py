"""OfflineAnnouncements: announces users offline when their grace is over."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from callcenter_ws.broker.redis.tenant_store import NO_EVENT, TenantStore
from callcenter_ws.cluster.presence_event import presence_draft
from callcenter_ws.errors import Refusal
from callcenter_ws.redis.connection import Argument
from callcenter_ws.redis.scripts import OFFLINE_ANNOUNCE
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import encode_json

CALL_USERS = 100
"""Users in one call of a script."""

_MARGIN_SECONDS = 0.05
"""How much later than the end of the grace an announcement is attempted."""


class OfflineAnnouncements:
    """Has Redis announce users offline; Redis decides whether their grace is over.

    Args:
        log_limits: the limits of a tenant's log, as arguments of the scripts.
    """

    def __init__(
        self,
        tenant_store: Callable[[str], TenantStore],
        clock: Clock,
        spawn: Spawn,
        new_id: Callable[[], str],
        log_limits: tuple[Argument, ...],
    ) -> None:
        self._tenant_store = tenant_store
        self._clock = clock
        self._spawn = spawn
        self._new_id = new_id
        self._log_limits = log_limits

    def schedule(self, tenant_id: str, users: list[str], grace: float) -> None:
        """Announce users offline after their grace in seconds, unless they reconnect."""
        self._clock.call_later(grace + _MARGIN_SECONDS, self._start, tenant_id, users)

    def _start(self, tenant_id: str, users: list[str]) -> None:
        self._spawn(self._attempt(tenant_id, users))

    async def _attempt(self, tenant_id: str, users: list[str]) -> None:
        with suppress(Refusal):  # the reaper will do it
            await self.announce(tenant_id, users)

    async def announce(self, tenant_id: str, users: list[str]) -> None:
        """Announce those users offline whose grace is over.

        Args:
            users: their names within the tenant.

        Raises:
            Refusal: ``unavailable``.
        """
        tenant_store = self._tenant_store(tenant_id)
        for start in range(0, len(users), CALL_USERS):
            arguments = [
                encode_json({"name": key, "draft": presence_draft(tenant_store, key, self._new_id())})
                for key in users[start : start + CALL_USERS]
            ]
            history = tenant_store.history_arguments(NO_EVENT)
            await tenant_store.run(OFFLINE_ANNOUNCE, *history, *self._log_limits, *arguments)
