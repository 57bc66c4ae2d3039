"""The calls of the model and the queues in which they wait: arrival, ringing, answer, hold, transfer and end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from callcenter_ws.demo.agents import Agent, AgentPool
from callcenter_ws.demo.sample_data import CALLERS, QUEUES
from callcenter_ws.demo.scheduler import ScheduledCall, Scheduler, ShuffleBag

_ALERT_WAITING_CALLS = 4
_ALERT_INTERVAL_SECONDS = 90.0

_COURSES = ("plain",) * 10 + ("held",) * 5 + ("transferred to agent",) * 3 + ("transferred to queue",) * 2
_WAITS = ("long",) * 11 + ("short",)
_ANSWERS = (True,) * 11 + (False,)
_LOAD_PERIOD_SECONDS = 240.0
_MEAN_INTERARRIVAL_SECONDS = 4.2


@dataclass(slots=True, eq=False)
class SimulatedCall:
    """One call. All times are model seconds.

    Attributes:
        course: what happens to the call after it was answered, one of ``_COURSES``.
        waited, held, talked: total seconds of waiting in queues, on hold, and connected to an agent (hold included).
        abandoning: the scheduled end of the caller's wait.
        ringing: the scheduled end of the ringing.
    """

    unique_id: str
    caller_id: str
    caller_name: str
    destination: str
    channel: str
    arrived: float
    started_at: str
    course: str
    queue: Queue | None = None
    queued: float = 0.0
    waited: float = 0.0
    agent: Agent | None = None
    rang: float = 0.0
    answered: float = 0.0
    answered_at: str | None = None
    held: float = 0.0
    talked: float = 0.0
    abandoning: ScheduledCall | None = None
    ringing: ScheduledCall | None = None

    def fields(self, **more: object) -> dict[str, object]:
        """Return the fields that all events of the call have in common, as far as they are known, and ``more``."""
        known = {
            "unique_id": self.unique_id,
            "call_id": self.unique_id,
            "direction": "inbound",
            "caller_id": self.caller_id,
            "caller_name": self.caller_name,
            "destination": self.destination,
            "channel": self.channel,
            "started_at": self.started_at,
        }
        if self.queue is not None:
            known["queue_name"] = self.queue.name
        if self.agent is not None:
            known |= {"agent_id": self.agent.user_id, "agent_name": self.agent.person.name}
        if self.answered_at is not None:
            known["answered_at"] = self.answered_at
        return known | more


class Queue:
    """One queue of calls; the gateway derives its figures."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.name = name
        self.waiting: list[SimulatedCall] = []
        self._scheduler = scheduler
        self._alerted_at = -_ALERT_INTERVAL_SECONDS

    def enter(self, call: SimulatedCall) -> None:
        """Append a call to the queue."""
        self.waiting.append(call)
        alert_is_due = self._scheduler.now - self._alerted_at >= _ALERT_INTERVAL_SECONDS
        if len(self.waiting) >= _ALERT_WAITING_CALLS and alert_is_due:
            self._alerted_at = self._scheduler.now
            message = f"{len(self.waiting)} calls are waiting in {self.name}."
            self._scheduler.emit(
                "alert",
                {"title": f"Queue {self.name} is filling up", "message": message, "severity": "warning"},
            )

    def leave(self, call: SimulatedCall) -> None:
        """Remove a call from the queue."""
        self.waiting.remove(call)


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
        scheduler.emit("call.incoming", call.fields())
        scheduler.call_later(scheduler.random_seconds(0.3, 1.2), self._join, call, queue)

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
        if agent is not None:
            self._agents.set_state(agent, "available")

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
            self._scheduler.call_later(talk / 2, self._hold, call)
        elif course == "transferred to agent":
            self._scheduler.call_later(talk / 2, self._transfer_to_agent, call)
        elif course == "transferred to queue":
            self._scheduler.call_later(talk / 2, self._transfer_to_queue, call)
        else:
            self._scheduler.call_later(talk, self._end, call)

    def _hold(self, call: SimulatedCall) -> None:
        assert call.agent is not None  # noqa: S101 - narrows the type
        self._scheduler.emit("call.hold", call.fields(held_by=call.agent.user_id))
        self._agents.set_state(call.agent, "hold")
        self._scheduler.call_later(self._scheduler.random_seconds(4, 15), self._unhold, call, self._scheduler.now)

    def _unhold(self, call: SimulatedCall, since: float) -> None:
        assert call.agent is not None  # noqa: S101 - narrows the type
        call.held += self._scheduler.now - since
        self._scheduler.emit("call.unhold", call.fields(held_by=call.agent.user_id))
        self._agents.set_state(call.agent, "talking")
        self._scheduler.call_later(self._scheduler.random_seconds(5, 20), self._end, call)

    def _transfer_to_agent(self, call: SimulatedCall) -> None:
        colleague = next(iter(self._agents.available()), None)
        if colleague is None:
            self._end(call)
            return
        transferring = self._transfer(call, colleague.person.extension, to_agent_id=colleague.user_id)
        self._ring(call, colleague)
        self._agents.wrap_up(transferring)
        call.ringing = self._scheduler.call_later(self._scheduler.random_seconds(1.5, 4), self._answer, call)

    def _transfer_to_queue(self, call: SimulatedCall) -> None:
        queue = self._scheduler.random.choice([queue for queue in self._queues if queue is not call.queue])
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

    def _end(self, call: SimulatedCall) -> None:
        agent = call.agent
        assert agent is not None  # noqa: S101 - narrows the type
        call.talked += self._scheduler.now - call.answered
        self._scheduler.emit(
            "call.ended",
            call.fields(
                duration=_seconds(self._scheduler.now - call.arrived),
                ended_by=self._scheduler.random.choice(("caller", "agent")),
                hangup_cause="16",
                talk_seconds=_seconds(call.talked - call.held),
                hold_seconds=_seconds(call.held),
                wait_seconds=_seconds(call.waited),
            ),
        )
        self._agents.wrap_up(agent)


def _seconds(value: float) -> float:
    return round(value, 1)
