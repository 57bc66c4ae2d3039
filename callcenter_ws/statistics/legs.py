"""Legs: agents in calls. Rings, answers, holds and transfers, and the seconds that they last."""

from __future__ import annotations

from callcenter_ws.statistics.misses import count_agent, take_back_misses
from callcenter_ws.statistics.occurrence import Occurrence, text_of
from callcenter_ws.statistics.records import NEVER, Call, Leg
from callcenter_ws.statistics.state import MAX_LEGS, State, heard_of
from callcenter_ws.statistics.stays import answer_stay, interact, transfer_stays
from callcenter_ws.statistics.sums import (
    AGENT_ALERTS,
    AGENT_ANSWERED,
    AGENT_HANDLED,
    AGENT_HOLD,
    AGENT_LOST_LEGS,
    AGENT_TALK,
    AGENT_TRANSFERRED_OUT,
    HANDLED,
    HOLD,
    LOST_LEGS,
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
    count_agent(state, agent_id, event.at, AGENT_ALERTS)


def answer(state: State, call: Call, event: Occurrence) -> None:
    """Begin a leg; the legs of other agents in this call end."""
    facts = event.facts
    agent_id = text_of(facts.agent_id)
    heard = heard_of(call, agent_id)
    if agent_id is None or event.at <= heard.answered:
        return
    heard.answered = event.at
    name = heard.queue_name = answer_stay(state, call, text_of(facts.queue_name), event)
    interact(state, call, name, event.at)
    take_back_misses(state, call, event.at, event)
    leg = call.legs.get(agent_id)
    if leg is not None and leg.by_transfer:
        del call.legs[agent_id]  # it begins with the answer
    elif leg is not None and leg.queue_name == name and leg.start <= event.at:
        return  # announced once more, while the agent is in the call
    count_agent(state, agent_id, event.at, AGENT_ANSWERED)
    _replace_legs(state, call, Leg(agent_id, name, event.at), event)


def _replace_legs(state: State, call: Call, new: Leg, event: Occurrence) -> None:
    if not call.legs and new.start > call.ended:
        call.legs[new.agent_id] = new
        return
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
    name = heard.queue_name or text_of(facts.queue_name) if leg is None else leg.queue_name
    queue = state.queue(name)
    if queue is not None:
        queue.count(event.at, event.received, TRANSFERRED_OUT)
    count_agent(state, agent_id, event.at, AGENT_TRANSFERRED_OUT)
    if leg is not None and leg.start <= event.at:
        end_leg(state, call, leg, event.at, event)
    target = text_of(facts.to_agent_id)
    if facts.transfer_type == "attended" and target is not None and target not in call.legs:
        # The target has answered the consultation, which is a call of its own, and is in this call from now on.
        _replace_legs(state, call, Leg(target, name, event.at, by_transfer=True), event)


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
    if agent is not None and event.type:  # else it is lost after a day, and not the agent's last
        agent.status.leg_queue, agent.status.leg_lost = None if lost else leg.queue_name, lost
    if lost:
        count_agent(state, leg.agent_id, at, AGENT_LOST_LEGS)
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
