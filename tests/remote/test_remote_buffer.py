"""The buffer and its batches."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from callcenter_ws.interfaces import Published
from callcenter_ws.remote.buffer import Buffer, Unacknowledged


def event(tenant_id: str, number: int) -> Unacknowledged:
    return Unacknowledged({"tenant_id": tenant_id, "event_id": str(number)}, b"{}", 20, Deferred())


def test_a_batch_holds_one_tenant_and_order_is_kept() -> None:
    buffer = Buffer(100, 10_000)
    for number, tenant_id in enumerate(["acme", "acme", "globex", "acme", "acme"]):
        buffer.append(event(tenant_id, number))
    batches = []
    while batch := buffer.take():
        batches.append([taken.fields["event_id"] for taken in batch])
        buffer.settle(batch, [Published("e", 1, taken.fields["event_id"]) for taken in batch])
    assert batches == [["0", "1"], ["2"], ["3", "4"]]
    assert len(buffer) == 0


def test_what_was_not_taken_comes_first_again() -> None:
    buffer = Buffer(100, 10_000)
    for number, tenant_id in enumerate(["acme", "acme", "globex"]):
        buffer.append(event(tenant_id, number))
    batch = buffer.take()
    buffer.settle(batch, [Published("e", 1, "0"), None])
    assert [taken.fields["event_id"] for taken in buffer.take()] == ["1"]
