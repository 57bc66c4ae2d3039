"""IdleChats: ends the chats that the gateway has opened and in which nothing is written any more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from callcenter_ws.events.event import ChatWriter, Event
from callcenter_ws.interfaces import Broker
from callcenter_ws.requests.open_chats import OpenChatCheck, OpenedChat
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock

CHECK_SECONDS = 30.0
"""How often chats are checked; more often if they may be idle for a shorter time only."""


class IdleChats(OpenChatCheck):
    """Ends chats, from ``start`` to ``stop``, of the tenants that have clients at this node.

    Every such node does: the id of the event is the same, so that the store takes one. It takes none if something was
    written meanwhile. Messages that were left while no one was there stay (``requests.left_messages``), and so do chats
    that senders have opened.

    Args:
        tenants: returns the tenants with clients at this node.
        seconds: after the last event of a chat it is ended; 0: never.

    Attributes:
        seconds: may be changed.
    """

    def __init__(
        self, broker: Broker, clock: Clock, spawn: Spawn, tenants: Callable[[], Sequence[str]], *, seconds: float
    ) -> None:
        super().__init__(broker, clock, spawn)
        self._tenants = tenants
        self.seconds = seconds

    def _interval(self) -> float:
        return min(CHECK_SECONDS, max(1.0, self.seconds / 4)) if self.seconds else CHECK_SECONDS

    def _checked_tenants(self) -> Sequence[str]:
        return self._tenants() if self.seconds else ()

    async def _check_tenant(self, tenant_id: str) -> None:
        chats = await self._chats(tenant_id, changed_before=self._clock.monotonic() - self.seconds)
        await self._publish([one for one in chats if not one.is_left], lambda one: self._ending(tenant_id, one))

    def _ending(self, tenant_id: str, chat: OpenedChat) -> Event:
        payload = {"session_id": chat.session_id, "reason": "idle", "ended_by": "gateway"}
        event = self._event(tenant_id, chat, "chat.session.ended", payload, "chat-idle-")
        event.chat_writer = ChatWriter()
        return event
