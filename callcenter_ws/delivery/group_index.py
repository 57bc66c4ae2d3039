"""The groups of a tenant, indexed by what an event may concern.

Queue-restricted groups are considered only for events of their queues and of calls that they handle: with five
thousand such agents, an event of one queue still examines only the groups of that queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from callcenter_ws.delivery.group import Group
from callcenter_ws.events.event import UNASSIGNED, Event
from callcenter_ws.events.principal import Role
from callcenter_ws.events.visibility import AgentCalls, AgentChats

Groups = dict[Group, None]
"""A set that keeps the order of insertion, so that delivery is reproducible."""


class GroupIndex:
    """Finds the candidate groups of an event; ``visibility.may_see`` decides about each.

    Groups that are subscribed to some queues only are found by these queues and in no other way: an event of another
    queue, or of none, is not for them, and ``may_see``, which knows the tokens only, is not asked.

    Attributes:
        agent_calls, agent_chats: the policy for agents (``events.visibility``), by which the groups see events.
    """

    def __init__(self, agent_calls: AgentCalls, agent_chats: AgentChats) -> None:
        self.agent_calls = agent_calls
        self.agent_chats = agent_chats
        self._all: Groups = {}
        # Groups of other roles than agents, which see every chat.
        self._not_agents: Groups = {}
        # Groups that may see events of every queue and every call.
        self._unrestricted: Groups = {}
        # Agents who may see events of every queue, but only their own calls.
        self._own_calls_only: Groups = {}
        self._by_queue: dict[str, Groups] = {}
        self._by_agent: dict[str, Groups] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, group: object) -> bool:
        return group in self._all

    def __iter__(self) -> Iterator[Group]:
        return iter(self._all)

    def add(self, group: Group) -> None:
        """Add a group."""
        for groups in self._entries(group):
            groups[group] = None

    def remove(self, group: Group) -> None:
        """Remove a group."""
        for groups in self._entries(group):
            groups.pop(group, None)
        for index in (self._by_queue, self._by_agent):
            for name in [name for name in self._names(group) if not index.get(name, True)]:
                del index[name]

    def candidates(self, event: Event) -> Iterable[Group]:
        """Return every group that may see an event without ``user_id``, and possibly others; each once.

        No group is among them that is subscribed to queues but not to that of the event.
        Agents with an assigned chat are found by their user instead (``visibility.group_may_see``).
        """
        type_ = event.type
        if not (type_.of_queue or type_.carries_call):
            if type_.of_chat and event.agents and UNASSIGNED not in event.agents and self.agent_chats == "own":
                return self._not_agents
            return self._all
        found = dict(self._unrestricted)
        if not type_.carries_call:
            found.update(self._own_calls_only)
        if event.queue_name is not None:
            found.update(self._by_queue.get(event.queue_name, {}))
        for agent in event.agents:
            found.update(self._by_agent.get(agent, {}))
        return found

    def candidates_of_figure(self, of_queue: bool, queue_name: str | None) -> Iterable[Group]:
        """Return every group that may see a live figure, and possibly others; each once."""
        if not of_queue or queue_name is None:
            return self._all
        return {**self._unrestricted, **self._own_calls_only, **self._by_queue.get(queue_name, {})}

    def _entries(self, group: Group) -> list[Groups]:
        """Return the sets that a group belongs to."""
        principal = group.principal
        is_agent = principal.role is Role.AGENT
        own_calls = is_agent and self.agent_calls == "own"
        entries = [self._all] if is_agent else [self._all, self._not_agents]
        if group.queues is not None:
            return entries + [self._by_queue.setdefault(queue, {}) for queue in group.queues]
        if principal.queues is None:
            entries.append(self._own_calls_only if own_calls else self._unrestricted)
        entries += [self._by_queue.setdefault(queue, {}) for queue in principal.queues or ()]
        if is_agent and (own_calls or principal.queues is not None):
            entries.append(self._by_agent.setdefault(principal.user_id, {}))
        return entries

    @staticmethod
    def _names(group: Group) -> set[str]:
        return {*(group.principal.queues or ()), *(group.queues or ()), group.principal.user_id}
