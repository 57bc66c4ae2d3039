"""Repetitions of events whose sender's clock is ahead.

An event is taken to happen at most two seconds after it was received. So a repetition of one from a clock that is ahead
seems to happen later than the event itself, and is known only by the timestamp that its sender gave it.
"""

from __future__ import annotations

from callcenter_ws.statistics.occurrence import Occurrence

MAX_AHEAD = 64
"""Events from clocks that are ahead which are remembered of a call, and of an agent."""


def is_repeated(ahead: list[str], event: Occurrence) -> bool:
    """Return whether an event came before, by a clock that is ahead; remember one that did not."""
    if event.timestamp == event.at and not ahead:
        return False
    facts = event.facts
    ids = facts.queue_name, facts.agent_id, facts.from_agent_id, facts.held_by, facts.state
    name = f"{event.type} {event.timestamp} {' '.join(map(str, ids))}"
    if name in ahead:
        return True
    if event.timestamp > event.at:
        ahead.append(name)
        del ahead[:-MAX_AHEAD]
    return False
