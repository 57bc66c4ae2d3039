"""OpenChatCheck: at intervals, publishes events of the open chats that the gateway has opened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

from callcenter_ws.errors import Refusal
from callcenter_ws.events.entity import Entity
from callcenter_ws.events.event import Event, Origin, StoreCondition, make_event
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Broker
from callcenter_ws.requests.chat_sessions import OFFLINE_STATUS, event_id_of_session
from callcenter_ws.runtime.background import Spawn, next_turn
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.json import JsonObject, decode_trusted_json
from callcenter_ws.runtime.single_flight import SingleFlight

CHATS_AT_ONCE = 50
"""Chats that are looked at, or of which events are published, in one turn of the reactor."""


class OpenedChat(NamedTuple):
    """An open chat that the gateway has opened: the event that began it, its payload, and the chat."""

    started: Publication
    fields: JsonObject
    chat: Entity

    @property
    def session_id(self) -> str:
        """The id of its session."""
        return str(self.fields["session_id"])

    @property
    def is_left(self) -> bool:
        """Whether it is a message that was left while no agent was there."""
        return self.fields.get("status") == OFFLINE_STATUS


class OpenChatCheck(ABC):
    """Checks the chats of tenants from ``start`` to ``stop``, one check at a time."""

    def __init__(self, broker: Broker, clock: Clock, spawn: Spawn) -> None:
        self._broker = broker
        self._clock = clock
        self._work = SingleFlight(self._check, clock, spawn)
        self._timer: Timer | None = None

    @abstractmethod
    def _interval(self) -> float:
        """Return the seconds until the next check."""

    @abstractmethod
    def _checked_tenants(self) -> Sequence[str]:
        """Return the tenants to check."""

    @abstractmethod
    async def _check_tenant(self, tenant_id: str) -> None:
        """Check the chats of a tenant. May raise Refusal: the tenant is checked again after the interval."""

    def start(self) -> None:
        """Check chats from now on."""
        self._timer = self._clock.call_later(self._interval(), self._tick)

    def _tick(self) -> None:
        self.start()
        if self._work.is_idle:
            self._work.request()

    async def stop(self) -> None:
        """Stop; return when nothing is under way."""
        if self._timer is not None:
            self._timer.cancel()
        await self._work.stopped()

    async def _check(self) -> None:
        for tenant_id in self._checked_tenants():
            try:
                await self._check_tenant(tenant_id)
            except Refusal:
                # The store cannot be reached: at the next check.
                continue
            await next_turn(self._clock)

    async def _chats(self, tenant_id: str, *, changed_before: float | None = None) -> list[OpenedChat]:
        """Return the open chats of a tenant that the gateway has opened.

        Args:
            changed_before: only those that have not changed since, as ``Clock.monotonic`` has it.
        """
        chats = [
            chat
            for _, chat in await self._broker.entities(tenant_id, "chat")
            if changed_before is None or chat.changed_at <= changed_before
        ]
        found: list[OpenedChat] = []
        for start in range(0, len(chats), CHATS_AT_ONCE):
            found += filter(None, map(_opened, chats[start : start + CHATS_AT_ONCE]))
            await next_turn(self._clock)
        return found

    def _event(
        self, tenant_id: str, opened: OpenedChat, type_: str, payload: JsonObject, prefix: str, timestamp: object = None
    ) -> Event:
        """Return an event of a chat, which the store refuses if the chat has changed.

        Args:
            prefix: of its id, which is the same at every node.
        """
        event = make_event(
            tenant_id=tenant_id,
            type_=type_,
            payload=payload,
            event_id=event_id_of_session(prefix, tenant_id, opened.session_id),
            timestamp=timestamp,
            now=self._clock.time(),
            received_at=self._clock.monotonic(),
            origin=Origin.GATEWAY,
        )
        event.condition = StoreCondition(entity_seq=opened.chat.changed_by)
        return event

    async def _publish(self, chats: Sequence[OpenedChat], event_of: Callable[[OpenedChat], Event]) -> None:
        """Publish an event of each chat. What is refused has changed meanwhile, or is refused at the next check too."""
        for start in range(0, len(chats), CHATS_AT_ONCE):
            await self._broker.publish([event_of(one) for one in chats[start : start + CHATS_AT_ONCE]])
            await next_turn(self._clock)


def _opened(chat: Entity) -> OpenedChat | None:
    """Return a chat with the event by which the gateway has opened it; None if a sender has."""
    started = next((one for one in chat.publications() if one.event.type.name == "chat.session.started"), None)
    if started is None or started.event.origin is not Origin.GATEWAY:
        return None
    return OpenedChat(started, decode_trusted_json(started.event.payload), chat)
