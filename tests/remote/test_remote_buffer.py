"""The buffer and its batches."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.remote.buffer import Buffer
from callcenter_ws.remote.pending_event import PendingEvent
from callcenter_ws.remote.persistence import MemoryOnly


def event(tenant_id: str, number: int, size: int = 20) -> PendingEvent:
    return PendingEvent({"tenant_id": tenant_id, "event_id": str(number)}, b"{}", size, Deferred())


def ids(events: list[PendingEvent]) -> list[str]:
    return [one.fields["event_id"] for one in events]


def refusal_of(given_up: PendingEvent) -> Refusal:
    failures: list[Refusal] = []
    given_up.answer.addErrback(lambda failure: failures.append(failure.value))
    (refusal,) = failures
    return refusal


def test_a_batch_holds_one_tenant_and_order_is_kept() -> None:
    buffer = Buffer(100, 10_000, MemoryOnly())
    for number, tenant_id in enumerate(["acme", "acme", "globex", "acme", "acme"]):
        buffer.append(event(tenant_id, number))
    batches = []
    while batch := buffer.take():
        batches.append(ids(batch))
        buffer.settle(batch, [PublishResult("e", 1, taken.fields["event_id"]) for taken in batch])
    assert batches == [["0", "1"], ["2"], ["3", "4"]]
    assert len(buffer) == 0


def test_what_was_not_taken_comes_first_again() -> None:
    buffer = Buffer(100, 10_000, MemoryOnly())
    for number, tenant_id in enumerate(["acme", "acme", "globex"]):
        buffer.append(event(tenant_id, number))
    batch = buffer.take()
    buffer.settle(batch, [PublishResult("e", 1, "0"), None])
    assert ids(buffer.take()) == ["1"]


@pytest.mark.parametrize(("max_events", "max_bytes"), [(3, 10_000), (100, 60)])
def test_a_full_buffer_refuses_the_newest(max_events: int, max_bytes: int) -> None:
    buffer = Buffer(max_events, max_bytes, MemoryOnly())
    for number in range(3):
        buffer.append(event("acme", number))
    with pytest.raises(Refusal, match="3 events wait") as refused:
        buffer.append(event("acme", 3))
    assert (refused.value.code, refused.value.retry_after) == (ErrorCode.OVERLOADED, 1)
    assert ids(buffer.take()) == ["0", "1", "2"]


@pytest.mark.parametrize(("max_events", "max_bytes"), [(3, 10_000), (100, 60)])
def test_a_full_buffer_refuses_the_oldest_if_told_to(max_events: int, max_bytes: int) -> None:
    buffer = Buffer(max_events, max_bytes, MemoryOnly(), "refuse_oldest")
    events = [event("acme", number) for number in range(4)]
    for one in events:
        buffer.append(one)
    refusal = refusal_of(events[0])
    assert refusal.code is ErrorCode.OVERLOADED
    assert "given up for a newer event" in refusal.message
    assert ids(buffer.take()) == ["1", "2", "3"]


def test_as_many_of_the_oldest_are_refused_as_a_large_event_needs() -> None:
    buffer = Buffer(100, 100, MemoryOnly(), "refuse_oldest")
    events = [event("acme", number) for number in range(5)]
    for one in events:
        buffer.append(one)
    buffer.append(event("acme", 5, size=50))
    assert [one.answer.called for one in events] == [True, True, True, False, False]
    for one in events[:3]:
        refusal_of(one)
    assert ids(buffer.take()) == ["3", "4", "5"]


def test_what_is_under_way_is_not_refused() -> None:
    buffer = Buffer(3, 100, MemoryOnly(), "refuse_oldest")
    events = [event(tenant_id, number) for number, tenant_id in enumerate(["acme", "acme", "globex"])]
    for one in events:
        buffer.append(one)
    batch = buffer.take()
    buffer.append(event("globex", 3))
    refusal_of(events[2])
    buffer.settle(batch, [None, None])
    assert ids(buffer.take()) == ["0", "1"]


def test_an_event_that_fits_beside_nothing_that_is_under_way_costs_nobody_anything() -> None:
    buffer = Buffer(3, 100, MemoryOnly(), "refuse_oldest")
    events = [event(tenant_id, number, 30) for number, tenant_id in enumerate(["acme", "acme", "globex"])]
    for one in events:
        buffer.append(one)
    buffer.take()
    with pytest.raises(Refusal, match="no more are kept"):
        buffer.append(event("acme", 3, 50))
    assert not any(one.answer.called for one in events)
    assert len(buffer) == 3


def test_giving_up_for_a_newer_event_may_end_in_another_one() -> None:
    """A publisher may answer a refusal with another event at once."""
    buffer = Buffer(2, 10_000, MemoryOnly(), "refuse_oldest")
    events = [event("acme", number) for number in range(2)]
    for one in events:
        buffer.append(one)
    events[0].answer.addErrback(lambda _: buffer.append(event("acme", 9)))
    buffer.append(event("acme", 2))
    refusal_of(events[1])
    assert ids(buffer.take()) == ["2", "9"]
