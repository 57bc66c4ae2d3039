"""Stays: calls in queues, from ``queue.joined`` to the first event that ends the wait."""

from __future__ import annotations

from callcenter_ws.statistics.misses import last_queue, take_back_misses
from callcenter_ws.statistics.occurrence import Occurrence, duration_ms
from callcenter_ws.statistics.records import (
    ABANDONED_REASON,
    ANSWERED_REASON,
    LOST_REASON,
    OTHER_REASON,
    Call,
    Queue,
    Stage,
    Stay,
)
from callcenter_ws.statistics.state import MAX_STAYS, State, start_waiting
from callcenter_ws.statistics.sums import (
    ABANDONED,
    ABANDONED_IN,
    ABANDONED_SHORT,
    ABANDONED_WAIT,
    ANSWERED,
    ANSWERED_IN,
    ANSWERED_WAIT,
    CALLS_ANSWERED,
    CALLS_OFFERED,
    FLOW_OUT,
    LOST,
    OFFERED,
    QUEUE_ENTRIES,
    UNSERVED_IN,
    Bucket,
)

_UNSERVED = ("timeout", "empty", "withdrawn")
"""Flow-outs that the method ``asterisk_2`` counts like abandoned calls."""


def join(state: State, call: Call, queue: Queue, event: Occurrence) -> None:
    """Open a stay, unless it is open or the event is not newer than its last close."""
    stay = call.stays.get(queue.name)
    new = Stay(event.at)
    if stay is not None:
        if stay.stage is Stage.UNJOINED and event.at <= stay.closed:
            _join_later(state, call, queue, stay, event)
            return
        if stay.stage is Stage.WAITING or event.at <= max(stay.closed, stay.joined):
            stay.joined = max(stay.joined, event.at)
            return
        new.before, new.left, new.abandoned = stay.closed, stay.left, stay.abandoned
    _decide_by(state, call, event, OTHER_REASON)
    stay = _remember(state, call, queue, new, event)
    _offer(state, call, queue, event.at, event.received)
    answer = _answer_after(call, queue.name, event.at)
    if answer is not None:
        # It came earlier by another connection.
        stay.stage, stay.closed = Stage.UNDECIDED, answer
        close(state, call, queue, stay, ANSWERED_REASON, event)
        return
    if event.at <= call.ended:
        # Its end came earlier by another connection: how it left the queue is not known yet.
        stay.stage, stay.closed = Stage.UNDECIDED, max(event.at, call.ended)
        return
    start_waiting(queue, call.call_id, event.at)
    if call.queue_name is not None and event.at > call.since:
        leave_interaction(state, call)


def _answer_after(call: Call, name: str, at: int) -> int | None:
    """Return when the call was answered in a queue that it joined at ``at``, or None."""
    answers = [
        heard.answered
        for heard in call.heard.values()
        if heard.answered >= at and (heard.queue_name == name or (heard.queue_name is None and heard.answered > at))
    ]
    return min(answers, default=None)


def _join_later(state: State, call: Call, queue: Queue, stay: Stay, event: Occurrence) -> None:
    """Count a stay whose ``queue.left`` came first, without a wait."""
    stay.opened = event.at
    _offer(state, call, queue, event.at, event.received)
    stay.stage = Stage.UNDECIDED
    if stay.reason is not None:
        close(state, call, queue, stay, stay.reason, event)


def leave(state: State, call: Call, queue: Queue, event: Occurrence) -> None:
    """Close the stay by ``queue.left``; without a reason the next event of the call decides."""
    facts = event.facts
    stay = call.stays.get(queue.name)
    wait = _reported_wait(event)
    if stay is None:
        stay = _leave_unknown(state, call, queue, wait, event)
    elif event.at <= max(stay.left, stay.before):
        return
    else:
        _end_wait(state, call, queue, stay, event.at, wait)
        if stay.stage is not Stage.UNJOINED:
            _take_wait(state, queue, stay, wait, event)
    stay.left = event.at
    if stay.stage is Stage.UNDECIDED and facts.reason is not None:
        close(state, call, queue, stay, facts.reason, event)


def _reported_wait(event: Occurrence) -> int | None:
    """Return the wait that the source reports; a negative one says nothing."""
    wait = duration_ms(event.facts.wait_seconds)
    return None if wait is None or wait < 0 else wait


def _stop(state: State, call: Call, queue: Queue, stay: Stay, at: int, wait: int | None = None) -> None:
    """End the wait of a stay; never before it began, whatever two clocks say."""
    queue.waiting.pop(call.call_id, None)
    if at < stay.opened and wait is None:
        state.diagnostics["negative_waits"] += 1
    stay.closed = max(at, stay.opened)
    stay.stage = Stage.UNDECIDED


def _end_wait(state: State, call: Call, queue: Queue, stay: Stay, at: int, wait: int | None = None) -> None:
    """End the wait of a stay if it waits; it ended at ``at`` also if all that is known is that the call ended later."""
    if stay.stage is Stage.WAITING:
        _stop(state, call, queue, stay, at, wait)
    elif stay.stage is Stage.UNDECIDED and max(stay.left, stay.abandoned) < stay.opened:
        stay.closed = max(stay.opened, min(stay.closed, at))


def _take_wait(
    state: State, queue: Queue, stay: Stay, wait: int | None, event: Occurrence, *, abandon: bool = False
) -> None:
    """Use the wait that an event reports: that of ``queue.left`` before that of ``call.abandoned``, in any order."""
    if wait is None or (stay.wait is not None and (abandon or not stay.abandon_wait)):
        return
    if stay.stage is not Stage.CLOSED:
        stay.wait, stay.abandon_wait = wait, abandon
    elif stay.judged is not None and event.at - wait <= stay.closed and stay.closed >= state.kept_from:
        # Else it is of a stay that is not known, as its ``queue.joined`` did not come.
        stay.wait, stay.abandon_wait = wait, abandon
        _count_again(queue, stay, wait, event)


def _count_again(queue: Queue, stay: Stay, wait: int, event: Occurrence) -> None:
    """Count a closed stay with the wait that was reported later. The longest wait is not made shorter."""
    if stay.judged is None or stay.outcome is None:
        return
    before, limit, short = stay.judged
    for bucket in queue.buckets(stay.closed, event.received):
        _count_end(bucket, stay.outcome, before, limit, short, -1)
        _count_end(bucket, stay.outcome, wait, limit, short)
        bucket.max_wait = max(bucket.max_wait, wait)
    stay.judged = (wait, limit, short) if stay.abandon_wait else None


def _leave_unknown(state: State, call: Call, queue: Queue, wait: int | None, event: Occurrence) -> Stay:
    """Remember a stay whose ``queue.joined`` did not come; with a wait, its beginning is known."""
    stay = Stay(event.at, Stage.UNJOINED, event.at, wait, event.facts.reason)
    _remember(state, call, queue, stay, event)
    if wait is not None:
        stay.opened = max(event.at - wait, state.kept_from)
        stay.stage = Stage.UNDECIDED
        _offer(state, call, queue, stay.opened, event.received)
    return stay


def abandon(state: State, call: Call, queue: Queue, event: Occurrence) -> None:
    """Close the stay by ``call.abandoned``."""
    stay = call.stays.get(queue.name)
    wait = _reported_wait(event)
    if stay is None:
        stay = _leave_unknown(state, call, queue, wait, event)
        stay.abandon_wait = wait is not None
    elif event.at <= max(stay.abandoned, stay.before):
        return
    else:
        _end_wait(state, call, queue, stay, event.at, wait)
    stay.abandoned = event.at
    if stay.outcome in (None, ABANDONED_REASON):
        _take_wait(state, queue, stay, wait, event, abandon=True)
    if stay.stage is Stage.CLOSED:
        return
    stay.reason = ABANDONED_REASON
    if stay.stage is Stage.UNDECIDED:
        close(state, call, queue, stay, ABANDONED_REASON, event)


def answer_stay(state: State, call: Call, name: str | None, event: Occurrence) -> str | None:
    """Close the stay that ``call.answered`` answers; return the queue that the call was in last, or None."""
    if name is None:
        name = last_queue(call)
    stay = call.stays.get(name) if name is not None else None
    queue = state.queue(name)
    if stay is None or queue is None or event.at <= stay.before:
        return name
    _end_wait(state, call, queue, stay, event.at)
    if stay.stage is Stage.UNDECIDED:
        close(state, call, queue, stay, ANSWERED_REASON, event)
    elif stay.stage is Stage.UNJOINED and stay.reason is None:
        stay.reason = ANSWERED_REASON
    return name


def end_stays(state: State, call: Call, reason: str, event: Occurrence) -> None:
    """Close all stays of a call that ended."""
    for name, stay in call.stays.items():
        if stay.stage is Stage.CLOSED or (queue := state.queue(name)) is None:
            continue
        if stay.stage is Stage.WAITING:
            _stop(state, call, queue, stay, event.at)
        if stay.stage is Stage.UNDECIDED:
            close(state, call, queue, stay, reason, event)
        elif stay.reason is None:
            stay.reason = reason


def transfer_stays(state: State, call: Call, event: Occurrence) -> None:
    """Decide stays whose caller left without a reason: a transfer took the call out of the queue."""
    _decide_by(state, call, event, "transferred")


def _decide_by(state: State, call: Call, event: Occurrence, reason: str) -> None:
    for name, stay in call.stays.items():
        if stay.stage is Stage.UNDECIDED and event.at >= stay.closed and (queue := state.queue(name)) is not None:
            close(state, call, queue, stay, reason, event)


def _remember(state: State, call: Call, queue: Queue, stay: Stay, event: Occurrence) -> Stay:
    """Keep a stay; of too many, the oldest is forgotten, and lost if it is open."""
    if queue.name not in call.stays and len(call.stays) >= MAX_STAYS:
        name = next(iter(call.stays))
        oldest, other = call.stays.pop(name), state.queue(name)
        if other is not None:
            lose_stay(state, call, other, oldest, event)
    call.stays[queue.name] = stay
    return stay


def lose_stay(state: State, call: Call, queue: Queue, stay: Stay, event: Occurrence) -> None:
    """Close a stay of which nothing more is heard."""
    if stay.stage is Stage.WAITING:
        _stop(state, call, queue, stay, event.at)
    if stay.stage is Stage.UNDECIDED:
        close(state, call, queue, stay, LOST_REASON, event)


def interact(state: State, call: Call, name: str | None, at: int) -> None:
    """Count the call among those that are answered and have not ended."""
    if at <= max(call.ended, call.since):
        return
    call.since = at
    if call.queue_name == name:
        return
    if call.queue_name is not None:
        leave_interaction(state, call)
    queue = state.queue(name)
    if queue is not None:
        queue.interacting.add(call.call_id)
        call.queue_name = name


def leave_interaction(state: State, call: Call) -> None:
    """Take a call out of those that are answered and have not ended."""
    queue = state.queue(call.queue_name)
    if queue is not None:
        queue.interacting.discard(call.call_id)
    call.queue_name = None


def _offer(state: State, call: Call, queue: Queue, at: int, received: int) -> None:
    queue.count(at, received, OFFERED)
    values = state.tenant.bucket(at).values
    values[QUEUE_ENTRIES] += 1
    if not call.offered:
        call.offered = True
        values[CALLS_OFFERED] += 1


def close(state: State, call: Call, queue: Queue, stay: Stay, reason: str, event: Occurrence) -> None:
    """Count the end of a stay in the bucket of ``stay.closed``."""
    stay.stage, stay.outcome = Stage.CLOSED, reason
    if reason == LOST_REASON:
        queue.count(stay.closed, event.received, LOST)
        return
    wait = stay.closed - stay.opened if stay.wait is None else stay.wait
    settings = state.settings.of(queue.name)
    thresholds = settings.service_level_ms, settings.short_abandon_ms
    if stay.wait is None or stay.abandon_wait:
        stay.judged = (wait, *thresholds)
    for bucket in queue.buckets(stay.closed, event.received):
        if thresholds not in bucket.thresholds:
            bucket.note(thresholds)
        if wait > bucket.max_wait:
            bucket.max_wait = wait
        _count_end(bucket, reason, wait, *thresholds)
    if reason == ANSWERED_REASON:
        interact(state, call, queue.name, stay.closed)
        if not call.answered:
            call.answered = True
            state.tenant.bucket(stay.closed).values[CALLS_ANSWERED] += 1
    if reason in (ANSWERED_REASON, ABANDONED_REASON):
        take_back_misses(state, call, stay.closed, event)


def _count_end(bucket: Bucket, reason: str, wait: int, service_level: int, short: int, number: int = 1) -> None:
    """Add a stay that ended to a bucket; with ``number`` -1, take it away."""
    values = bucket.values
    inside = number * (wait <= service_level)
    if reason == ANSWERED_REASON:
        values[ANSWERED] += number
        values[ANSWERED_IN] += inside
        values[ANSWERED_WAIT] += number * wait
    elif reason == ABANDONED_REASON:
        values[ABANDONED] += number
        values[ABANDONED_IN] += inside
        values[ABANDONED_WAIT] += number * wait
        values[ABANDONED_SHORT] += number * (wait < short)
    else:
        values[FLOW_OUT.get(reason, FLOW_OUT[OTHER_REASON])] += number
        values[UNSERVED_IN] += inside if reason in _UNSERVED else 0
