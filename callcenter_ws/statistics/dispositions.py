"""Dispositions: what came of calls, counted by queue and code; a later one of the same call and queue replaces it."""

from __future__ import annotations

from callcenter_ws.statistics.misses import last_queue
from callcenter_ws.statistics.occurrence import Occurrence, text_of
from callcenter_ws.statistics.records import NEVER, Call, Disposition
from callcenter_ws.statistics.state import MAX_STAYS, State


def dispose(state: State, call: Call, event: Occurrence) -> None:
    """Count the disposition of a call in a queue, at its time, in place of the earlier one of that call and queue."""
    code, named = event.facts.code, text_of(event.facts.queue_name) or ""
    known = call.dispositions.get(named)
    if not isinstance(code, str) or (known is not None and event.at <= known.heard):
        return
    # Also of one without a queue that is not found: its repetition might find one.
    _disposition_of(call, named).heard = event.at
    queue = state.queue(named or _queue_of(call, text_of(event.facts.agent_id)))
    if queue is None:
        return
    counted = _disposition_of(call, queue.name)
    if event.at < counted.at:
        return
    if counted.at != NEVER:
        queue.take_back_disposition(counted.at, counted.counted_as)
    counted.at = event.at
    counted.counted_as = queue.count_disposition(event.at, event.received, code)


def _disposition_of(call: Call, name: str) -> Disposition:
    """Return what is remembered of a call and a queue; of too many queues, the first is forgotten."""
    found = call.dispositions.get(name)
    if found is None:
        if len(call.dispositions) >= MAX_STAYS:
            del call.dispositions[next(iter(call.dispositions))]
        found = call.dispositions[name] = Disposition()
    return found


def _queue_of(call: Call, agent_id: str | None) -> str | None:
    """Return the queue in which the agent was in the call, else that of its last answer, else that which it joined."""
    heard = call.heard.get(agent_id or "")
    if heard is not None and heard.queue_name is not None:
        return heard.queue_name
    last = max(call.heard.values(), key=lambda one: one.answered, default=None)
    return last_queue(call) if last is None or last.queue_name is None else last.queue_name
