"""LeftMessages: keeps what visitors have left while no agent was there, until an agent has seen to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from callcenter_ws.errors import Refusal
from callcenter_ws.events.entity import Entity
from callcenter_ws.events.event import Event, Origin, StoreCondition, make_event
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Broker
from callcenter_ws.requests.chat_sessions import OFFLINE_STATUS, event_id_of_session, start_by_gateway
from callcenter_ws.runtime.background import Spawn, next_turn
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.json import JsonObject, decode_trusted_json
from callcenter_ws.runtime.single_flight import SingleFlight

CHECK_SECONDS = 3_600.0
"""How often they are looked for."""

REPEAT_SECONDS = 12 * 3_600.0
"""After their last event they are announced again: the state forgets what has not changed for a day."""

KEPT_SECONDS = 14 * 86_400.0
"""After that they are not announced again."""

MAX_KEPT = 1_000
"""Messages of a tenant that are kept so, the newest: any visitor may leave some."""

CHATS_AT_ONCE = 50
"""Chats that are looked at, and announced, in one turn of the reactor."""


class _Left(NamedTuple):
    """A message that was left: when (Unix time), the payload of the event that began its chat, this event, the chat."""

    at: float
    fields: JsonObject
    started: Publication
    chat: Entity


class LeftMessages:
    """Announces them again, from ``start`` to ``stop``: chats with the status of a message that was left.

    Over a weekend no agent may be connected, and no client at all. Chats that are assigned to an agent stay so.

    Args:
        tenants: the tenants of which there may be some.

    Attributes:
        tenants: may be replaced.
    """

    def __init__(self, broker: Broker, clock: Clock, spawn: Spawn, tenants: Sequence[str]) -> None:
        self._broker = broker
        self._clock = clock
        self.tenants = tenants
        self._work = SingleFlight(self._check, clock, spawn)
        self._timer: Timer | None = None

    def start(self) -> None:
        """Look for them from now on."""
        self._timer = self._clock.call_later(CHECK_SECONDS, self._tick)

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
        for tenant_id in self.tenants:
            try:
                await self._check_tenant(tenant_id)
            except Refusal:
                # The store cannot be reached: at the next check.
                continue
            await next_turn(self._clock)

    async def _check_tenant(self, tenant_id: str) -> None:
        before, oldest = self._clock.monotonic() - REPEAT_SECONDS, self._clock.time() - KEPT_SECONDS
        chats = [chat for _, chat in await self._broker.entities(tenant_id, "chat")]
        left: list[_Left] = []
        for start in range(0, len(chats), CHATS_AT_ONCE):
            left += _left_among(chats[start : start + CHATS_AT_ONCE])
            await next_turn(self._clock)
        left.sort(key=lambda one: one.at)
        due = [one for one in left[-MAX_KEPT:] if one.at >= oldest and one.chat.changed_at <= before]
        for start in range(0, len(due), CHATS_AT_ONCE):
            part = due[start : start + CHATS_AT_ONCE]
            await self._broker.publish([self._repetition(tenant_id, one) for one in part])
            await next_turn(self._clock)

    def _repetition(self, tenant_id: str, left: _Left) -> Event:
        """Return the event that began the chat, with the agent whom it is assigned to, as of its own time."""
        fields, started, chat = left.fields, left.started, left.chat
        session_id, agents = str(fields["session_id"]), started.event.agents
        if agents:
            fields = {**fields, "agent_id": agents[-1]}
        event = make_event(
            tenant_id=tenant_id,
            type_=started.event.type.name,
            payload=fields,
            event_id=event_id_of_session(f"chat-keep-{chat.changed_by}-", tenant_id, session_id),
            timestamp=started.event.timestamp,
            now=self._clock.time(),
            received_at=self._clock.monotonic(),
            origin=Origin.GATEWAY,
        )
        event.condition = StoreCondition(entity_seq=chat.changed_by)
        return event


def _left_among(chats: Sequence[Entity]) -> Iterator[_Left]:
    for chat in chats:
        started = start_by_gateway(chat)
        if started is None:
            continue
        fields = decode_trusted_json(started.event.payload)
        if fields.get("status") == OFFLINE_STATUS:
            yield _Left(datetime.fromisoformat(started.event.timestamp).timestamp(), fields, started, chat)
