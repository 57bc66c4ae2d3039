"""The fold: (state, publication) → state."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from callcenter_ws.events.publication import Publication
from callcenter_ws.statistics import agents, dispositions, legs, misses, stays
from callcenter_ws.statistics.expiry import end_call, expire, is_expired, lose_call
from callcenter_ws.statistics.occurrence import (
    SETTINGS_CHANGED,
    Occurrence,
    occurrence_of,
    text_of,
)
from callcenter_ws.statistics.records import Call, Queue
from callcenter_ws.statistics.repetitions import is_repeated
from callcenter_ws.statistics.state import MAX_CALLS, State
from callcenter_ws.statistics.sums import DAY_MS

LATE_MS = 2 * DAY_MS
"""Events that are older than this when they are received are counted as late, and change no figure."""

EXPIRED_AT_ONCE = 32
"""Calls that one event removes at most. Readings show those that wait for it as lost, so that figures are the same."""


def apply(state: State, event: Occurrence) -> None:
    """Apply one event; others than those that figures depend on only move the position."""
    state.seq = event.seq
    change = _CHANGES.get(event.type)
    if change is None:
        return
    received = event.received
    if received > state.clock:
        state.clock = received
    if event.at < received - LATE_MS or event.at < state.kept_from:
        state.diagnostics["late_events"] += 1
        return
    change(state, event)


def apply_publication(state: State, publication: Publication, received: int) -> None:
    """Apply one publication of the stream; those for one user, and of other types, are not even decoded.

    Args:
        received: when the gateway received it, in Unix milliseconds; stored with it.
    """
    event = publication.event
    name = event.type.name
    if name not in _CHANGES or event.user_id is not None:
        state.seq = publication.seq
        return
    try:
        occurrence = occurrence_of(publication, received)
    except msgspec.DecodeError:
        # A later version may have stored it; its figures are lost, those of other events are not.
        state.diagnostics["unreadable_events"] += 1
        state.seq = publication.seq
        return
    apply(state, occurrence)


CallChange = Callable[[State, Call, Occurrence], None]
QueueChange = Callable[[State, Call, Queue, Occurrence], None]


def _of_call(change: CallChange) -> Callable[[State, Occurrence], None]:
    def apply_to_call(state: State, event: Occurrence) -> None:
        call = _call_of(state, event)
        if call is not None and not is_repeated(call.ahead, event):
            change(state, call, event)

    return apply_to_call


def _of_stay(change: QueueChange) -> Callable[[State, Occurrence], None]:
    def apply_to_stay(state: State, event: Occurrence) -> None:
        queue = state.queue(text_of(event.facts.queue_name))
        call = _call_of(state, event) if queue is not None else None
        if queue is not None and call is not None and not is_repeated(call.ahead, event):
            change(state, call, queue, event)

    return apply_to_stay


def _call_of(state: State, event: Occurrence) -> Call | None:
    """Return the call of an event: ``call_id``, else ``unique_id``."""
    facts, received = event.facts, event.received
    call_id = text_of(facts.unique_id if facts.call_id is None else facts.call_id)
    if call_id is None:
        return None
    expire(state, received, EXPIRED_AT_ONCE)
    known = state.calls.get(call_id)
    if known is not None:
        if is_expired(known, received):
            lose_call(state, known)
    elif len(state.calls) >= MAX_CALLS:
        state.diagnostics["forgotten_calls"] += 1
        lose_call(state, next(iter(state.calls.values())), at=state.clock)
    return state.touch(call_id, received)


def _change_settings(state: State, event: Occurrence) -> None:
    state.settings.change(event.facts)


def _forget_nothing(_state: State, _call: Call, _event: Occurrence) -> None:
    """Keep the call: its events go on."""


_CHANGES: dict[str, Callable[[State, Occurrence], None]] = {
    "queue.joined": _of_stay(stays.join),
    "queue.left": _of_stay(stays.leave),
    "call.abandoned": _of_stay(stays.abandon),
    "call.incoming": _of_call(_forget_nothing),
    "call.ringing": _of_call(legs.ring),
    "call.missed": _of_call(misses.miss),
    "call.answered": _of_call(legs.answer),
    "call.hold": _of_call(legs.hold),
    "call.unhold": _of_call(legs.hold),
    "call.transferred": _of_call(legs.transfer),
    "call.ended": _of_call(end_call),
    "call.disposition": _of_call(dispositions.dispose),
    "agent.login": agents.log_in,
    "agent.state.changed": agents.change_state,
    "agent.logout": agents.log_out,
    "queue.member.added": agents.change_member,
    "queue.member.paused": agents.change_member,
    "queue.member.unpaused": agents.change_member,
    "queue.member.removed": agents.change_member,
    SETTINGS_CHANGED: _change_settings,
}

TYPES = frozenset(_CHANGES)
"""The types of events that the fold selects."""
