"""What a command is about: its call, chat or user, as the state of the tenant has it now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from callcenter_ws.commands.decoding import text_of
from callcenter_ws.commands.policy import CommandPolicy
from callcenter_ws.commands.recent_calls import EndedCall, RecentCalls
from callcenter_ws.events.commands import CommandPayload, CommandType
from callcenter_ws.events.event import UNASSIGNED
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.visibility import may_see
from callcenter_ws.interfaces import Broker
from callcenter_ws.runtime.background import next_turn
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import decode_trusted_json

MAX_CLAIMED_QUEUES = 500
"""Queues of a claim in which a membership of another user is looked for."""

LOOKED_UP_AT_ONCE = 25
"""Of these, how many in one turn of the reactor: several commands are checked at the same time."""

_INCOMING, _RINGING, _ANSWERED, _TRANSFERRED = "call.incoming", "call.ringing", "call.answered", "call.transferred"
_TELLING = (_INCOMING, _RINGING, _ANSWERED, _TRANSFERRED)
"""The events that tell who handles a call. The agent of an outbound call is named when it begins."""

_HANDLING = (_INCOMING, _ANSWERED, _TRANSFERRED)
_ASSIGNING = ("chat.session.started", "chat.transferred")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a command is about.

    Attributes:
        exists: whether it is in the state, and the asker sees it; a user always exists.
        owners: the sources that created it, the nearest first.
        queue_name: its queue.
        agents: who handles it now: the agents of the call, or the agent of the chat.
        handled_by: the agents that handle the call or handled it before.
        rings: whether it is a call that no agent has answered yet.
        in_claimed_queue: whether the user is a member of a queue of the asker's claim.
    """

    exists: bool = True
    owners: Sequence[str] = ()
    queue_name: str | None = None
    agents: frozenset[str] = frozenset()
    handled_by: frozenset[str] = frozenset()
    rings: bool = False
    in_claimed_queue: bool = False


_ABSENT = Subject(exists=False)


class Subjects:
    """Finds what commands are about.

    Args:
        recent_calls: the calls that ended a short time ago.
    """

    def __init__(self, broker: Broker, recent_calls: RecentCalls, clock: Clock) -> None:
        self._clock = clock
        self._broker = broker
        self._recent_calls = recent_calls

    async def find(
        self, asker: Principal, type_: CommandType, fields: CommandPayload, policy: CommandPolicy
    ) -> Subject:
        """Return what a command is about.

        Raises:
            Refusal: ``unavailable``: the store cannot be reached.
        """
        if type_.subject == "call_id":
            return await self._call(asker, type_, text_of(fields, "call_id") or "", policy)
        if type_.subject == "session_id":
            return await self._chat(asker, text_of(fields, "session_id") or "", policy)
        if type_.subject == "user_id":
            return await self._user(asker, fields)
        return Subject(queue_name=text_of(fields, "queue_name"))

    async def _call(self, asker: Principal, type_: CommandType, call_id: str, policy: CommandPolicy) -> Subject:
        entity = await self._broker.entity(asker.tenant_id, ("call", call_id))
        if entity is None:
            return self._ended_call(asker, type_, call_id, policy)
        publications = entity.publications()
        agents, rings = agents_of_call(publications)
        if rings:
            phones = self._recent_calls.ringing(asker.tenant_id, call_id)
            agents = frozenset(agent for agent in {*agents, *phones} if phones.get(agent, True))
        return Subject(
            exists=_is_seen(asker, publications, policy),
            owners=() if entity.owner is None else (entity.owner,),
            queue_name=_queue_of(publications),
            agents=agents,
            handled_by=_named(publications, _HANDLING) | self._recent_calls.answered(asker.tenant_id, call_id),
            rings=rings,
        )

    def _ended_call(self, asker: Principal, type_: CommandType, call_id: str, policy: CommandPolicy) -> Subject:
        call = self._recent_calls.ended(asker.tenant_id, call_id) if type_.name == "call.disposition" else None
        if call is None or not _may_have_seen(asker, call, policy):
            return _ABSENT
        return Subject(queue_name=call.queue_name, handled_by=call.agents)

    async def _chat(self, asker: Principal, session_id: str, policy: CommandPolicy) -> Subject:
        entity = await self._broker.entity(asker.tenant_id, ("chat", session_id))
        if entity is None:
            return _ABSENT
        publications = entity.publications()
        assigned = [one.event.agents for one in publications if one.event.type.name in _ASSIGNING]
        agent = assigned[-1][-1] if assigned and assigned[-1] else UNASSIGNED
        return Subject(
            exists=_is_seen(asker, publications, policy),
            owners=() if entity.owner is None else (entity.owner,),
            queue_name=_queue_of(publications),
            agents=frozenset() if agent == UNASSIGNED else frozenset((agent,)),
        )

    async def _user(self, asker: Principal, fields: CommandPayload) -> Subject:
        user_id = text_of(fields, "user_id") or asker.user_id
        queue_name = text_of(fields, "queue_name")
        owners = []
        if queue_name is not None:
            member = await self._broker.entity(asker.tenant_id, ("member", queue_name, user_id))
            owners.append(None if member is None else member.owner)
        agent = await self._broker.entity(asker.tenant_id, ("agent", user_id))
        owners.append(None if agent is None else agent.owner)
        return Subject(
            owners=[owner for owner in owners if owner is not None],
            queue_name=queue_name,
            in_claimed_queue=user_id != asker.user_id and await self._is_member(asker, user_id, queue_name),
        )

    async def _is_member(self, asker: Principal, user_id: str, queue_name: str | None) -> bool:
        """Return whether a user is a member of a queue of the asker's claim, the named queue first."""
        claimed = sorted(asker.queues or (), key=lambda name: (name != queue_name, name))
        for number, name in enumerate(claimed[:MAX_CLAIMED_QUEUES], 1):
            if number % LOOKED_UP_AT_ONCE == 0:
                await next_turn(self._clock)
            if await self._broker.entity(asker.tenant_id, ("member", name, user_id)) is not None:
                return True
        return False


def agents_of_call(publications: Sequence[Publication]) -> tuple[frozenset[str], bool]:
    """Return the agents who handle a call now, and whether it rings or waits and was never answered.

    An agent from whom the call was transferred, or at whose phone it rang before another answered, does not handle it.

    Args:
        publications: those of its entity, in the order of ``seq``.
    """
    agents: frozenset[str] = frozenset()
    rings = True
    for publication in publications:
        name = publication.event.type.name
        if name not in _TELLING:
            continue
        fields = decode_trusted_json(publication.event.payload)
        agent = fields.get("to_agent_id" if name == _TRANSFERRED else "agent_id")
        named = frozenset() if agent is None else frozenset((str(agent),))
        agents = agents | named if name == _RINGING else named
        rings = rings and name in (_INCOMING, _RINGING)
    return agents, rings


def _named(publications: Sequence[Publication], types: tuple[str, ...]) -> frozenset[str]:
    """Return the agents that events of some types name themselves."""
    named: set[str] = set()
    for publication in publications:
        event = publication.event
        if event.type.name in types:
            fields = decode_trusted_json(event.payload)
            named |= {str(fields[field]) for field in event.type.agent_fields if fields.get(field) is not None}
    return frozenset(named)


def _may_have_seen(asker: Principal, call: EndedCall, policy: CommandPolicy) -> bool:
    """Return whether the asker has probably seen a call that is not in the state any more."""
    if asker.user_id in call.agents:
        return True
    if asker.role is Role.AGENT and policy.agent_calls == "own":
        return False
    if asker.queues is None:
        return True
    return call.queue_name is not None and call.queue_name in asker.queues


def _is_seen(asker: Principal, publications: Sequence[Publication], policy: CommandPolicy) -> bool:
    return any(may_see(asker, one.event, policy.agent_calls, policy.agent_chats) for one in publications)


def _queue_of(publications: Sequence[Publication]) -> str | None:
    names = [one.event.queue_name for one in publications if one.event.queue_name is not None]
    return names[-1] if names else None
