"""What a fold remembers of calls, queues and agents."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from callcenter_ws.statistics.sums import (
    AGENT_FIELDS,
    DAY_MS,
    MINUTE_MS,
    QUARTER_MS,
    QUEUE_FIELDS,
    Bucket,
    Series,
)

NEVER = -1
"""An instant that has not come."""

ROLLING_MINUTES = 30

ANSWERED_REASON, ABANDONED_REASON, LOST_REASON, OTHER_REASON = "answered", "abandoned", "unknown", "other"


class Stage(IntEnum):
    """Where a stay is."""

    WAITING = 0
    UNDECIDED = 1  # the caller left, and the next event of the call says how it ended
    UNJOINED = 2  # ``queue.left`` came without a wait, before ``queue.joined``
    CLOSED = 3


class Stay(msgspec.Struct, array_like=True, gc=False):
    """One call in one queue.

    Attributes:
        closed: when the caller left; ``NEVER``: the caller waits.
        wait: the wait that the source reported, in milliseconds; None: the difference of the times.
        reason: the reason that ``queue.left`` gave.
        before: when the stay before this one in the same queue was closed.
        outcome: the reason with which it was counted; None: it is not closed.
        left: when the last ``queue.left`` of this call and queue happened; ``abandoned``: the same of
            ``call.abandoned``. They are kept for the next stay, so that a repetition does not close it.
        joined: when the last ``queue.joined`` that was ignored happened, which must not open the next stay.
        judged: the wait, T and S with which it was counted, as long as another event may still report its wait.
        abandon_wait: whether ``wait`` is that of ``call.abandoned``; that of ``queue.left`` takes its place.
    """

    opened: int
    stage: Stage = Stage.WAITING
    closed: int = NEVER
    wait: int | None = None
    reason: str | None = None
    before: int = NEVER
    outcome: str | None = None
    left: int = NEVER
    abandoned: int = NEVER
    joined: int = NEVER
    judged: tuple[int, int, int] | None = None
    abandon_wait: bool = False


class Leg(msgspec.Struct, array_like=True, gc=False):
    """One agent in one call, from the answer to the transfer, the next agent's answer or the end.

    Attributes:
        by_transfer: whether an attended transfer began it, and no answer came of this agent in this call.
    """

    agent_id: str
    queue_name: str | None
    start: int
    held_since: int = NEVER
    held: int = 0
    hold_changed: int = NEVER
    by_transfer: bool = False


class Heard(msgspec.Struct, array_like=True, gc=False):
    """When the last event of each type of one call and agent happened.

    Attributes:
        queue_name: the queue of the agent's last leg in the call.
        rang_since: when the ring began that was counted as missed last; ``NEVER``: none, or it was taken back.
        missed_in: the queue in which it was counted.
    """

    ringing: int = NEVER
    missed: int = NEVER
    answered: int = NEVER
    transferred: int = NEVER
    queue_name: str | None = None
    rang_since: int = NEVER
    missed_in: str | None = None


class Disposition(msgspec.Struct, array_like=True, gc=False):
    """The disposition of one call in one queue.

    Attributes:
        heard: when the last event happened that named this queue, or none.
        at: when the one that is counted happened; ``NEVER``: none is.
        counted_as: its code in the sums, which may be ``other``.
    """

    heard: int = NEVER
    at: int = NEVER
    counted_as: str = ""


class Call(msgspec.Struct, array_like=True):
    """What is known of a call.

    Attributes:
        touched: orders calls by their last event.
        last: when its last event was received.
        stays: the last stay in each queue.
        legs: those that are not ended.
        heard: by agent; the empty name stands for no agent.
        offered: whether it is counted as a call that was offered to a queue; ``answered`` likewise.
        queue_name: the queue in which it was answered last and has not ended; ``since``: the answer.
        ended: when it ended; ``lost``: whether its end was made by reconciling.
        ahead: its events from clocks that are ahead, see ``repetitions``.
        old: whether it had no event for so long that its record is kept only to recognize repetitions.
        dispositions: by queue; the empty name stands for events that name none.
    """

    call_id: str
    touched: int = 0
    last: int = 0
    stays: dict[str, Stay] = {}
    legs: dict[str, Leg] = {}
    heard: dict[str, Heard] = {}
    offered: bool = False
    answered: bool = False
    queue_name: str | None = None
    since: int = NEVER
    ended: int = NEVER
    lost: bool = False
    ahead: list[str] = []
    old: bool = False
    dispositions: dict[str, Disposition] = {}


class Member(msgspec.Struct, array_like=True, gc=False):
    """An agent in a queue.

    Attributes:
        changed: when the last ``queue.member`` event happened.
        by_login: whether only ``agent.login`` said that the agent is a member.
        named: when the last login happened that named the queue.
    """

    present: bool
    paused: bool = False
    changed: int = NEVER
    by_login: bool = False
    named: int = NEVER


class AgentStatus(msgspec.Struct, array_like=True):
    """The present state of an agent.

    Attributes:
        state: None: not logged in.
        since: when the state began; it may be earlier than the time from which seconds are counted.
        started: from when seconds of the state are counted.
        settled: up to when seconds of the state are in buckets.
        heard: when the last event about the state happened.
        login: when the last login happened.
        leg_queue: the queue of the agent's last leg, to which wrap-up is added.
        leg_lost: whether that leg is lost, so that its wrap-up is not counted.
        ahead: events of the agent from clocks that are ahead, see ``repetitions``.
    """

    username: str | None = None
    state: str | None = None
    reason: str | None = None
    since: int = NEVER
    started: int = NEVER
    settled: int = NEVER
    heard: int = NEVER
    login: int = NEVER
    leg_queue: str | None = None
    leg_lost: bool = False
    ahead: list[str] = []


class Agent:
    """An agent: status, sums, and the queues whose member the agent is."""

    __slots__ = ("agent_id", "queues", "series", "status")

    def __init__(self, agent_id: str, status: AgentStatus | None = None) -> None:
        self.agent_id = agent_id
        self.status = status or AgentStatus()
        self.series = Series(len(AGENT_FIELDS))
        self.queues: set[str] = set()


class Queue:
    """A queue: sums by quarters and by minutes, the calls that wait, and the members.

    Attributes:
        waiting: when each waiting call came in, by call id.
        heap: the same as a heap, with entries of calls that wait no more.
        interacting: the calls that were answered here and have not ended.
        minutes: the sums of the last minutes.
    """

    __slots__ = ("heap", "interacting", "members", "minutes", "name", "series", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.series = Series(len(QUEUE_FIELDS))
        self.minutes: dict[int, Bucket] = {}
        self.waiting: dict[str, int] = {}
        self.heap: list[tuple[int, str]] = []
        self.interacting: set[str] = set()
        self.members: dict[str, Member] = {}

    def buckets(self, at: int, received: int) -> tuple[Bucket, ...]:
        """Return the buckets of an instant: the quarter's, and the minute's if the rolling window may hold it."""
        quarter = self.series.bucket(at)
        minute = self._minute_of(at, received)
        return (quarter,) if minute is None else (quarter, minute)

    def _minute_of(self, at: int, received: int) -> Bucket | None:
        """Return the bucket of a minute; None if the rolling window cannot hold it."""
        minute, newest = at // MINUTE_MS, received // MINUTE_MS
        if minute <= newest - ROLLING_MINUTES:
            return None
        bucket = self.minutes.get(minute)
        if bucket is None:
            oldest = newest - ROLLING_MINUTES
            for number in [number for number in self.minutes if number <= oldest]:
                del self.minutes[number]
            bucket = self.minutes[minute] = Bucket([0] * self.series.width)
        return bucket

    def count(self, at: int, received: int, field: int, number: int = 1) -> None:
        """Add to one field."""
        self.series.bucket(at).values[field] += number
        minute = self._minute_of(at, received)
        if minute is not None:
            minute.values[field] += number

    def count_disposition(self, at: int, received: int, code: str) -> str:
        """Count a disposition; return the code under which it is counted, which may be ``other``."""
        counted_as = self.series.bucket(at).count_disposition(code)
        minute = self._minute_of(at, received)
        if minute is not None:
            # A minute has no other codes than its quarter, so the bound holds for both.
            minute.count_disposition(counted_as)
        return counted_as

    def take_back_disposition(self, at: int, counted_as: str) -> None:
        """Count a disposition no more, unless its day was forgotten."""
        if at // QUARTER_MS not in (self.series.quarters(at // DAY_MS) or {}):
            return
        self.series.bucket(at).take_back_disposition(counted_as)
        minute = self.minutes.get(at // MINUTE_MS)
        if minute is not None:
            minute.take_back_disposition(counted_as)
