"""The agents of the model: what each of them does, and when they log in, take breaks and log out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from callcenter_ws.demo.sample_data import DEMO_AGENT, Person
from callcenter_ws.demo.scheduler import ScheduledCall, Scheduler

MIN_AGENTS_AT_WORK = 10
"""No agent takes a break or logs out if fewer than this would remain at work."""

AUTO_PAUSE = "Auto-Pause"
"""The reason of a pause that the exchange sets after missed calls, as an Asterisk calls it."""

REST_SECONDS = 6.0
"""A person gets no call in so many seconds after it has become available."""

_MAX_MISSES = 2
"""A person who misses so many calls in a row is paused."""

_FORGOTTEN_WRAP_UP = (600.0, 600.0)
_LAST_WRAP_UP = (20.0, 30.0)
"""Of a person that has asked for a break during the call."""

_ABSENT_STATES = ("offline", "break", "away")
_CALL_STATES = ("ringing", "busy", "talking", "hold")


@dataclass(slots=True, eq=False)
class Agent:
    """One agent.

    Attributes:
        state: an agent state of the catalogue; ``since`` is model time.
        reason: that of the state.
        queues: those of which the agent is a member while it is logged in.
        paused: the queues in which the agent is paused.
        wanted: the absent state, with its reason, that a command has asked for during a call.
        next_change: the scheduled end of the state.
        is_commanded: whether a command has changed the state: the model then plans no breaks and logouts for the agent.
        is_played: whether a person is at the agent's desk: the model then does nothing that the person would do.
        misses: the calls in a row that the person has not answered.
    """

    person: Person
    state: str = "offline"
    since: float = 0.0
    chats: int = 0
    reason: str | None = None
    queues: list[str] = field(default_factory=list)
    paused: set[str] = field(default_factory=set)
    wanted: tuple[str, str | None] | None = None
    next_change: ScheduledCall | None = None
    is_commanded: bool = False
    is_played: bool = False
    misses: int = 0

    @property
    def user_id(self) -> str:
        """The agent's user id."""
        return self.person.user_id

    @property
    def logged_in(self) -> bool:
        """Whether the agent is logged in."""
        return self.state != "offline"

    @property
    def in_call(self) -> bool:
        """Whether a call rings at the agent, or the agent dials or is in one."""
        return self.state in _CALL_STATES

    @property
    def can_take_chats(self) -> bool:
        """Whether the agent is at work."""
        return self.state not in _ABSENT_STATES

    def cancel_change(self) -> None:
        """Let the state last until something else changes it."""
        if self.next_change is not None:
            self.next_change.cancel()
            self.next_change = None


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
            # A person may be at the desk of the demo's agent already.
            seconds = (0.2, 1.0) if agent.user_id == DEMO_AGENT.user_id else (0.2, 12.0)
            self._change_later(agent, seconds, self.log_in)
        self._scheduler.call_later(15, self._start_break)
        self._scheduler.call_later(40, self._log_out)

    def available(self, queue_name: str | None = None) -> list[Agent]:
        """Return the available agents, of one queue or of all; the one who has been available longest is first.

        Persons come before the agents whom the model plays, after a rest.
        """
        latest = self._scheduler.now - REST_SECONDS
        free = [
            agent
            for agent in self.agents
            if agent.state == "available" and (agent.since <= latest or not agent.is_played)
        ]
        if queue_name is not None:
            free = [agent for agent in free if queue_name in agent.queues and queue_name not in agent.paused]
        return sorted(free, key=lambda agent: (not agent.is_played, agent.since))

    def at_work(self) -> list[Agent]:
        """Return the agents who are neither logged out nor on a break nor away."""
        return [agent for agent in self.agents if agent.can_take_chats]

    def find(self, user_id: str) -> Agent | None:
        """Return the agent with this user id."""
        return next((agent for agent in self.agents if agent.user_id == user_id), None)

    def at_extension(self, extension: str) -> Agent | None:
        """Return the agent whose telephone has this number."""
        return next((agent for agent in self.agents if agent.person.extension == extension), None)

    def log_in(self, agent: Agent) -> None:
        """Log the agent in."""
        person = agent.person
        agent.paused.clear()
        agent.queues = list(person.queues)
        agent.misses = 0
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
        for queue_name in agent.queues:
            self._emit_membership(agent, queue_name, "added", paused=False, penalty=0)
        self._changed(agent)

    def log_out(self, agent: Agent) -> None:
        """Log the agent out."""
        for queue_name in list(agent.queues):
            self.remove(agent, queue_name)
        self._set_state(agent, "offline")
        payload = {"user_id": agent.user_id, "username": agent.person.name, "reason": "user"}
        self._scheduler.emit("agent.logout", payload)
        self._changed(agent)

    def add(self, agent: Agent, queue_name: str, penalty: int) -> None:
        """Make the agent a member of a queue, unless it is one."""
        if queue_name not in agent.queues:
            agent.queues.append(queue_name)
            self._emit_membership(agent, queue_name, "added", paused=False, penalty=penalty)

    def remove(self, agent: Agent, queue_name: str) -> None:
        """End the agent's membership of a queue, if it is a member."""
        if queue_name in agent.queues:
            agent.queues.remove(queue_name)
            agent.paused.discard(queue_name)
            self._emit_membership(agent, queue_name, "removed")

    def pause(self, agent: Agent, queue_names: Iterable[str], reason: str | None = None) -> None:
        """Pause the agent in those of the queues in which it is not."""
        for queue_name in queue_names:
            if queue_name not in agent.paused:
                agent.paused.add(queue_name)
                fields = {} if reason is None else {"reason": reason}
                self._emit_membership(agent, queue_name, "paused", paused=True, **fields)

    def unpause(self, agent: Agent, queue_names: Iterable[str]) -> None:
        """End the pause of the agent in those of the queues in which it is paused; then it may get a call."""
        for queue_name in queue_names:
            if queue_name in agent.paused:
                agent.paused.remove(queue_name)
                self._emit_membership(agent, queue_name, "unpaused", paused=False)

    def set_state(self, agent: Agent, state: str, reason: str | None = None) -> None:
        """Change the state of the agent."""
        previous = agent.state
        self._set_state(agent, state, reason)
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

    def wrap_up(self, agent: Agent, *, of_person: bool = False) -> None:
        """Put the agent into after-call work, and make the agent available afterwards.

        Args:
            of_person: whether a person has to end it; it ends by itself if it was forgotten.
        """
        self.set_state(agent, "wrap_up")
        seconds = (4.0, 9.0)
        if of_person:
            seconds = _FORGOTTEN_WRAP_UP if agent.wanted is None else _LAST_WRAP_UP
        self._change_later(agent, seconds, self.release)

    def set_away(self, agent: Agent) -> None:
        """Set the agent away for a while after a missed call."""
        if agent.wanted is not None:
            self.release(agent)
            return
        self.set_state(agent, "away", "missed_call")
        self._change_later(agent, (6, 12), self.release)

    def miss(self, agent: Agent) -> None:
        """Note that a person has not answered a call: after some in a row, the exchange pauses the agent."""
        agent.misses += 1
        if agent.misses < _MAX_MISSES or agent.wanted is not None:
            self.release(agent)
            return
        agent.misses = 0
        self.pause(agent, agent.queues, AUTO_PAUSE)
        self.set_state(agent, "break", AUTO_PAUSE)

    def end_later(self, agent: Agent, seconds: tuple[float, float]) -> None:
        """Schedule the end of after-call work, or of a pause by the exchange, of an agent whom the model plays."""
        if agent.state == "wrap_up":
            self._change_later(agent, seconds, self.release)
        elif agent.state == "break" and agent.reason == AUTO_PAUSE:
            self._change_later(agent, seconds, self._end_break)

    def release(self, agent: Agent) -> None:
        """Make the agent available after a call, or give the agent the state that a command has asked for."""
        state, reason = agent.wanted or ("available", None)
        agent.wanted = None
        self.set_state(agent, state, reason)

    def _set_state(self, agent: Agent, state: str, reason: str | None = None) -> None:
        agent.cancel_change()
        agent.state, agent.reason = state, reason
        agent.since = self._scheduler.now

    def _change_later(self, agent: Agent, seconds: tuple[float, float], change: Callable[[Agent], None]) -> None:
        agent.cancel_change()
        agent.next_change = self._scheduler.call_later(self._scheduler.random_seconds(*seconds), change, agent)

    def _start_break(self) -> None:
        self._scheduler.call_later(self._scheduler.random_seconds(14, 26), self._start_break)
        agent = self._dispensable_agent()
        if agent is not None:
            self.pause(agent, agent.queues, "lunch")
            self.set_state(agent, "break", "lunch")
            self._change_later(agent, (15, 40), self._end_break)

    def _end_break(self, agent: Agent) -> None:
        self.unpause(agent, agent.queues)
        self.set_state(agent, "available")

    def _log_out(self) -> None:
        self._scheduler.call_later(self._scheduler.random_seconds(35, 60), self._log_out)
        agent = self._dispensable_agent()
        if agent is not None:
            self.log_out(agent)
            self._change_later(agent, (25, 60), self.log_in)

    def _dispensable_agent(self) -> Agent | None:
        """Return an available agent without chats and pauses, if enough agents remain at work; None otherwise."""
        if len(self.at_work()) <= MIN_AGENTS_AT_WORK:
            return None
        free = [agent for agent in self.available() if self._is_dispensable(agent)]
        return self._scheduler.random.choice(free) if free else None

    @staticmethod
    def _is_dispensable(agent: Agent) -> bool:
        # The demo's agent is at its desk whenever a person signs in as it.
        is_free = agent.user_id != DEMO_AGENT.user_id and not agent.is_played
        return is_free and not (agent.chats or agent.paused or agent.is_commanded)

    def _emit_membership(self, agent: Agent, queue_name: str, change: str, **fields: object) -> None:
        payload = {"queue_name": queue_name, "user_id": agent.user_id, "username": agent.person.name, **fields}
        self._scheduler.emit(f"queue.member.{change}", payload)
