"""A model test of exactly-once: a pipelining sender, lost connections, nodes and a store that fail."""

from __future__ import annotations

import json

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sender_model import TENANTS, Fate, Node, Sender

from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.events.publication import Publication
from callcenter_ws.testing import FakeClock, run

FATES: tuple[Fate, ...] = ("stored", "stored", "refused", "unknown", "late")


class ExactlyOnce(RuleBasedStateMachine):
    """Nothing is stored twice, out of order, or after an event that is missing; in the end nothing is missing."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.store = MemoryBroker(self.clock)
        self.delivered: list[Publication] = []
        run(self.store.start(self.delivered.extend))
        self.nodes = [Node(self.store, self.clock) for _ in range(2)]
        self.sender = Sender()
        self.sender.connect(self.nodes[0])

    @rule(tenants=st.lists(st.sampled_from(TENANTS), min_size=1, max_size=5), gap=st.sampled_from([0, 0, 0, 7]))
    def add(self, tenants: list[str], gap: int) -> None:
        for tenant in tenants:
            self.sender.add(tenant, gap=gap)

    @rule(tenant=st.sampled_from(TENANTS))
    def add_invalid(self, tenant: str) -> None:
        self.sender.add(tenant, is_valid=False)

    @rule(size=st.integers(1, 4), new_first=st.booleans())
    def send(self, size: int, new_first: bool) -> None:
        self.sender.send(size, new_first=new_first)

    @rule(node=st.integers(0, 1), tenant=st.sampled_from(TENANTS), size=st.integers(1, 5), fate=st.sampled_from(FATES))
    def call(self, node: int, tenant: str, size: int, fate: Fate) -> None:
        self.nodes[node].broker.call(tenant, size, fate)

    @rule(node=st.integers(0, 1))
    def run_late(self, node: int) -> None:
        self.nodes[node].broker.run_late()

    @rule(node=st.integers(0, 1))
    def connect(self, node: int) -> None:
        self.sender.connect(self.nodes[node])

    @rule(seconds=st.sampled_from([1, 400, 100_000]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    def stored(self, tenant_id: str) -> list[int]:
        found = [one.event for one in self.delivered if one.event.tenant_id == tenant_id]
        assert all(event.source == "pbx1" for event in found)
        return [int(json.loads(event.payload)["message"]) for event in found]

    @invariant()
    def what_is_stored_is_a_prefix_of_what_was_sent(self) -> None:
        for tenant in TENANTS:
            stored = self.stored(tenant)
            assert stored == self.sender.expected(tenant)[: len(stored)]

    @invariant()
    def what_was_answered_is_stored(self) -> None:
        for tenant in TENANTS:
            answered = [number for number in self.sender.expected(tenant) if number in self.sender.answered]
            assert set(answered) <= set(self.stored(tenant))

    def teardown(self) -> None:
        """From now on everything works."""
        for _ in range(4 * len(self.sender.events) + 20):
            self.sender.send(3)
            for node in self.nodes:
                node.broker.run_late()
                for tenant in TENANTS:
                    node.broker.call(tenant, 3, "stored")
        assert self.sender.unanswered == []
        for tenant in TENANTS:
            assert self.stored(tenant) == self.sender.expected(tenant)
        run(self.store.stop())


class TestExactlyOnce(ExactlyOnce.TestCase):  # type: ignore[misc,name-defined]  # hypothesis makes it at run time
    settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.mark.slow
class TestExactlyOnceLonger(ExactlyOnce.TestCase):  # type: ignore[misc,name-defined]  # hypothesis makes it at run time
    settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
