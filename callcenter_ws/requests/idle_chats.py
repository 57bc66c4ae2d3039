"""IdleChats: ends the chats that the gateway has opened and in which nothing is written any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from callcenter_ws.errors import Refusal
from callcenter_ws.events.entity import Entity
from callcenter_ws.events.event import ChatWriter, Event, Origin, StoreCondition, make_event
from callcenter_ws.interfaces import Broker
from callcenter_ws.requests.chat_sessions import OFFLINE_STATUS, event_id_of_session, start_by_gateway
from callcenter_ws.runtime.background import Spawn, next_turn
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.json import decode_trusted_json
from callcenter_ws.runtime.single_flight import SingleFlight

CHECK_SECONDS = 30.0
"""How often chats are checked; more often if they may be idle for a shorter time only."""

CHATS_AT_ONCE = 50
"""Chats that are looked at, and ended, in one turn of the reactor."""


class IdleChats:
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
        self._broker = broker
        self._clock = clock
        self._tenants = tenants
        self.seconds = seconds
        self._work = SingleFlight(self._check, clock, spawn)
        self._timer: Timer | None = None

    def start(self) -> None:
        """Check chats from now on."""
        interval = min(CHECK_SECONDS, max(1.0, self.seconds / 4)) if self.seconds else CHECK_SECONDS
        self._timer = self._clock.call_later(interval, self._tick)

    def _tick(self) -> None:
        self.start()
        if self.seconds and self._work.is_idle:
            self._work.request()

    async def stop(self) -> None:
        """Stop; return when nothing is under way."""
        if self._timer is not None:
            self._timer.cancel()
        await self._work.stopped()

    async def _check(self) -> None:
        for tenant_id in self._tenants():
            try:
                await self._check_tenant(tenant_id)
            except Refusal:
                # The store cannot be reached: at the next check.
                continue
            await next_turn(self._clock)

    async def _check_tenant(self, tenant_id: str) -> None:
        before = self._clock.monotonic() - self.seconds
        found = [chat for _, chat in await self._broker.entities(tenant_id, "chat") if chat.changed_at <= before]
        for start in range(0, len(found), CHATS_AT_ONCE):
            if start:
                await next_turn(self._clock)
            events = list(self._endings(tenant_id, found[start : start + CHATS_AT_ONCE]))
            if events:
                # What is refused has changed meanwhile, or is refused for the same reason at the next check.
                await self._broker.publish(events)

    def _endings(self, tenant_id: str, chats: Sequence[Entity]) -> Iterator[Event]:
        """Yield the events that end those of some idle chats that the gateway has opened."""
        for chat in chats:
            started = start_by_gateway(chat)
            if started is None:
                continue
            fields = decode_trusted_json(started.event.payload)
            if fields.get("status") != OFFLINE_STATUS:
                yield self._ending(tenant_id, str(fields["session_id"]), chat)

    def _ending(self, tenant_id: str, session_id: str, chat: Entity) -> Event:
        event = make_event(
            tenant_id=tenant_id,
            type_="chat.session.ended",
            payload={"session_id": session_id, "reason": "idle", "ended_by": "gateway"},
            event_id=event_id_of_session("chat-idle-", tenant_id, session_id),
            now=self._clock.time(),
            received_at=self._clock.monotonic(),
            origin=Origin.GATEWAY,
        )
        event.chat_writer, event.condition = ChatWriter(), StoreCondition(entity_seq=chat.changed_by)
        return event
