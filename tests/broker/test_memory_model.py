"""A model-based test of MemoryBroker: history, snapshot and idempotency of one tenant against the reference."""

from __future__ import annotations

from typing import Any

from broker_contract import RANDOM_TYPES, payload_of
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from reference import compacted

from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.events.event import make_event
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.testing import FakeClock, run

TENANT = "acme"
WINDOW = 300.0


class MemoryModel(RuleBasedStateMachine):
    """Publishes events about a few entities, advances time, and compares all answers after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.stream: list[Publication] = []
        self.delivered: list[Publication] = []
        self.known: dict[str, tuple[int, float]] = {}
        self.number = 0

    @initialize(kept=st.sampled_from([1, 3, 10, 100]), seconds=st.sampled_from([50.0, 4_000.0, 86_400.0]))
    def open(self, kept: int, seconds: float) -> None:
        self.kept, self.seconds = kept, seconds
        self.broker = MemoryBroker(self.clock, memory_events=kept, history_seconds=seconds)
        run(self.broker.start(self.delivered.extend))

    @rule(
        type_=st.sampled_from(RANDOM_TYPES),
        user_id=st.sampled_from([None, None, "1", "2"]),
        event_id=st.sampled_from([None, None, None, "x", "y"]),
        choice=st.integers(0, 1),
        leg=st.sampled_from([None, "1.1", "1.2"]),
    )
    def publish(self, type_: str, user_id: str | None, event_id: str | None, choice: int, leg: str | None) -> None:
        payload = payload_of(type_)
        fields: dict[str, Any] = {
            "user_id": [1, "2"][choice],
            "session_id": "st"[choice],
            "queue_name": "ab"[choice],
            "call_id": None if leg is None else "cd"[choice],
            "unique_id": leg or "1.1",
        }
        payload.update({name: value for name, value in fields.items() if name in payload})
        self.number += 1
        event = make_event(
            tenant_id=TENANT,
            type_=type_,
            payload=payload,
            event_id=event_id or f"e{self.number}",
            user_id=user_id,
            now=self.clock.time(),
            received_at=self.clock.monotonic(),
        )
        (outcome,) = run(self.broker.publish([event]))
        assert isinstance(outcome, PublishResult)
        seq, since = self.known.get(event.event_id, (0, -WINDOW))
        if seq and self.clock.monotonic() - since <= WINDOW:
            assert (outcome.seq, outcome.duplicate) == (seq, True)
            return
        self.stream.append(Publication(event, len(self.stream) + 1))
        self.known[event.event_id] = len(self.stream), self.clock.monotonic()
        assert (outcome.seq, outcome.duplicate) == (len(self.stream), False)

    @rule(seconds=st.sampled_from([1, 59, 150, 301, 3_600, 43_000, 86_000]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def the_snapshot_is_the_compacted_stream(self) -> None:
        if not hasattr(self, "broker"):
            return
        snapshot = run(self.broker.snapshot(TENANT))
        assert snapshot.seq == run(self.broker.position(TENANT)).seq == len(self.stream)
        assert [message.seq for message in snapshot.publications] == compacted(self.stream, self.clock.monotonic())

    @invariant()
    def the_history_is_the_end_of_the_stream(self) -> None:
        if not hasattr(self, "broker"):
            return
        head = len(self.stream)
        oldest = self.clock.monotonic() - self.seconds
        fresh = sum(message.event.received_at >= oldest for message in self.stream)
        for after in range(head + 1):
            page = run(self.broker.read(TENANT, after, head))
            found = [message.event.event_id for message in page.publications]
            assert page.head == head
            if page.reachable:
                assert head - after <= self.kept
                assert found == [message.event.event_id for message in self.stream[after:]]
            else:
                assert not found
                assert head - after > min(self.kept, fresh)

    @invariant()
    def everything_was_delivered_once_in_order(self) -> None:
        assert [message.seq for message in self.delivered] == list(range(1, len(self.stream) + 1))

    @invariant()
    def the_newest_of_a_key_is_known(self) -> None:
        if not hasattr(self, "broker"):
            return
        for name in "ab":
            key = ("queue.stats", "", name)
            newest = max([m.seq for m in self.stream if m.event.conflation_key == key], default=0)
            assert self.broker.newest_of(TENANT, key) in (newest, 0)
            if newest and run(self.broker.read(TENANT, newest - 1, 0)).reachable:
                assert self.broker.newest_of(TENANT, key) == newest


TestMemoryModel = MemoryModel.TestCase
TestMemoryModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
