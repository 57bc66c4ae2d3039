"""Buffer: limits and batches."""

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


def refusal_of(refused_event: PendingEvent) -> Refusal:
    failures: list[Refusal] = []
    refused_event.answer.addErrback(lambda failure: failures.append(failure.value))
    (refusal,) = failures
    return refusal


def test_batch_has_one_tenant_and_order_is_kept() -> None:
    buffer = Buffer(100, 10_000, MemoryOnly())
    for number, tenant_id in enumerate(["acme", "acme", "globex", "acme", "acme"]):
        buffer.append(event(tenant_id, number))
    batches = []
    while batch := buffer.next_batch():
        batches.append(ids(batch))
        buffer.finish_batch(batch, [PublishResult("e", 1, sent.fields["event_id"]) for sent in batch])
    assert batches == [["0", "1"], ["2"], ["3", "4"]]
    assert len(buffer) == 0


def test_events_without_outcome_return_to_the_head() -> None:
    buffer = Buffer(100, 10_000, MemoryOnly())
    for number, tenant_id in enumerate(["acme", "acme", "globex"]):
        buffer.append(event(tenant_id, number))
    batch = buffer.next_batch()
    buffer.finish_batch(batch, [PublishResult("e", 1, "0"), None])
    assert ids(buffer.next_batch()) == ["1"]


@pytest.mark.parametrize(("max_events", "max_bytes"), [(3, 10_000), (100, 60)])
def test_full_buffer_refuses_the_newest(max_events: int, max_bytes: int) -> None:
    buffer = Buffer(max_events, max_bytes, MemoryOnly())
    for number in range(3):
        buffer.append(event("acme", number))
    with pytest.raises(Refusal, match="3 events wait") as refused:
        buffer.append(event("acme", 3))
    assert (refused.value.code, refused.value.retry_after) == (ErrorCode.OVERLOADED, 1)
    assert ids(buffer.next_batch()) == ["0", "1", "2"]


@pytest.mark.parametrize(("max_events", "max_bytes"), [(3, 10_000), (100, 60)])
def test_full_buffer_refuses_the_oldest_with_refuse_oldest(max_events: int, max_bytes: int) -> None:
    buffer = Buffer(max_events, max_bytes, MemoryOnly(), "refuse_oldest")
    events = [event("acme", number) for number in range(4)]
    for one in events:
        buffer.append(one)
    refusal = refusal_of(events[0])
    assert refusal.code is ErrorCode.OVERLOADED
    assert "refused in favor of a newer event" in refusal.message
    assert ids(buffer.next_batch()) == ["1", "2", "3"]


def test_several_old_events_are_refused_for_a_large_one() -> None:
    buffer = Buffer(100, 100, MemoryOnly(), "refuse_oldest")
    events = [event("acme", number) for number in range(5)]
    for one in events:
        buffer.append(one)
    buffer.append(event("acme", 5, size=50))
    assert [one.answer.called for one in events] == [True, True, True, False, False]
    for one in events[:3]:
        refusal_of(one)
    assert ids(buffer.next_batch()) == ["3", "4", "5"]


def test_events_in_flight_are_not_refused() -> None:
    buffer = Buffer(3, 100, MemoryOnly(), "refuse_oldest")
    events = [event(tenant_id, number) for number, tenant_id in enumerate(["acme", "acme", "globex"])]
    for one in events:
        buffer.append(one)
    batch = buffer.next_batch()
    buffer.append(event("globex", 3))
    refusal_of(events[2])
    buffer.finish_batch(batch, [None, None])
    assert ids(buffer.next_batch()) == ["0", "1"]


def test_event_that_does_not_fit_beside_those_in_flight_is_refused_itself() -> None:
    buffer = Buffer(3, 100, MemoryOnly(), "refuse_oldest")
    events = [event(tenant_id, number, 30) for number, tenant_id in enumerate(["acme", "acme", "globex"])]
    for one in events:
        buffer.append(one)
    buffer.next_batch()
    with pytest.raises(Refusal, match="no more are kept"):
        buffer.append(event("acme", 3, 50))
    assert not any(one.answer.called for one in events)
    assert len(buffer) == 3


def test_callback_of_a_refused_event_may_publish_another() -> None:
    """A publisher may publish another event within the callback of a refusal."""
    buffer = Buffer(2, 10_000, MemoryOnly(), "refuse_oldest")
    events = [event("acme", number) for number in range(2)]
    for one in events:
        buffer.append(one)
    events[0].answer.addErrback(lambda _: buffer.append(event("acme", 9)))
    buffer.append(event("acme", 2))
    refusal_of(events[1])
    assert ids(buffer.next_batch()) == ["2", "9"]


def test_outcomes_are_kept_above_the_limit_and_not_refused_for_others() -> None:
    buffer = Buffer(3, 10_000, MemoryOnly(), "refuse_oldest")

    def outcome(number: int) -> PendingEvent:
        return PendingEvent.of_outcome("acme", "call.hangup", "7", str(number), b"{}", "at")

    events = [outcome(0), event("acme", 1), event("acme", 2)]
    for one in events:
        buffer.append_outcome(one) if one.is_outcome else buffer.append(one)
    buffer.append_outcome(outcome(3))
    buffer.append(event("acme", 4))
    assert [refusal_of(one).code for one in events[1:]] == [ErrorCode.OVERLOADED] * 2
    buffer.append_outcome(outcome(5))
    with pytest.raises(Refusal, match="4 events wait"):
        buffer.append(event("acme", 6))
    sent = []
    while batch := buffer.next_batch():
        sent.append(ids(batch))
        buffer.finish_batch(batch, [PublishResult("", 0, one.fields["event_id"]) for one in batch])
    assert sent == [["0"], ["3"], ["4"], ["5"]]
    for number in range(7, 10):
        buffer.append(event("acme", number))
    assert ids(buffer.next_batch()) == ["7", "8", "9"]
