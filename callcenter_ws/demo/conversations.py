"""The conversations of the model: answer, hold, transfers and the end of calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from callcenter_ws.demo.agents import Agent, AgentPool
from callcenter_ws.demo.sample_data import DEMO_AGENT, DISPOSITIONS
from callcenter_ws.demo.scheduler import Scheduler, ShuffleBag
from callcenter_ws.demo.simulated_call import Queue, SimulatedCall

_FREQUENT_DISPOSITIONS = ("resolved",) * 8
_PATIENCE_ON_HOLD = (90, 150)
_TALK_WITH_PERSON = (120, 360)
_TALK_AFTER_PERSONS_HOLD = (60, 240)
_END_AFTER_ARRIVAL = (5, 15)
_END_AFTER_DEPARTURE = (18, 66)


class Destinations(Protocol):
    """Where calls are transferred to."""

    def join(self, call: SimulatedCall, queue: Queue) -> None:
        """Let a call wait in a queue."""

    def ring_directly(self, call: SimulatedCall, agent: Agent) -> None:
        """Ring the phone of an agent."""


class Conversations:
    """Lets agents and callers talk.

    Attributes:
        calls: all calls that exist, by their ids.
    """

    def __init__(
        self, scheduler: Scheduler, agents: AgentPool, queues: Sequence[Queue], destinations: Destinations
    ) -> None:
        self._scheduler = scheduler
        self._agents = agents
        self._queues = list(queues)
        self._destinations = destinations
        self.calls: dict[str, SimulatedCall] = {}
        self._dispositions = ShuffleBag(scheduler.random, tuple(DISPOSITIONS) * 2 + _FREQUENT_DISPOSITIONS)

    def answer(self, call: SimulatedCall) -> None:
        """Connect the caller with the agent at whom the call rings."""
        assert call.agent is not None  # noqa: S101 - narrows the type
        call.ringing = None
        call.is_persons = call.agent.is_played
        call.agent.misses = 0
        call.answered = self._scheduler.now
        call.answered_at = call.answered_at or self._scheduler.timestamp()
        ring_seconds = round_seconds(call.answered - call.rang)
        self._scheduler.emit(
            "call.answered", call.fields(wait_seconds=round_seconds(call.waited), ring_seconds=ring_seconds)
        )
        self._agents.set_state(call.agent, "talking")
        course, call.course = call.course, "plain"
        if call.is_persons:
            self.go_on(call, self._scheduler.random_seconds(*_TALK_WITH_PERSON), self.end_by_caller)
            return
        talk = self._scheduler.random_seconds(18, 66)
        if course == "held":
            self.go_on(call, talk / 2, self._hold)
        elif course == "transferred to agent":
            self.go_on(call, talk / 2, self._transfer_to_free_agent)
        elif course == "transferred to queue":
            self.go_on(call, talk / 2, self._transfer_to_another_queue)
        else:
            self.go_on(call, talk, self.end)

    def go_on(self, call: SimulatedCall, seconds: float, step: Callable[[SimulatedCall], None]) -> None:
        """Schedule the next step of a call, in place of the one that was scheduled."""
        if call.progress is not None:
            call.progress.cancel()
        call.progress = self._scheduler.call_later(seconds, step, call)

    def _hold(self, call: SimulatedCall) -> None:
        self.hold(call)
        self.go_on(call, self._scheduler.random_seconds(4, 15), self.unhold)

    def hold(self, call: SimulatedCall) -> None:
        """Put the caller on hold."""
        assert call.agent is not None  # noqa: S101 - narrows the type
        call.held_since = self._scheduler.now
        self._scheduler.emit("call.hold", call.fields(held_by=call.agent.user_id))
        self._agents.set_state(call.agent, "hold")

    def unhold(self, call: SimulatedCall) -> None:
        """Take the caller off hold."""
        assert call.agent is not None  # noqa: S101 - narrows the type
        self._end_hold(call)
        self._scheduler.emit("call.unhold", call.fields(held_by=call.agent.user_id))
        self._agents.set_state(call.agent, "talking")
        if call.is_persons:
            seconds = self._scheduler.random_seconds(*_TALK_AFTER_PERSONS_HOLD)
            self.go_on(call, seconds, self.end_by_caller)
        else:
            self.go_on(call, self._scheduler.random_seconds(5, 20), self.end)

    def _end_hold(self, call: SimulatedCall) -> None:
        if call.held_since is not None:
            call.held += self._scheduler.now - call.held_since
            call.held_since = None

    def hold_until_unheld(self, call: SimulatedCall) -> None:
        """Put the caller on hold until ``unhold``, or until the caller hangs up."""
        call.cancel_steps()
        if call.held_since is None:
            self.hold(call)
        seconds = self._scheduler.random_seconds(*_PATIENCE_ON_HOLD)
        self.go_on(call, seconds, self.end_by_caller)

    # Transfers

    def _transfer_to_free_agent(self, call: SimulatedCall) -> None:
        colleague = next((agent for agent in self._agents.available() if not agent.is_played), None)
        if colleague is None:
            self.end(call)
            return
        self.transfer_to_agent(call, colleague)

    def transfer_to_agent(self, call: SimulatedCall, colleague: Agent) -> None:
        """Transfer a connected call to an available agent, who answers it."""
        transferring = self._transfer(call, colleague.person.extension, to_agent_id=colleague.user_id)
        self._destinations.ring_directly(call, colleague)
        self._wrap_up(call, transferring)

    def _transfer_to_another_queue(self, call: SimulatedCall) -> None:
        self.transfer_to_queue(
            call, self._scheduler.random.choice([queue for queue in self._queues if queue is not call.queue])
        )

    def transfer_to_queue(self, call: SimulatedCall, queue: Queue) -> None:
        """Transfer a connected call to a queue."""
        transferring = self._transfer(call, queue.name)
        self._destinations.join(call, queue)
        self._wrap_up(call, transferring)

    def _transfer(self, call: SimulatedCall, destination: str, **fields: object) -> Agent:
        """Emit the transfer and return the transferring agent, whose state the caller has to change."""
        agent = call.agent
        assert agent is not None  # noqa: S101 - narrows the type
        call.talked += self._scheduler.now - call.answered
        call.destination = destination
        fields |= {"transfer_type": "blind", "from_agent_id": agent.user_id}
        self._scheduler.emit("call.transferred", call.fields(**fields))
        call.agent = None
        return agent

    def _wrap_up(self, call: SimulatedCall, agent: Agent) -> None:
        if call.direction == "internal":
            # Nothing is to be recorded of it.
            self._agents.release(agent)
            return
        self._agents.wrap_up(agent, of_person=call.is_persons and agent.is_played)

    def take_for_transfer(self, call: SimulatedCall) -> None:
        """Let nothing else happen to a connected call, and take the caller off hold."""
        if call.held_since is not None:
            self.unhold(call)
        call.cancel_steps()

    def complete_transfer(self, call: SimulatedCall) -> None:
        """Connect the caller with the agent who was consulted, in place of the one who has consulted it."""
        transferring, colleague = call.agent, call.other
        assert transferring is not None and colleague is not None  # noqa: S101 - narrows the types
        call.cancel_steps()
        self._end_hold(call)
        call.agent, call.other = colleague, None
        call.destination = colleague.person.extension
        self._scheduler.emit("call.unhold", call.fields(held_by=transferring.user_id))
        ids = {"from_agent_id": transferring.user_id, "to_agent_id": colleague.user_id}
        self._scheduler.emit("call.transferred", call.fields(transfer_type="attended", **ids))
        self._wrap_up(call, transferring)
        call.is_persons = colleague.is_played
        seconds = _TALK_WITH_PERSON if call.is_persons else _END_AFTER_DEPARTURE
        self.go_on(call, self._scheduler.random_seconds(*seconds), self.end_by_caller)

    # The end

    def end_by_caller(self, call: SimulatedCall) -> None:
        """End a connected call: the caller hangs up."""
        self.end(call, "caller")

    def end(self, call: SimulatedCall, ended_by: str | None = None) -> None:
        """End a connected call."""
        agent = call.agent
        assert agent is not None  # noqa: S101 - narrows the type
        self._end_hold(call)
        call.talked += self._scheduler.now - call.answered
        self.emit_end(call, ended_by or self._scheduler.random.choice(("caller", "agent")))
        self._wrap_up(call, agent)
        self.release_other(call)
        if not call.is_persons and agent.user_id != DEMO_AGENT.user_id:
            # A person sends the command.
            self._scheduler.call_later(self._scheduler.random_seconds(1, 3.5), self._dispose, call)

    def release_other(self, call: SimulatedCall) -> None:
        """Take the second agent out of the call."""
        other, call.other = call.other, None
        if call.other_answers is not None:
            call.other_answers.cancel()
            call.other_answers = None
        if other is not None:
            self._agents.release(other)

    def emit_end(self, call: SimulatedCall, ended_by: str) -> None:
        """Forget a call, and say that it has ended."""
        del self.calls[call.unique_id]
        self._scheduler.emit(
            "call.ended",
            call.fields(
                duration=round_seconds(self._scheduler.now - call.arrived),
                ended_by=ended_by,
                hangup_cause="16",
                talk_seconds=round_seconds(call.talked - call.held),
                hold_seconds=round_seconds(call.held),
                wait_seconds=round_seconds(call.waited),
            ),
        )

    def _dispose(self, call: SimulatedCall) -> None:
        assert call.agent is not None  # noqa: S101 - narrows the type
        code = self._dispositions.draw()
        payload = {"unique_id": call.unique_id, "call_id": call.unique_id, "agent_id": call.agent.user_id}
        if call.queue is not None:
            payload["queue_name"] = call.queue.name
        self._scheduler.emit("call.disposition", {**payload, "code": code, "label": DISPOSITIONS[code]})

    def change_player(self, call: SimulatedCall) -> None:
        """Let a conversation go on whose agent is played by a person from now on, or by the model again."""
        assert call.agent is not None  # noqa: S101 - narrows the type
        if call.held_since is not None:
            self.unhold(call)
        if call.consults:
            self.release_other(call)
        call.cancel_steps()
        seconds = _END_AFTER_ARRIVAL if call.agent.is_played else _END_AFTER_DEPARTURE
        self.go_on(call, self._scheduler.random_seconds(*seconds), self.end_by_caller)


def round_seconds(value: float) -> float:
    """Return seconds as payloads have them."""
    return round(value, 1)
