"""The agents that persons play: a person at a desk does what the model does for the others."""

from __future__ import annotations

from callcenter_ws.demo.agents import REST_SECONDS, Agent, AgentPool
from callcenter_ws.demo.calls import CallDistributor
from callcenter_ws.demo.chats import ChatSessions
from callcenter_ws.demo.scheduler import Scheduler
from callcenter_ws.demo.visitors import VisitorChats

_OFFER_AFTER_SECONDS = (9, 14)
"""A person who has been available for so long gets a call."""

_WRAP_UP_ENDS = (4, 9)
_PAUSE_ENDS = (20, 40)


class Persons:
    """Hands agents over to persons and back, and has a call ring soon at a person who is available."""

    def __init__(
        self,
        scheduler: Scheduler,
        agents: AgentPool,
        calls: CallDistributor,
        chats: ChatSessions,
        visitors: VisitorChats,
    ) -> None:
        self._scheduler = scheduler
        self._agents = agents
        self._calls = calls
        self._chats = chats
        self._visitors = visitors

    def set_present(self, user_id: str, *, is_present: bool) -> None:
        """Learn whether a person is at the desk of an agent. Users who are no agents of the model are ignored."""
        agent = self._agents.find(user_id)
        if agent is None or agent.is_played == is_present:
            return
        agent.is_played, agent.misses = is_present, 0
        for call in [call for call in self._calls.calls.values() if call.agent is agent]:
            self._calls.change_player(call)
        self._chats.change_player(agent)
        self._visitors.change_player()
        if is_present:
            # No call rings while the person still looks for the page.
            agent.since = self._scheduler.now
            self.changed(agent)
        else:
            self._agents.end_later(agent, _WRAP_UP_ENDS if agent.state == "wrap_up" else _PAUSE_ENDS)
            self._calls.distribute()

    def changed(self, agent: Agent) -> None:
        """Plan the next call of an agent whose state has changed."""
        if agent.is_played and agent.state == "available":
            self._scheduler.call_later(REST_SECONDS, self._end_rest, agent, agent.since)
            delay = self._scheduler.random_seconds(*_OFFER_AFTER_SECONDS)
            self._scheduler.call_later(delay, self._offer, agent, agent.since)

    def _end_rest(self, agent: Agent, since: float) -> None:
        if self._still_waits(agent, since):
            self._calls.distribute()

    def _offer(self, agent: Agent, since: float) -> None:
        if self._still_waits(agent, since):
            self._calls.offer(agent)
            self._scheduler.call_later(_OFFER_AFTER_SECONDS[0], self._offer, agent, since)

    @staticmethod
    def _still_waits(agent: Agent, since: float) -> bool:
        return agent.is_played and agent.state == "available" and agent.since == since
