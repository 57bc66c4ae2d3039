"""The calls of the model: arrival, the queue, ringing, answer, hold, transfer and end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from callcenter_ws.demo.agents import Agent, AgentPool
from callcenter_ws.demo.sample_data import CALLERS, DEMO_AGENT, DISPOSITIONS, QUEUES
from callcenter_ws.demo.scheduler import Scheduler, ShuffleBag
from callcenter_ws.demo.simulated_call import Queue, SimulatedCall

_COURSES = ("plain",) * 10 + ("held",) * 5 + ("transferred to agent",) * 3 + ("transferred to queue",) * 2
_WAITS = ("long",) * 11 + ("short",)
_ANSWERS = (True,) * 11 + (False,)
_FREQUENT_DISPOSITIONS = ("resolved",) * 8
_PATIENCE_ON_HOLD = (90, 150)
_LOAD_PERIOD_SECONDS = 240.0
_MEAN_INTERARRIVAL_SECONDS = 4.2


class CallDistributor:
    """Generates calls, queues them and distributes them to the agents.

    Args:
        queues: one for each name in ``sample_data.QUEUES``.
        prefix: starts the ids of the calls, so that they differ from those of earlier runs.
    """

    def __init__(self, scheduler: Scheduler, agents: AgentPool, queues: Sequence[Queue], prefix: str) -> None:
        self._scheduler = scheduler
        self._agents = agents
        self._queues = list(queues)
        self._prefix = prefix
        self._count = 0
        self.calls: dict[str, SimulatedCall] = {}
        self._courses = ShuffleBag(scheduler.random, _COURSES)
        self._waits = ShuffleBag(scheduler.random, _WAITS)
        self._answers = ShuffleBag(scheduler.random, _ANSWERS)
        self._dispositions = ShuffleBag(scheduler.random, tuple(DISPOSITIONS) * 2 + _FREQUENT_DISPOSITIONS)

    def open(self) -> None:
        """Schedule the first call."""
        self._scheduler.call_later(4, self._arrive)

    def distribute(self) -> None:
        """Ring an available agent for each waiting call, the longest waiting first, while there are such agents."""
        waiting = [call for queue in self._queues for call in queue.waiting if call.agent is None]
        for call in sorted(waiting, key=lambda call: call.queued):
            assert call.queue is not None  # noqa: S101 - narrows the type: a waiting call is in a queue
            free = self._agents.available(call.queue.name)
            if free:
                self._ring_queued(call, free[0])

    def _arrive(self) -> None:
        scheduler = self._scheduler
        load = 1 + 0.5 * math.sin(2 * math.pi * scheduler.now / _LOAD_PERIOD_SECONDS)
        interval = min(scheduler.random.expovariate(load / _MEAN_INTERARRIVAL_SECONDS), 20)
        scheduler.call_later(interval, self._arrive)
        self._count += 1
        queue = scheduler.random.choice(self._queues)
        call = SimulatedCall(
            unique_id=f"{self._prefix}.{self._count}",
            caller_id=f"+120255501{scheduler.random.randrange(40, 100)}",
            caller_name=scheduler.random.choice(CALLERS),
            destination=QUEUES[queue.name],
            channel=f"PJSIP/trunk-{self._count:08x}",
            arrived=scheduler.now,
            started_at=scheduler.timestamp(),
            course=self._courses.draw(),
        )
        self.calls[call.unique_id] = call
        scheduler.emit("call.incoming", call.fields())
        call.progress = scheduler.call_later(scheduler.random_seconds(0.3, 1.2), self._join, call, queue)

    # In the queue

    def _join(self, call: SimulatedCall, queue: Queue) -> None:
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
        self._scheduler.emit("queue.left", call.fields(reason=reason, wait_seconds=_seconds(waited)))
        return waited

    def _abandon(self, call: SimulatedCall) -> None:
        queue, agent = call.queue, call.agent
        assert queue is not None  # noqa: S101 - narrows the type
        if call.ringing is not None:
            call.ringing.cancel()
        call.agent = None
        position = queue.waiting.index(call) + 1
        waited = self._leave(call, "abandoned")
        self._scheduler.emit("call.abandoned", call.fields(wait_seconds=_seconds(waited), position=position))
        del self.calls[call.unique_id]
        if agent is not None:
            self._agents.release(agent)

    # Ringing

    def _ring(self, call: SimulatedCall, agent: Agent) -> None:
        call.agent, call.rang = agent, self._scheduler.now
        destination = f"PJSIP/{agent.person.extension}-{call.unique_id.rpartition('.')[2]}"
        self._scheduler.emit("call.ringing", call.fields(destination_channel=destination))
        self._agents.set_state(agent, "ringing")

    def _ring_queued(self, call: SimulatedCall, agent: Agent) -> None:
        self._ring(call, agent)
        if self._answers.draw():
            delay = self._scheduler.random_seconds(1.8, 5)
            call.ringing = self._scheduler.call_later(delay, self._answer_queued, call)
        else:
            call.ringing = self._scheduler.call_later(8, self._miss, call)

    def _miss(self, call: SimulatedCall) -> None:
        agent, call.ringing = call.agent, None
        assert agent is not None  # noqa: S101 - narrows the type
        self._scheduler.emit("call.missed", call.fields(ring_seconds=_seconds(self._scheduler.now - call.rang)))
        call.agent = None
        self._agents.set_away(agent)
        self.distribute()

    def _answer_queued(self, call: SimulatedCall) -> None:
        self._leave(call, "answered")
        self._answer(call)

    # Connected

    def _answer(self, call: SimulatedCall) -> None:
        assert call.agent is not None  # noqa: S101 - narrows the type
        call.ringing = None
        call.answered = self._scheduler.now
        call.answered_at = call.answered_at or self._scheduler.timestamp()
        ring_seconds = _seconds(call.answered - call.rang)
        self._scheduler.emit(
            "call.answered", call.fields(wait_seconds=_seconds(call.waited), ring_seconds=ring_seconds)
        )
        self._agents.set_state(call.agent, "talking")
        course, call.course = call.course, "plain"
        talk = self._scheduler.random_seconds(18, 66)
        if course == "held":
            self._continue(call, talk / 2, self._hold)
        elif course == "transferred to agent":
            self._continue(call, talk / 2, self._transfer_to_free_agent)
        elif course == "transferred to queue":
            self._continue(call, talk / 2, self._transfer_to_another_queue)
        else:
            self._continue(call, talk, self.end)

    def _continue(self, call: SimulatedCall, seconds: float, step: Callable[[SimulatedCall], None]) -> None:
        call.progress = self._scheduler.call_later(seconds, step, call)

    def _hold(self, call: SimulatedCall) -> None:
        self.hold(call)
        self._continue(call, self._scheduler.random_seconds(4, 15), self.unhold)

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
        self._continue(call, self._scheduler.random_seconds(5, 20), self.end)

    def _end_hold(self, call: SimulatedCall) -> None:
        if call.held_since is not None:
            call.held += self._scheduler.now - call.held_since
            call.held_since = None

    # Transfers

    def _transfer_to_free_agent(self, call: SimulatedCall) -> None:
        colleague = next(iter(self._agents.available()), None)
        if colleague is None:
            self.end(call)
            return
        self.transfer_to_agent(call, colleague)

    def transfer_to_agent(self, call: SimulatedCall, colleague: Agent) -> None:
        """Transfer a connected call to an available agent, who answers it."""
        transferring = self._transfer(call, colleague.person.extension, to_agent_id=colleague.user_id)
        self._ring(call, colleague)
        self._agents.wrap_up(transferring)
        call.ringing = self._scheduler.call_later(self._scheduler.random_seconds(1.5, 4), self._answer, call)

    def _transfer_to_another_queue(self, call: SimulatedCall) -> None:
        self.transfer_to_queue(
            call, self._scheduler.random.choice([queue for queue in self._queues if queue is not call.queue])
        )

    def transfer_to_queue(self, call: SimulatedCall, queue: Queue) -> None:
        """Transfer a connected call to a queue."""
        transferring = self._transfer(call, queue.name)
        self._join(call, queue)
        self._agents.wrap_up(transferring)

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

    # The end

    def end(self, call: SimulatedCall, ended_by: str | None = None) -> None:
        """End a connected call."""
        agent = call.agent
        assert agent is not None  # noqa: S101 - narrows the type
        self._end_hold(call)
        call.talked += self._scheduler.now - call.answered
        self._emit_end(call, ended_by or self._scheduler.random.choice(("caller", "agent")))
        self._agents.wrap_up(agent)
        if agent.user_id != DEMO_AGENT.user_id:
            # The demo's agent is a person, who may send the command.
            self._scheduler.call_later(self._scheduler.random_seconds(1, 3.5), self._dispose, call)

    def _emit_end(self, call: SimulatedCall, ended_by: str) -> None:
        del self.calls[call.unique_id]
        self._scheduler.emit(
            "call.ended",
            call.fields(
                duration=_seconds(self._scheduler.now - call.arrived),
                ended_by=ended_by,
                hangup_cause="16",
                talk_seconds=_seconds(call.talked - call.held),
                hold_seconds=_seconds(call.held),
                wait_seconds=_seconds(call.waited),
            ),
        )

    def _dispose(self, call: SimulatedCall) -> None:
        assert call.agent is not None  # noqa: S101 - narrows the type
        code = self._dispositions.draw()
        payload = {"unique_id": call.unique_id, "call_id": call.unique_id, "agent_id": call.agent.user_id}
        if call.queue is not None:
            payload["queue_name"] = call.queue.name
        self._scheduler.emit("call.disposition", {**payload, "code": code, "label": DISPOSITIONS[code]})

    # What commands ask for besides

    def answer(self, call: SimulatedCall) -> None:
        """Have the agent at whom the call rings answer it now."""
        if call.ringing is not None:
            call.ringing.cancel()
        if call.waits:
            self._answer_queued(call)
        else:
            self._answer(call)

    def hold_until_unheld(self, call: SimulatedCall) -> None:
        """Put the caller on hold until ``unhold``, or until the caller hangs up."""
        call.cancel_steps()
        self.hold(call)
        seconds = self._scheduler.random_seconds(*_PATIENCE_ON_HOLD)
        call.progress = self._scheduler.call_later(seconds, self.end, call, "caller")

    def take_for_transfer(self, call: SimulatedCall) -> None:
        """Let nothing else happen to a connected call, and take the caller off hold."""
        if call.held_since is not None:
            self.unhold(call)
        call.cancel_steps()

    def reject(self, call: SimulatedCall) -> None:
        """Have the agent at whom the call rings reject it: a call of a queue waits on, another one ends."""
        waits = call.waits
        if call.ringing is not None:
            call.ringing.cancel()
        self._miss(call)
        if not waits:
            call.cancel_steps()
            self._emit_end(call, "exchange")

    def hang_up(self, call: SimulatedCall, ended_by: str) -> None:
        """End a call in whatever state it is."""
        if call.is_connected:
            call.cancel_steps()
            self.end(call, ended_by)
            return
        agent, call.agent = call.agent, None
        if call.waits:
            self._leave(call, "withdrawn")
        call.cancel_steps()
        self._emit_end(call, ended_by)
        if agent is not None:
            self._agents.release(agent)


def _seconds(value: float) -> float:
    return round(value, 1)
