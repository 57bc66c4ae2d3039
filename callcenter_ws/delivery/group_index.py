"""The groups of a tenant, found by what an event is about.

Whoever may see some queues only is looked at for events of these, and of the calls that it handles: with five
thousand such agents, an event of a queue still looks at those of that queue.
"""

from __future__ import annotations

from collections.abc import Iterable

from callcenter_ws.delivery.group import Group
from callcenter_ws.events.event import Event
from callcenter_ws.events.principal import Role
from callcenter_ws.events.visibility import AgentCalls

Groups = dict[Group, None]


class GroupIndex:
    """Knows all groups of a tenant. Whether one may see an event is for ``may_see`` to say."""

    def __init__(self, agent_calls: AgentCalls) -> None:
        self._agent_calls = agent_calls
        self._all: Groups = {}
        # Those that see every event of a queue or call that their role may see.
        self._open: Groups = {}
        # Agents who see every queue, but of calls only their own.
        self._of_own_calls: Groups = {}
        self._by_queue: dict[str, Groups] = {}
        self._by_agent: dict[str, Groups] = {}

    def add(self, group: Group) -> None:
        """File a group."""
        for file in self._files(group):
            file[group] = None

    def remove(self, group: Group) -> None:
        """Forget a group."""
        for file in self._files(group):
            file.pop(group, None)
        for files in (self._by_queue, self._by_agent):
            for name in [name for name in self._names(group) if not files.get(name, True)]:
                del files[name]

    def candidates(self, event: Event) -> Iterable[Group]:
        """The groups that may see an event that is for no one user, and perhaps some more; each once."""
        type_ = event.type
        if not (type_.of_queue or type_.carries_call):
            return self._all
        found = dict(self._open)
        if not type_.carries_call:
            found.update(self._of_own_calls)
        if event.queue_name is not None:
            found.update(self._by_queue.get(event.queue_name, {}))
        for agent in event.agents:
            found.update(self._by_agent.get(agent, {}))
        return found

    def _files(self, group: Group) -> list[Groups]:
        principal = group.principal
        is_agent = principal.role is Role.AGENT
        own_calls = is_agent and self._agent_calls == "own"
        files = [self._all]
        if principal.queues is None:
            files.append(self._of_own_calls if own_calls else self._open)
        files += [self._by_queue.setdefault(queue, {}) for queue in principal.queues or ()]
        if is_agent and (own_calls or principal.queues is not None):
            files.append(self._by_agent.setdefault(principal.user_id, {}))
        return files

    @staticmethod
    def _names(group: Group) -> list[str]:
        return [*(group.principal.queues or ()), group.principal.user_id]
