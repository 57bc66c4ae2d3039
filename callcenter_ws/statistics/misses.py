"""Misses: rings that an agent did not answer, unless another agent did, or the caller gave up."""

from __future__ import annotations

from callcenter_ws.statistics.occurrence import Occurrence, duration_ms, text_of
from callcenter_ws.statistics.records import ABANDONED_REASON, ANSWERED_REASON, LOST_REASON, NEVER, Call, Heard
from callcenter_ws.statistics.state import State, heard_of
from callcenter_ws.statistics.sums import AGENT_MISSED, MISSED


def miss(state: State, call: Call, event: Occurrence) -> None:
    """Count a ring that the agent did not answer, unless another agent did, or the caller gave up."""
    agent_id = text_of(event.facts.agent_id)
    heard = heard_of(call, agent_id)
    if event.at <= heard.missed:
        return
    heard.missed, heard.rang_since = event.at, NEVER
    began = _ring_began(heard, event)
    if _was_taken_away(call, heard, began, event.at):
        return
    heard.rang_since = event.at if began == NEVER else began
    heard.missed_in = text_of(event.facts.queue_name) or last_queue(call)
    _count(state, agent_id, heard, event, 1)


def take_back_misses(state: State, call: Call, at: int, event: Occurrence) -> None:
    """Count no more the rings that ended because the call was answered, given up or over at ``at``.

    Where that is known only after ``call.missed``, these were counted.
    """
    for agent_id, heard in call.heard.items():
        if NEVER != heard.rang_since <= at <= heard.missed:
            _count(state, agent_id or None, heard, event, -1)
            heard.rang_since = NEVER


def last_queue(call: Call) -> str | None:
    """Return the queue that the call joined last; None if it left that queue unanswered."""
    name = max(call.stays, key=lambda name: call.stays[name].opened, default=None)
    if name is None or call.stays[name].outcome in (None, ANSWERED_REASON, LOST_REASON):
        return name
    return None


def count_agent(state: State, agent_id: str | None, at: int, field: int, number: int = 1) -> None:
    """Add to one field of an agent."""
    agent = state.agent(agent_id)
    if agent is not None:
        agent.series.bucket(at).values[field] += number


def _count(state: State, agent_id: str | None, heard: Heard, event: Occurrence, number: int) -> None:
    queue = state.queue(heard.missed_in)
    if queue is not None:
        queue.count(heard.missed, event.received, MISSED, number)
    count_agent(state, agent_id, heard.missed, AGENT_MISSED, number)


def _ring_began(heard: Heard, event: Occurrence) -> int:
    """Return when the ring began, or ``NEVER`` if it is not known."""
    if heard.ringing != NEVER:
        return heard.ringing if heard.ringing <= event.at else NEVER
    rang = duration_ms(event.facts.ring_seconds)
    return NEVER if rang is None or rang < 0 else max(event.at - rang, 0)


def _was_taken_away(call: Call, heard: Heard, began: int, at: int) -> bool:
    """Return whether the ring ended because the call was answered elsewhere, or was over."""
    if began == NEVER:
        return False
    ends = [leg.start for leg in call.legs.values()]
    ends += [stay.closed for stay in call.stays.values() if stay.outcome in (ANSWERED_REASON, ABANDONED_REASON)]
    ends += [other.answered for other in call.heard.values() if other is not heard]
    return any(began <= end <= at for end in (*ends, call.ended))
