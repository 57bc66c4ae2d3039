"""LeftMessages: keeps what visitors have left while no agent was there, until an agent has seen to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from callcenter_ws.events.event import Event
from callcenter_ws.interfaces import Broker
from callcenter_ws.requests.open_chats import OpenChatCheck, OpenedChat
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock

CHECK_SECONDS = 3_600.0
"""How often they are looked for."""

REPEAT_SECONDS = 12 * 3_600.0
"""After their last event they are announced again: the state forgets what has not changed for a day."""

KEPT_SECONDS = 14 * 86_400.0
"""After that they are not announced again."""

MAX_KEPT = 1_000
"""Messages of a tenant that are kept so, the newest: any visitor may leave some."""


class LeftMessages(OpenChatCheck):
    """Announces them again, from ``start`` to ``stop``: chats with the status of a message that was left.

    Over a weekend no agent may be connected, and no client at all. Chats that are assigned to an agent stay so.

    Args:
        tenants: the tenants of which there may be some.

    Attributes:
        tenants: may be replaced.
    """

    def __init__(self, broker: Broker, clock: Clock, spawn: Spawn, tenants: Sequence[str]) -> None:
        super().__init__(broker, clock, spawn)
        self.tenants = tenants

    def _interval(self) -> float:
        return CHECK_SECONDS

    def _checked_tenants(self) -> Sequence[str]:
        return self.tenants

    async def _check_tenant(self, tenant_id: str) -> None:
        before, oldest = self._clock.monotonic() - REPEAT_SECONDS, self._clock.time() - KEPT_SECONDS
        left = sorted((one for one in await self._chats(tenant_id) if one.is_left), key=_left_at)
        due = [one for one in left[-MAX_KEPT:] if _left_at(one) >= oldest and one.chat.changed_at <= before]
        await self._publish(due, lambda one: self._repetition(tenant_id, one))

    def _repetition(self, tenant_id: str, left: OpenedChat) -> Event:
        """Return the event that began the chat, with the agent whom it is assigned to, as of its own time."""
        fields, started = left.fields, left.started.event
        if started.agents:
            fields = {**fields, "agent_id": started.agents[-1]}
        return self._event(
            tenant_id, left, started.type.name, fields, f"chat-keep-{left.chat.changed_by}-", started.timestamp
        )


def _left_at(left: OpenedChat) -> float:
    """Return when a message was left, in Unix time."""
    return datetime.fromisoformat(left.started.event.timestamp).timestamp()
