"""Ends of calls: by ``call.ended``, by 24 hours without an event, and by the bound of the table."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, takewhile

from callcenter_ws.statistics.legs import end_leg
from callcenter_ws.statistics.misses import take_back_misses
from callcenter_ws.statistics.occurrence import Facts, Occurrence
from callcenter_ws.statistics.records import ABANDONED_REASON, LOST_REASON, Call, Stage
from callcenter_ws.statistics.state import CALL_KEPT_MS, OLD_CALL_KEPT_MS, OldCall, State
from callcenter_ws.statistics.stays import end_stays, leave_interaction, lose_stay


def end_call(state: State, call: Call, event: Occurrence) -> None:
    """End a call: stays that are open are abandoned, or lost if reconciling made the end."""
    if event.at <= call.ended:
        return
    lost = event.facts.ended_by == LOST_REASON
    call.ended, call.lost = event.at, lost
    take_back_misses(state, call, event.at, event)
    end_stays(state, call, LOST_REASON if lost else ABANDONED_REASON, event)
    for leg in list(call.legs.values()):
        end_leg(state, call, leg, event.at, event, lost=lost)
    leave_interaction(state, call)


def is_expired(call: Call, now: int) -> bool:
    """Return whether a call had no event for 24 hours."""
    return call.last + CALL_KEPT_MS <= now


def expired_calls(state: State, now: int) -> Iterator[Call]:
    """Yield the calls without events for 24 hours."""
    for call in state.calls.values():
        if not is_expired(call, now):
            return
        yield call


def expire(state: State, now: int, limit: int) -> bool:
    """Put away calls without events for 24 hours, and forget old ones, at most ``limit`` of each.

    Returns:
        Whether there were any.
    """
    oldest = next(iter(state.calls.values()), None)
    expired = oldest is not None and is_expired(oldest, now)
    if expired:
        for call in list(islice(expired_calls(state, now), limit)):
            lose_call(state, call)
    old = next(iter(state.old_calls.values()), None)
    if old is None or not _is_forgotten(old, now):
        return expired
    forgotten = takewhile(lambda item: _is_forgotten(item[1], now), state.old_calls.items())
    for call_id, _ in list(islice(forgotten, limit)):
        state.forget_old_call(call_id)
    return True


def _is_forgotten(old: OldCall, now: int) -> bool:
    return old.last + OLD_CALL_KEPT_MS < now


def lost_at(call: Call) -> int:
    """Return when a call without events is lost."""
    return call.last + CALL_KEPT_MS


def lose_call(state: State, call: Call, at: int | None = None) -> None:
    """Put away a call; its open stays and legs are lost."""
    when = lost_at(call) if at is None else at
    event = Occurrence("", Facts(), when, when, state.seq, when)
    for name, stay in call.stays.items():
        if stay.stage is not Stage.CLOSED and (queue := state.queue(name)) is not None:
            lose_stay(state, call, queue, stay, event)
    for leg in list(call.legs.values()):
        end_leg(state, call, leg, when, event, lost=True)
    leave_interaction(state, call)
    state.put_away(call)
