"""A second, slow implementation of the definitions: of whole lists of events of orderly calls, without a state.

It is written from the definitions of the manual alone, and knows streams in which the events of a call come in order,
each once, and every stay is closed by ``queue.left`` with a reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

Event = tuple[int, str, dict[str, Any]]
"""When it happened in Unix milliseconds, its type and its payload."""


class Stay(NamedTuple):
    opened: int
    closed: int
    reason: str

    @property
    def wait(self) -> int:
        return self.closed - self.opened


def stays(events: Sequence[Event], queue: str) -> Iterator[Stay]:
    """Yield the closed stays of a queue."""
    for number, (opened, type_, payload) in enumerate(events):
        if type_ == "queue.joined" and payload["queue_name"] == queue:
            later = (
                (at, fields["reason"])
                for at, name, fields in events[number + 1 :]
                if name == "queue.left"
                and fields["queue_name"] == queue
                and fields["unique_id"] == payload["unique_id"]
            )
            closed = next(later, None)
            if closed is not None:
                yield Stay(opened, *closed)


def rounded(value: Fraction | None) -> float | None:
    """Return a number rounded half up to two decimals."""
    return None if value is None else int(value * 100 + Fraction(1, 2)) / 100


def ratio(part: int, whole: int, factor: int = 100) -> float | None:
    return None if whole == 0 else rounded(Fraction(part * factor, whole))


def queue_figures(events: Sequence[Event], queue: str, start: int, end: int, limit: int, short: int) -> dict[str, Any]:
    """Return figures of a queue from ``start`` to before ``end``; ``limit`` is T and ``short`` S, in milliseconds."""
    closed = [stay for stay in stays(events, queue) if start <= stay.closed < end]
    known = [stay for stay in closed if stay.reason != "unknown"]
    a = [stay for stay in known if stay.reason == "answered"]
    b = [stay for stay in known if stay.reason == "abandoned"]
    f = [stay for stay in known if stay not in a and stay not in b]
    flow = [stay for stay in known if stay.reason not in ("answered", "abandoned")]
    assert len(f) == len(flow)
    x = [stay for stay in known if stay.reason in ("abandoned", "timeout", "empty", "withdrawn")]
    bs = [stay for stay in b if stay.wait < short]

    def inside(some: Sequence[Stay]) -> int:
        return sum(stay.wait <= limit for stay in some)

    return {
        "offered": sum(
            type_ == "queue.joined" and payload["queue_name"] == queue and start <= at < end
            for at, type_, payload in events
        ),
        "answered": len(a),
        "abandoned": len(b),
        "abandoned_short": len(bs),
        "flow_out": len(flow),
        "lost": len(closed) - len(known),
        "answered_in_service_level": inside(a),
        "abandoned_in_service_level": inside(b),
        "abandon_rate": ratio(len(b) - len(bs), len(a) + len(b) - len(bs) + len(flow)),
        "answer_rate": ratio(len(a), len(a) + len(b) - len(bs) + len(flow)),
        "average_wait_time": ratio(sum(stay.wait for stay in a), 1000 * len(a), 1),
        "average_abandon_time": ratio(sum(stay.wait for stay in b), 1000 * len(b), 1),
        "max_wait": max((stay.wait / 1000 for stay in known), default=None),
        "service_levels": {
            "answered_of_answered": ratio(inside(a), len(a)),
            "asterisk_2": ratio(inside(a) + inside(x), len(a) + len(x)),
            "answered_of_offered": ratio(inside(a), len(a) + len(b)),
            "answered_of_offered_less_short": ratio(inside(a), len(a) + len(b) - len(bs)),
            "answered_of_all": ratio(inside(a), len(a) + len(b) + len(flow)),
            "served_of_queued": ratio(inside(a) + inside(b), len(a) + len(b) + len(flow)),
        },
    }


def state_seconds(events: Sequence[Event], agent: str, start: int, end: int) -> dict[str, int]:
    """Return the milliseconds of each state of an agent from ``start`` to before ``end``."""
    found: dict[str, int] = {}
    changes = [(at, payload["state"]) for at, type_, payload in events if payload.get("user_id") == agent]
    for (begin, state), (until, _) in zip(changes, [*changes, (end, "")][1:], strict=True):
        duration = min(until, end) - max(begin, start)
        if state != "offline" and duration > 0:
            found[state] = found.get(state, 0) + duration
    return found
