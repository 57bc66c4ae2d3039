"""Legs: agents in calls. Rings, misses, answers, holds and transfers, and the seconds that they last."""

from __future__ import annotations

from callcenter_ws.statistics.occurrence import Occurrence, duration_ms, text_of
from callcenter_ws.statistics.records import NEVER, Call, Heard, Leg
from callcenter_ws.statistics.state import MAX_LEGS, State, heard_of
from callcenter_ws.statistics.stays import answer_stay, interact, transfer_stays
from callcenter_ws.statistics.sums import (
    AGENT_ALERTS,
    AGENT_ANSWERED,
    AGENT_HANDLED,
    AGENT_HOLD,
    AGENT_LOST_LEGS,
    AGENT_MISSED,
    AGENT_TALK,
    AGENT_TRANSFERRED_OUT,
    HANDLED,
    HOLD,
    LEGS,
    LOST_LEGS,
    MISSED,
    TALK,
    TRANSFERRED_OUT,
)


def ring(state: State, call: Call, event: Occurrence) -> None:
    """Count a ring of an agent."""
    agent_id = text_of(event.facts.agent_id)
    heard = heard_of(call, agent_id)
    if event.at <= heard.ringing:
        return
    heard.ringing = event.at
    _count_agent(state, agent_id, event.at, AGENT_ALERTS)


def miss(state: State, call: Call, event: Occurrence) -> None:
    """Count a ring that the agent did not answer, unless another agent did, or the caller gave up."""
    agent_id = text_of(event.facts.agent_id)
    heard = heard_of(call, agent_id)
    if event.at <= heard.missed:
        return
    heard.missed = event.at
    if _was_taken_away(call, heard, event):
        return
    name = text_of(event.facts.queue_name) or _waiting_in(call)
    queue = state.queue(name)
    if queue is not None:
        queue.count(event.at, event.received, MISSED)
    _count_agent(state, agent_id, event.at, AGENT_MISSED)


def _waiting_in(call: Call) -> str | None:
    return max(call.stays, key=lambda name: call.stays[name].opened, default=None)


def _was_taken_away(call: Call, heard: Heard, event: Occurrence) -> bool:
    """Return whether the ring ended because the call was answered elsewhere, or was over."""
    rang = duration_ms(event.facts.ring_seconds)
    began = heard.ringing if heard.ringing != NEVER else NEVER if rang is None else event.at - rang
    if began == NEVER or began > event.at:
        return False
    ends = [leg.start for leg in call.legs.values()]
    ends += [stay.closed for stay in call.stays.values() if stay.gave_up]
    ends += [other.answered for other in call.heard.values() if other is not heard]
    return any(began <= end <= event.at for end in (*ends, call.ended))


def answer(state: State, call: Call, event: Occurrence) -> None:
    """Begin a leg; the legs of other agents in this call end."""
    facts = event.facts
    agent_id = text_of(facts.agent_id)
    heard = heard_of(call, agent_id)
    if agent_id is None or event.at <= heard.answered:
        return
    heard.answered = event.at
    name = answer_stay(state, call, text_of(facts.queue_name), event)
    interact(state, call, name, event.at)
    leg = call.legs.get(agent_id)
    if leg is not None and leg.queue_name == name and leg.start <= event.at:
        return  # announced once more, while the agent is in the call
    queue = state.queue(name)
    if queue is not None:
        queue.count(event.at, event.received, LEGS)
    _count_agent(state, agent_id, event.at, AGENT_ANSWERED)
    _replace_legs(state, call, Leg(agent_id, name, event.at), event)


def _replace_legs(state: State, call: Call, new: Leg, event: Occurrence) -> None:
    later = [leg.start for leg in call.legs.values() if leg.start > new.start]
    for leg in [leg for leg in call.legs.values() if leg.start <= new.start]:
        end_leg(state, call, leg, new.start, event)
    if later:
        end_leg(state, call, new, min(later), event)
    elif new.start <= call.ended:
        end_leg(state, call, new, call.ended, event, lost=call.lost)
    else:
        if len(call.legs) >= MAX_LEGS:
            end_leg(state, call, next(iter(call.legs.values())), event.at, event, lost=True)
        call.legs[new.agent_id] = new


def transfer(state: State, call: Call, event: Occurrence) -> None:
    """Count a transfer, and end the leg of the agent who transferred."""
    facts = event.facts
    agent_id = text_of(facts.from_agent_id)
    if agent_id is None and len(call.legs) == 1:
        agent_id = next(iter(call.legs))
    heard = heard_of(call, text_of(facts.from_agent_id))
    if event.at <= heard.transferred:
        return
    heard.transferred = event.at
    transfer_stays(state, call, event)
    leg = call.legs.get(agent_id) if agent_id is not None else None
    queue = state.queue(text_of(facts.queue_name) if leg is None else leg.queue_name)
    if queue is not None:
        queue.count(event.at, event.received, TRANSFERRED_OUT)
    _count_agent(state, agent_id, event.at, AGENT_TRANSFERRED_OUT)
    if leg is not None and leg.start <= event.at:
        end_leg(state, call, leg, event.at, event)


def hold(state: State, call: Call, event: Occurrence) -> None:
    """Begin a hold, or end it."""
    facts = event.facts
    leg = _held_leg(call, text_of(facts.held_by) or text_of(facts.agent_id))
    if leg is None or event.at < max(leg.hold_changed, leg.start):
        return
    if event.type == "call.hold" and leg.held_since == NEVER:
        leg.held_since = leg.hold_changed = event.at
    elif event.type == "call.unhold" and leg.held_since != NEVER:
        leg.held += event.at - leg.held_since
        leg.held_since, leg.hold_changed = NEVER, event.at


def _held_leg(call: Call, agent_id: str | None) -> Leg | None:
    """Return the leg that is held: that of the agent named, or the last, if the caller or the exchange holds."""
    if agent_id is not None and agent_id in call.heard and call.heard[agent_id].answered != NEVER:
        return call.legs.get(agent_id)
    return next(reversed(call.legs.values()), None)


def end_leg(state: State, call: Call, leg: Leg, at: int, event: Occurrence, *, lost: bool = False) -> None:
    """End a leg, and count its seconds in the bucket of its end."""
    call.legs.pop(leg.agent_id, None)
    at = max(at, leg.start)
    agent, queue = state.agent(leg.agent_id), state.queue(leg.queue_name)
    if agent is not None:
        agent.status.leg_queue = None if lost else leg.queue_name
    if lost:
        _count_agent(state, leg.agent_id, at, AGENT_LOST_LEGS)
        if queue is not None:
            queue.count(at, event.received, LOST_LEGS)
        return
    held = leg.held + (max(at - leg.held_since, 0) if leg.held_since != NEVER else 0)
    held = min(held, at - leg.start)
    talked = at - leg.start - held
    if agent is not None:
        values = agent.series.bucket(at).values
        values[AGENT_HANDLED] += 1
        values[AGENT_TALK] += talked
        values[AGENT_HOLD] += held
    if queue is not None:
        for bucket in queue.buckets(at, event.received):
            bucket.values[HANDLED] += 1
            bucket.values[TALK] += talked
            bucket.values[HOLD] += held


def _count_agent(state: State, agent_id: str | None, at: int, field: int) -> None:
    agent = state.agent(agent_id)
    if agent is not None:
        agent.series.bucket(at).values[field] += 1
