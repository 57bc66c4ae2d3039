"""The agents of the model: what each of them does, and when they log in, take breaks and log out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from callcenter_ws.demo.sample_data import Person
from callcenter_ws.demo.scheduler import Scheduler

MIN_AGENTS_AT_WORK = 10
"""No agent takes a break or logs out if fewer than this would remain at work."""

_ABSENT_STATES = ("offline", "break", "away")


@dataclass(slots=True, eq=False)
class Agent:
    """One agent. ``state`` is an agent state of the catalogue; ``since`` is model time."""

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
        """Whether the agent is logged in."""
        return self.state != "offline"


class AgentPool:
    """Changes the states of the agents and emits an event for each change.

    Args:
        changed: called with every agent whose state has changed; it may assign a call to an available agent.
    """

    def __init__(self, scheduler: Scheduler, people: Sequence[Person], changed: Callable[[Agent], None]) -> None:
        self._scheduler = scheduler
        self._changed = changed
        self.agents = [Agent(person) for person in people]

    def open(self) -> None:
        """Schedule the logins of all agents, and the breaks and logouts."""
        for agent in self.agents:
            self._scheduler.call_later(self._scheduler.random_seconds(0.2, 12), self.log_in, agent)
        self._scheduler.call_later(15, self._start_break)
        self._scheduler.call_later(40, self._log_out)

    def available(self, queue_name: str | None = None) -> list[Agent]:
        """Return the available agents, of one queue or of all; the one who has been available longest is first."""
        free = [agent for agent in self.agents if agent.state == "available"]
        if queue_name is not None:
            free = [agent for agent in free if queue_name in agent.person.queues]
        return sorted(free, key=lambda agent: agent.since)

    def at_work(self) -> list[Agent]:
        """Return the agents who are neither logged out nor on a break nor away."""
        return [agent for agent in self.agents if agent.state not in _ABSENT_STATES]

    def log_in(self, agent: Agent) -> None:
        """Log the agent in."""
        person = agent.person
        self._set_state(agent, "available")
        self._scheduler.emit(
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
        self._emit_membership(agent, "added", paused=False, penalty=0)
        self._changed(agent)

    def set_state(self, agent: Agent, state: str, reason: str | None = None) -> None:
        """Change the state of the agent."""
        previous = agent.state
        self._set_state(agent, state)
        payload = {
            "user_id": agent.user_id,
            "username": agent.person.name,
            "state": state,
            "previous_state": previous,
            "since_at": self._scheduler.timestamp(),
            "extension": agent.person.extension,
        }
        self._scheduler.emit("agent.state.changed", payload if reason is None else {**payload, "reason": reason})
        self._changed(agent)

    def wrap_up(self, agent: Agent) -> None:
        """Put the agent into after-call work, and make the agent available afterwards."""
        self.set_state(agent, "wrap_up")
        self._scheduler.call_later(self._scheduler.random_seconds(4, 9), self.set_state, agent, "available")

    def set_away(self, agent: Agent) -> None:
        """Set the agent away for a while after a missed call."""
        self.set_state(agent, "away", "missed_call")
        self._scheduler.call_later(self._scheduler.random_seconds(6, 12), self.set_state, agent, "available")

    def _set_state(self, agent: Agent, state: str) -> None:
        agent.state = state
        agent.since = self._scheduler.now

    def _start_break(self) -> None:
        self._scheduler.call_later(self._scheduler.random_seconds(14, 26), self._start_break)
        agent = self._dispensable_agent()
        if agent is not None:
            self._emit_membership(agent, "paused", paused=True, reason="lunch")
            self.set_state(agent, "break", "lunch")
            self._scheduler.call_later(self._scheduler.random_seconds(15, 40), self._end_break, agent)

    def _end_break(self, agent: Agent) -> None:
        self._emit_membership(agent, "unpaused", paused=False)
        self.set_state(agent, "available")

    def _log_out(self) -> None:
        self._scheduler.call_later(self._scheduler.random_seconds(35, 60), self._log_out)
        agent = self._dispensable_agent()
        if agent is not None:
            self._emit_membership(agent, "removed")
            self._set_state(agent, "offline")
            payload = {"user_id": agent.user_id, "username": agent.person.name, "reason": "user"}
            self._scheduler.emit("agent.logout", payload)
            self._changed(agent)
            self._scheduler.call_later(self._scheduler.random_seconds(25, 60), self.log_in, agent)

    def _dispensable_agent(self) -> Agent | None:
        """Return an available agent without chats, if enough agents remain at work; None otherwise."""
        if len(self.at_work()) <= MIN_AGENTS_AT_WORK:
            return None
        free = [agent for agent in self.available() if not agent.chats]
        return self._scheduler.random.choice(free) if free else None

    def _emit_membership(self, agent: Agent, change: str, **fields: object) -> None:
        for queue_name in agent.person.queues:
            payload = {"queue_name": queue_name, "user_id": agent.user_id, "username": agent.person.name, **fields}
            self._scheduler.emit(f"queue.member.{change}", payload)
