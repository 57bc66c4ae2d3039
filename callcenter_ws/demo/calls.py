"""Switchboard: calls that come in, wait, ring, are answered, held, passed on, and end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from callcenter_ws.demo.agents import Agent, Floor
from callcenter_ws.demo.queues import Queue
from callcenter_ws.demo.sample_data import CALLERS, QUEUES
from callcenter_ws.demo.scheduler import Deck, Plan, Story

_FATES = ("plain",) * 10 + ("held",) * 5 + ("passed to agent",) * 3 + ("passed to queue",) * 2
_PATIENCE = ("long",) * 11 + ("short",)
_PICKS_UP = (True,) * 11 + (False,)
_TIDE_SECONDS = 240.0
_MEAN_GAP_SECONDS = 4.2


@dataclass(slots=True, eq=False)
class Call:
    """One call. All times are model seconds."""

    unique_id: str
    caller_id: str
    caller_name: str
    destination: str
    channel: str
    arrived: float
    started_at: str
    fate: str
    queue: Queue | None = None
    queued: float = 0.0
    waited: float = 0.0
    agent: Agent | None = None
    rang: float = 0.0
    answered: float = 0.0
    answered_at: str | None = None
    held: float = 0.0
    talked: float = 0.0
    gives_up: Plan | None = None
    ring_ends: Plan | None = None

    def fields(self, **more: Any) -> dict[str, Any]:
        """The fields that every event of the call shares, those that are known, and ``more``."""
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


class Switchboard:
    """Takes calls in and gives them to agents.

    Args:
        queues: where calls wait, one per name in ``cast.QUEUES``.
        prefix: what makes the ids of this model's calls unlike those of an earlier run.
    """

    def __init__(self, story: Story, floor: Floor, queues: Sequence[Queue], prefix: str) -> None:
        self._story = story
        self._floor = floor
        self._queues = list(queues)
        self._prefix = prefix
        self._count = 0
        self._fates = Deck(story.random, _FATES)
        self._patience = Deck(story.random, _PATIENCE)
        self._picks_up = Deck(story.random, _PICKS_UP)

    def open(self) -> None:
        """Let the first call come in."""
        self._story.later(4, self._arrive)

    def dispatch(self) -> None:
        """Ring an available agent for every call that waits and can have one; the longest waiting first."""
        waiting = [call for queue in self._queues for call in queue.waiting if call.agent is None]
        for call in sorted(waiting, key=lambda call: call.queued):
            assert call.queue is not None  # noqa: S101 - narrows the type: a waiting call is in a queue
            free = self._floor.available(call.queue.name)
            if free:
                self._ring_queued(call, free[0])

    def _arrive(self) -> None:
        story = self._story
        tide = 1 + 0.5 * math.sin(2 * math.pi * story.now / _TIDE_SECONDS)
        story.later(min(story.random.expovariate(tide / _MEAN_GAP_SECONDS), 20), self._arrive)
        self._count += 1
        queue = story.random.choice(self._queues)
        call = Call(
            unique_id=f"{self._prefix}.{self._count}",
            caller_id=f"+120255501{story.random.randrange(40, 100)}",
            caller_name=story.random.choice(CALLERS),
            destination=QUEUES[queue.name],
            channel=f"PJSIP/trunk-{self._count:08x}",
            arrived=story.now,
            started_at=story.instant(),
            fate=self._fates.deal(),
        )
        story.tell("call.incoming", call.fields())
        story.later(story.between(0.3, 1.2), self._join, call, queue)

    # In the queue

    def _join(self, call: Call, queue: Queue) -> None:
        call.queue, call.queued = queue, self._story.now
        queue.enter(call)
        position = len(queue.waiting)
        self._story.tell("queue.joined", call.fields(position=position, calls_waiting=position))
        patience = self._story.between(0.6, 1.6) if self._patience.deal() == "short" else self._story.between(20, 75)
        call.gives_up = self._story.later(patience, self._abandon, call)
        self.dispatch()

    def _leave(self, call: Call, reason: str) -> float:
        """Take the call out of its queue, tell it and return how long it has waited there."""
        assert call.queue is not None  # noqa: S101 - narrows the type
        assert call.gives_up is not None  # noqa: S101 - narrows the type
        call.gives_up.cancel()
        call.queue.leave(call)
        waited = self._story.now - call.queued
        call.waited += waited
        self._story.tell("queue.left", call.fields(reason=reason, wait_seconds=_seconds(waited)))
        return waited

    def _abandon(self, call: Call) -> None:
        queue, agent = call.queue, call.agent
        assert queue is not None  # noqa: S101 - narrows the type
        if call.ring_ends is not None:
            call.ring_ends.cancel()
        call.agent = None
        position = queue.waiting.index(call) + 1
        waited = self._leave(call, "abandoned")
        queue.count_abandoned()
        self._story.tell("call.abandoned", call.fields(wait_seconds=_seconds(waited), position=position))
        if agent is not None:
            self._floor.set_state(agent, "available")

    # Ringing

    def _ring(self, call: Call, agent: Agent) -> None:
        call.agent, call.rang = agent, self._story.now
        destination = f"PJSIP/{agent.person.extension}-{call.unique_id.rpartition('.')[2]}"
        self._story.tell("call.ringing", call.fields(destination_channel=destination))
        self._floor.set_state(agent, "ringing")

    def _ring_queued(self, call: Call, agent: Agent) -> None:
        self._ring(call, agent)
        if self._picks_up.deal():
            call.ring_ends = self._story.later(self._story.between(1.8, 5), self._answer_queued, call)
        else:
            call.ring_ends = self._story.later(8, self._miss, call)

    def _miss(self, call: Call) -> None:
        agent, call.ring_ends = call.agent, None
        assert agent is not None  # noqa: S101 - narrows the type
        self._story.tell("call.missed", call.fields(ring_seconds=_seconds(self._story.now - call.rang)))
        call.agent = None
        self._floor.step_away(agent)
        self.dispatch()

    def _answer_queued(self, call: Call) -> None:
        assert call.queue is not None  # noqa: S101 - narrows the type
        call.queue.count_answered(self._leave(call, "answered"))
        self._answer(call)

    # Talking

    def _answer(self, call: Call) -> None:
        assert call.agent is not None  # noqa: S101 - narrows the type
        call.ring_ends = None
        call.answered = self._story.now
        call.answered_at = call.answered_at or self._story.instant()
        ring_seconds = _seconds(call.answered - call.rang)
        self._story.tell("call.answered", call.fields(wait_seconds=_seconds(call.waited), ring_seconds=ring_seconds))
        self._floor.set_state(call.agent, "talking")
        fate, call.fate = call.fate, "plain"
        talk = self._story.between(18, 66)
        if fate == "held":
            self._story.later(talk / 2, self._hold, call)
        elif fate == "passed to agent":
            self._story.later(talk / 2, self._pass_to_agent, call)
        elif fate == "passed to queue":
            self._story.later(talk / 2, self._pass_to_queue, call)
        else:
            self._story.later(talk, self._end, call)

    def _hold(self, call: Call) -> None:
        assert call.agent is not None  # noqa: S101 - narrows the type
        self._story.tell("call.hold", call.fields(held_by=call.agent.user_id))
        self._floor.set_state(call.agent, "hold")
        self._story.later(self._story.between(4, 15), self._unhold, call, self._story.now)

    def _unhold(self, call: Call, since: float) -> None:
        assert call.agent is not None  # noqa: S101 - narrows the type
        call.held += self._story.now - since
        self._story.tell("call.unhold", call.fields(held_by=call.agent.user_id))
        self._floor.set_state(call.agent, "talking")
        self._story.later(self._story.between(5, 20), self._end, call)

    def _pass_to_agent(self, call: Call) -> None:
        colleague = next(iter(self._floor.available()), None)
        if colleague is None:
            self._end(call)
            return
        giver = self._transfer(call, colleague.person.extension, to_agent_id=colleague.user_id)
        self._ring(call, colleague)
        self._floor.wrap_up(giver)
        call.ring_ends = self._story.later(self._story.between(1.5, 4), self._answer, call)

    def _pass_to_queue(self, call: Call) -> None:
        queue = self._story.random.choice([queue for queue in self._queues if queue is not call.queue])
        giver = self._transfer(call, queue.name)
        self._join(call, queue)
        self._floor.wrap_up(giver)

    def _transfer(self, call: Call, destination: str, **fields: Any) -> Agent:
        """Tell that the agent passes the call on, and return that agent, who still has to be freed."""
        giver = call.agent
        assert giver is not None  # noqa: S101 - narrows the type
        call.talked += self._story.now - call.answered
        call.destination = destination
        fields |= {"transfer_type": "blind", "from_agent_id": giver.user_id}
        self._story.tell("call.transferred", call.fields(**fields))
        call.agent = None
        return giver

    def _end(self, call: Call) -> None:
        agent = call.agent
        assert agent is not None  # noqa: S101 - narrows the type
        assert call.queue is not None  # noqa: S101 - narrows the type
        call.talked += self._story.now - call.answered
        call.queue.count_completed()
        self._story.tell(
            "call.ended",
            call.fields(
                duration=_seconds(self._story.now - call.arrived),
                ended_by=self._story.random.choice(("caller", "agent")),
                hangup_cause="16",
                talk_seconds=_seconds(call.talked - call.held),
                hold_seconds=_seconds(call.held),
                wait_seconds=_seconds(call.waited),
            ),
        )
        self._floor.wrap_up(agent)


def _seconds(value: float) -> float:
    return round(value, 1)
