"""Floor: the agents, what each of them is doing, and when they come, pause and go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from callcenter_ws.demo.sample_data import Person
from callcenter_ws.demo.scheduler import Story

FEWEST_WORKING = 10
"""Nobody takes a break or goes home when fewer than this would be left."""

_GONE = ("offline", "break", "away")


@dataclass(slots=True, eq=False)
class Agent:
    """One agent. ``state`` is a state of the catalogue; ``since`` is model time."""

    person: Person
    state: str = "offline"
    since: float = 0.0
    chats: int = 0

    @property
    def user_id(self) -> str:
        """The agent's user id."""
        return self.person.user_id

    @property
    def logged_in(self) -> bool:
        """Whether the agent is at work."""
        return self.state != "offline"


class Floor:
    """Moves the agents from state to state and tells each move.

    Args:
        changed: told of every agent whose state has changed; it may give work to an available one.
    """

    def __init__(self, story: Story, people: Sequence[Person], changed: Callable[[Agent], None]) -> None:
        self._story = story
        self._changed = changed
        self.agents = [Agent(person) for person in people]

    def open(self) -> None:
        """Let everybody come to work, one after the other."""
        for agent in self.agents:
            self._story.later(self._story.between(0.2, 12), self.log_in, agent)
        self._story.later(15, self._somebody_pauses)
        self._story.later(40, self._somebody_leaves)

    def available(self, queue_name: str | None = None) -> list[Agent]:
        """Agents who are free, of one queue or of all; the one who has waited longest first."""
        free = [agent for agent in self.agents if agent.state == "available"]
        if queue_name is not None:
            free = [agent for agent in free if queue_name in agent.person.queues]
        return sorted(free, key=lambda agent: agent.since)

    def at_work(self) -> list[Agent]:
        """Agents at their desks, whatever they do there."""
        return [agent for agent in self.agents if agent.state not in _GONE]

    def log_in(self, agent: Agent) -> None:
        """The agent comes to work."""
        person = agent.person
        self._move(agent, "available")
        self._story.tell(
            "agent.login",
            {
                "user_id": person.user_id,
                "username": person.name,
                "extension": person.extension,
                "interface": f"PJSIP/{person.extension}",
                "queues": list(person.queues),
                "state": "available",
            },
        )
        self._tell_membership(agent, "added", paused=False, penalty=0)
        self._changed(agent)

    def set_state(self, agent: Agent, state: str, reason: str | None = None) -> None:
        """The agent's state changes."""
        previous = agent.state
        self._move(agent, state)
        payload = {
            "user_id": agent.user_id,
            "username": agent.person.name,
            "state": state,
            "previous_state": previous,
            "since_at": self._story.instant(),
            "extension": agent.person.extension,
        }
        self._story.tell("agent.state.changed", payload if reason is None else {**payload, "reason": reason})
        self._changed(agent)

    def wrap_up(self, agent: Agent) -> None:
        """The agent finishes the paperwork of a call, then is available again."""
        self.set_state(agent, "wrap_up")
        self._story.later(self._story.between(4, 9), self.set_state, agent, "available")

    def step_away(self, agent: Agent) -> None:
        """The agent did not pick up: no calls for a while."""
        self.set_state(agent, "away", "missed_call")
        self._story.later(self._story.between(6, 12), self.set_state, agent, "available")

    def _move(self, agent: Agent, state: str) -> None:
        agent.state = state
        agent.since = self._story.now

    def _somebody_pauses(self) -> None:
        self._story.later(self._story.between(14, 26), self._somebody_pauses)
        agent = self._spare()
        if agent is not None:
            self._tell_membership(agent, "paused", paused=True, reason="lunch")
            self.set_state(agent, "break", "lunch")
            self._story.later(self._story.between(15, 40), self._comes_back, agent)

    def _comes_back(self, agent: Agent) -> None:
        self._tell_membership(agent, "unpaused", paused=False)
        self.set_state(agent, "available")

    def _somebody_leaves(self) -> None:
        self._story.later(self._story.between(35, 60), self._somebody_leaves)
        agent = self._spare()
        if agent is not None:
            self._tell_membership(agent, "removed")
            self._move(agent, "offline")
            payload = {"user_id": agent.user_id, "username": agent.person.name, "reason": "user"}
            self._story.tell("agent.logout", payload)
            self._changed(agent)
            self._story.later(self._story.between(25, 60), self.log_in, agent)

    def _spare(self) -> Agent | None:
        """An available agent without chats who can be done without."""
        if len(self.at_work()) <= FEWEST_WORKING:
            return None
        free = [agent for agent in self.available() if not agent.chats]
        return self._story.random.choice(free) if free else None

    def _tell_membership(self, agent: Agent, change: str, **fields: Any) -> None:
        for queue_name in agent.person.queues:
            payload = {"queue_name": queue_name, "user_id": agent.user_id, "username": agent.person.name, **fields}
            self._story.tell(f"queue.member.{change}", payload)
