"""The rules by which a principal may see an event (``docs/protocol.rst``, "Who sees what").

They depend only on the principal and the event, so that live delivery, replay and snapshots cannot differ.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, Protocol

from callcenter_ws.events.catalogue import EventType
from callcenter_ws.events.event import UNASSIGNED, Event
from callcenter_ws.events.principal import Principal, Role

AgentCalls = Literal["all", "own"]
"""``all``: agents see calls as supervisors do. ``own``: only calls they handle or may answer."""

AgentChats = Literal["own", "all"]
"""``own``: agents see only chats assigned to them, and unassigned ones of their queues. ``all``: every chat."""


class SeenEvent(Protocol):
    """What the rules depend on of an event. ``Event`` has it, and so has what is kept of one later."""

    @property
    def type(self) -> EventType:
        """Its type."""

    @property
    def tenant_id(self) -> str:
        """Its tenant."""

    @property
    def user_id(self) -> str | None:
        """The only user that it is for, or None."""

    @property
    def queue_name(self) -> str | None:
        """The queue that it concerns."""

    @property
    def session_id(self) -> str | None:
        """The chat session that it belongs to."""

    @property
    def private(self) -> bool:
        """Whether no visitor may see it."""

    @property
    def agents(self) -> tuple[str, ...]:
        """The agents that handle what it concerns."""


def may_ever_see(role: Role, audience: Collection[Role]) -> bool:
    """Return whether a role may ever see an event type with this audience."""
    return role in audience


def may_see(
    principal: Principal, event: SeenEvent, agent_calls: AgentCalls = "all", agent_chats: AgentChats = "own"
) -> bool:
    """Return whether ``principal`` may see ``event``.

    Denied by default: another tenant's events, an event type whose audience does not contain the role, an event for
    another user, and any event for a visitor without a session.
    """
    if event.tenant_id != principal.tenant_id or principal.role not in event.type.audience:
        return False
    if event.user_id is not None and event.user_id != principal.user_id:
        return False
    if principal.role is Role.VISITOR:
        return event.session_id is not None and event.session_id == principal.session_id and not event.private
    if event.user_id is not None:
        return True
    if principal.role is Role.AGENT:
        return _agent_may_see(principal, event, agent_calls, agent_chats)
    return _queue_is_in_claim(principal, event)


def _queue_is_in_claim(principal: Principal, event: SeenEvent) -> bool:
    if principal.queues is None or not event.type.of_queue:
        return True
    return event.queue_name is not None and event.queue_name in principal.queues


def group_may_see(
    principal: Principal, event: Event, agent_calls: AgentCalls = "all", agent_chats: AgentChats = "own"
) -> bool:
    """Return whether every principal with the same ``interest`` as this one may see an event without ``user_id``.

    That differs from ``may_see`` for chats alone, of which agents with the same interest see different ones: those that
    are assigned to themselves. An event of such a chat is found by the index of users.
    """
    if event.type.of_chat and agent_chats == "own" and principal.role is Role.AGENT and event.agents:
        return UNASSIGNED in event.agents and may_see(principal, event) and _chat_waits(principal, event)
    return may_see(principal, event, agent_calls, agent_chats)


def _agent_may_see(principal: Principal, event: SeenEvent, agent_calls: AgentCalls, agent_chats: AgentChats) -> bool:
    if principal.user_id in event.agents:
        return True
    if event.type.of_chat:
        return agent_chats == "all" or _chat_waits(principal, event)
    if agent_calls == "own" and event.type.carries_call:
        return event.type.unanswered and event.queue_name is not None and event.queue_name in (principal.queues or ())
    return _queue_is_in_claim(principal, event)


def _chat_waits(principal: Principal, event: SeenEvent) -> bool:
    """Return whether the chat is unassigned, before or after the event, and of a queue of the agent or of none."""
    if event.agents and UNASSIGNED not in event.agents:
        return False
    return principal.queues is None or event.queue_name is None or event.queue_name in principal.queues


def interest(principal: Principal, agent_calls: AgentCalls = "all") -> tuple[object, ...]:
    """Return a key that is equal for principals of a tenant that may see the same events without ``user_id``.

    Chats that are assigned to an agent are apart from that. ``group_may_see`` is evaluated once for each key and event,
    not for each connection.
    """
    restricted = principal.queues is not None or agent_calls == "own"
    own = principal.user_id if principal.role is Role.AGENT and restricted else None
    return (principal.role, principal.queues, principal.session_id, own)


def is_announced(principal: Principal) -> bool:
    """Return whether ``presence.changed`` is published for the principal's user."""
    return principal.role in _PEOPLE


_PEOPLE = frozenset({Role.AGENT, Role.SUPERVISOR, Role.ADMIN, Role.WALLBOARD})
