"""The calls of the model: arrival, the queue, and ringing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from callcenter_ws.demo.agents import Agent, AgentPool
from callcenter_ws.demo.callers import Callers
from callcenter_ws.demo.conversations import Conversations, round_seconds
from callcenter_ws.demo.sample_data import QUEUES
from callcenter_ws.demo.scheduler import Scheduler, ShuffleBag
from callcenter_ws.demo.simulated_call import Queue, SimulatedCall

_COURSES = ("plain",) * 10 + ("held",) * 5 + ("transferred to agent",) * 3 + ("transferred to queue",) * 2
_WAITS = ("long",) * 11 + ("short",)
_ANSWERS = (True,) * 11 + (False,)
_PATIENCE_WHILE_RINGING = (60, 120)
"""Of a caller for whom a person's phone rings."""

_LOAD_PERIOD_SECONDS = 240.0
_MEAN_INTERARRIVAL_SECONDS = 4.2

RING_SECONDS = 25.0
"""For so long a call rings at a person."""


class CallDistributor:
    """Generates calls, queues them and distributes them to the agents.

    Args:
        queues: one for each name in ``sample_data.QUEUES``.
        prefix: starts the ids of the calls, so that they differ from those of earlier runs.

    Attributes:
        conversations: the calls after their answer.
    """

    def __init__(self, scheduler: Scheduler, agents: AgentPool, queues: Sequence[Queue], prefix: str) -> None:
        self._scheduler = scheduler
        self._agents = agents
        self._queues = list(queues)
        self._prefix = prefix
        self._count = 0
        self._callers = Callers(scheduler.random)
        self.conversations = Conversations(scheduler, agents, queues, self)
        self.calls = self.conversations.calls
        self._courses = ShuffleBag(scheduler.random, _COURSES)
        self._waits = ShuffleBag(scheduler.random, _WAITS)
        self._answers = ShuffleBag(scheduler.random, _ANSWERS)

    def open(self) -> None:
        """Schedule the first call."""
        self._scheduler.call_later(4, self._arrive)

    def distribute(self) -> None:
        """Ring an available agent for each waiting call, the longest waiting first, while there are such agents."""
        waiting = [call for queue in self._queues for call in queue.waiting if call.agent is None]
        for call in sorted(waiting, key=lambda call: call.queued):
            assert call.queue is not None  # noqa: S101 - narrows the type: a waiting call is in a queue
            free = [one for one in self._agents.available(call.queue.name) if one.user_id not in call.missed_by]
            if free:
                self.ring_directly(call, free[0])

    def offer(self, agent: Agent) -> None:
        """Ring a waiting call at an available person, or a new one."""
        names = [name for name in agent.queues if name not in agent.paused]
        queues = [queue for queue in self._queues if queue.name in names]
        waiting = [call for queue in queues for call in queue.waiting]
        if queues and not any(call.agent is None and agent.user_id not in call.missed_by for call in waiting):
            self._arrive_in(self._scheduler.random.choice(queues))
        self.distribute()

    def _arrive(self) -> None:
        scheduler = self._scheduler
        load = 1 + 0.5 * math.sin(2 * math.pi * scheduler.now / _LOAD_PERIOD_SECONDS)
        interval = min(scheduler.random.expovariate(load / _MEAN_INTERARRIVAL_SECONDS), 20)
        scheduler.call_later(interval, self._arrive)
        self._arrive_in(scheduler.random.choice(self._queues))

    def _arrive_in(self, queue: Queue) -> None:
        number, name = self._callers.draw(self._scheduler.now, {call.caller_id for call in self.calls.values()})
        call = self.new_call(number, name, QUEUES[queue.name], "trunk")
        call.course = self._courses.draw()
        self._scheduler.emit("call.incoming", call.fields())
        self.conversations.go_on(call, self._scheduler.random_seconds(0.3, 1.2), lambda call: self.join(call, queue))

    def new_call(self, caller_id: str, caller_name: str, destination: str, endpoint: str) -> SimulatedCall:
        """Return a new call, of which nothing is said yet."""
        self._count += 1
        call = SimulatedCall(
            unique_id=f"{self._prefix}.{self._count}",
            caller_id=caller_id,
            caller_name=caller_name,
            destination=destination,
            channel=f"PJSIP/{endpoint}-{self._count:08x}",
            arrived=self._scheduler.now,
            started_at=self._scheduler.timestamp(),
        )
        self.calls[call.unique_id] = call
        return call

    # In the queue

    def join(self, call: SimulatedCall, queue: Queue) -> None:
        """Let a call wait in a queue."""
        call.queue, call.queued = queue, self._scheduler.now
        queue.enter(call)
        position = len(queue.waiting)
        self._scheduler.emit("queue.joined", call.fields(position=position, calls_waiting=position))
        bounds = (0.6, 1.6) if self._waits.draw() == "short" else (20, 75)
        call.abandoning = self._scheduler.call_later(self._scheduler.random_seconds(*bounds), self._abandon, call)
        self.distribute()

    def _leave(self, call: SimulatedCall, reason: str) -> float:
        """Remove the call from its queue and return the seconds that it waited there."""
        assert call.queue is not None  # noqa: S101 - narrows the type
        assert call.abandoning is not None  # noqa: S101 - narrows the type
        call.abandoning.cancel()
        call.queue.leave(call)
        waited = self._scheduler.now - call.queued
        call.waited += waited
        self._scheduler.emit("queue.left", call.fields(reason=reason, wait_seconds=round_seconds(waited)))
        return waited

    def _abandon(self, call: SimulatedCall) -> None:
        queue, agent = call.queue, call.agent
        assert queue is not None  # noqa: S101 - narrows the type
        if call.ringing is not None:
            call.ringing.cancel()
        call.agent = None
        position = queue.waiting.index(call) + 1
        waited = self._leave(call, "abandoned")
        self._scheduler.emit("call.abandoned", call.fields(wait_seconds=round_seconds(waited), position=position))
        del self.calls[call.unique_id]
        if agent is not None:
            self._agents.release(agent)

    # Ringing

    def ring(self, call: SimulatedCall, agent: Agent) -> None:
        """Ring the phone of an agent."""
        call.agent, call.rang = agent, self._scheduler.now
        destination = f"PJSIP/{agent.person.extension}-{call.unique_id.rpartition('.')[2]}"
        self._scheduler.emit("call.ringing", call.fields(destination_channel=destination))
        self._agents.set_state(agent, "ringing")

    def _let_ring(self, call: SimulatedCall) -> None:
        """Schedule what becomes of a call that rings: a person answers it by a command only."""
        assert call.agent is not None  # noqa: S101 - narrows the type
        scheduler = self._scheduler
        if call.agent.is_played:
            if call.abandoning is not None:
                call.abandoning.cancel()
                patience = scheduler.random_seconds(*_PATIENCE_WHILE_RINGING)
                call.abandoning = scheduler.call_later(patience, self._abandon, call)
            call.ringing = scheduler.call_later(RING_SECONDS, self._miss, call)
        elif not call.waits:
            call.ringing = scheduler.call_later(scheduler.random_seconds(1.5, 4), self.conversations.answer, call)
        elif self._answers.draw():
            call.ringing = scheduler.call_later(scheduler.random_seconds(1.8, 5), self._answer_queued, call)
        else:
            call.ringing = scheduler.call_later(8, self._miss, call)

    def _miss(self, call: SimulatedCall, *, rejected: bool = False) -> None:
        """End the ringing: a call of a queue waits on, another one ends."""
        agent, waits, call.ringing = call.agent, call.waits, None
        assert agent is not None  # noqa: S101 - narrows the type
        self._scheduler.emit("call.missed", call.fields(ring_seconds=round_seconds(self._scheduler.now - call.rang)))
        call.agent = None
        if not agent.is_played:
            self._agents.set_away(agent)
        else:
            call.missed_by.add(agent.user_id)
            (self._agents.release if rejected else self._agents.miss)(agent)
        if waits:
            self.distribute()
        else:
            call.cancel_steps()
            self.conversations.emit_end(call, "exchange")

    def _answer_queued(self, call: SimulatedCall) -> None:
        self._leave(call, "answered")
        self.conversations.answer(call)

    def answer(self, call: SimulatedCall) -> None:
        """Have the agent at whom the call rings answer it now."""
        if call.ringing is not None:
            call.ringing.cancel()
        if call.waits:
            self._answer_queued(call)
        else:
            self.conversations.answer(call)

    def reject(self, call: SimulatedCall) -> None:
        """Have the agent at whom the call rings reject it: a call of a queue waits on, another one ends."""
        if call.ringing is not None:
            call.ringing.cancel()
        self._miss(call, rejected=True)

    def hang_up(self, call: SimulatedCall, ended_by: str) -> None:
        """End a call in whatever state it is."""
        if call.is_connected:
            call.cancel_steps()
            self.conversations.end(call, ended_by)
            return
        agent, call.agent = call.agent, None
        if call.waits:
            self._leave(call, "withdrawn")
        call.cancel_steps()
        self.conversations.emit_end(call, ended_by)
        if agent is not None:
            self._agents.release(agent)
        self.conversations.release_other(call)

    def ring_directly(self, call: SimulatedCall, agent: Agent) -> None:
        """Ring the phone of an agent, and schedule what becomes of it."""
        self.ring(call, agent)
        self._let_ring(call)

    def change_player(self, call: SimulatedCall) -> None:
        """Let a call go on whose agent is played by a person from now on, or by the model again."""
        if call.is_connected:
            self.conversations.change_player(call)
        elif call.direction == "inbound" and call.ringing is not None:
            call.ringing.cancel()
            self._let_ring(call)
