"""Availability: whether anyone is there to take the chats of a tenant's visitors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from twisted.internet.defer import Deferred

from callcenter_ws.errors import Refusal
from callcenter_ws.events.catalogue import EntityKey
from callcenter_ws.events.entity import Entity
from callcenter_ws.interfaces import Broker
from callcenter_ws.runtime.background import next_turn
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import decode_trusted_json

Rule = Literal["desk", "agents", "always"]
"""``desk``: an agent who is connected and takes chats is there. ``agents``: connected or not. ``always``: no one has to
be there."""

CACHED_SECONDS = 5.0
"""For so long an answer is used again: many visitors ask at the same time."""

AGENTS_PER_TURN = 200
"""Agents that are looked at in one turn of the reactor."""

_AWAY = frozenset({"offline", "break", "away"})
"""States in which an agent takes no chats."""


class AgentsThere:
    """Tells whether an agent is there, of each tenant that is asked for.

    What is remembered is one answer for each of these tenants: ask for those of the settings only.
    """

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker = broker
        self._clock = clock
        # Until when an answer is used, and the answer.
        self._known: dict[tuple[str, Rule], tuple[float, bool]] = {}
        # Those who wait for an answer that is being found.
        self._waiting: dict[tuple[str, Rule], list[Deferred[bool]]] = {}

    async def is_available(self, tenant_id: str, rule: Rule) -> bool:
        """Return whether a chat is offered now; the answer may be some seconds old.

        Raises:
            Refusal: ``unavailable``: the store does not answer.
        """
        if rule == "always":
            return True
        key = (tenant_id, rule)
        until, answer = self._known.get(key, (0.0, False))
        if self._clock.monotonic() < until:
            return answer
        if key in self._waiting:
            later: Deferred[bool] = Deferred()
            self._waiting[key].append(later)
            return await later
        self._waiting[key] = []
        try:
            answer = await self._find(tenant_id, rule)
        except BaseException as error:
            for later in self._waiting.pop(key):
                later.errback(error.copy() if isinstance(error, Refusal) else error)
            raise
        self._known[key] = (self._clock.monotonic() + CACHED_SECONDS, answer)
        for later in self._waiting.pop(key):
            later.callback(answer)
        return answer

    async def _find(self, tenant_id: str, rule: Rule) -> bool:
        agents = await self._broker.entities(tenant_id, "agent")
        if rule == "desk":
            connected = {user_id for (_, user_id), _ in await self._broker.entities(tenant_id, "presence")}
            agents = [(key, entity) for key, entity in agents if key[1] in connected]
        return await self._any_takes_chats(agents)

    async def _any_takes_chats(self, agents: Sequence[tuple[EntityKey, Entity]]) -> bool:
        for number, (_, entity) in enumerate(agents, 1):
            if _takes_chats(entity):
                return True
            if number % AGENTS_PER_TURN == 0:
                await next_turn(self._clock)
        return False


def _takes_chats(agent: Entity) -> bool:
    """Return whether the last event of an agent's state is one in which it takes work."""
    publications = agent.publications()
    if not publications:
        return False
    state = decode_trusted_json(publications[-1].event.payload).get("state")
    return state not in _AWAY
