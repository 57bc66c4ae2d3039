"""The broker that keeps everything in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from broker_contract import A, B, Bench, BrokerContract, CountersContract, MailContract, SourceContract, payload_of
from chat_contract import ChatContract
from command_store_contract import CommandContract
from figure_store_contract import ConditionContract, FigureContract, HoldContract
from reconciliation_contract import ReconciliationContract

from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Broker


class MemoryBench(Bench):
    """A MemoryBroker with a fake clock."""

    memory_bytes = 268_435_456

    def make(self, *, history_events: int, history_seconds: float, history_bytes: int = 2**40) -> Broker:
        return MemoryBroker(
            self.clock,
            memory_events=history_events,
            history_seconds=history_seconds,
            memory_bytes=self.memory_bytes,
            history_bytes=history_bytes,
            **self.unfolded,
        )


@pytest_twisted.async_yield_fixture
async def bench() -> AsyncIterator[MemoryBench]:
    bench = MemoryBench()
    await bench.open()
    yield bench
    await bench.close()


class TestMemoryBroker(
    BrokerContract,
    MailContract,
    CountersContract,
    SourceContract,
    ChatContract,
    ReconciliationContract,
    FigureContract,
    ConditionContract,
    HoldContract,
    CommandContract,
):
    """The tests of every broker."""


class TestMemory:
    """The limit of bytes over all tenants: memory of tenants without clients is freed first."""

    async def open(self, bench: MemoryBench, events: int) -> MemoryBroker:
        """Start a store with memory for so many alerts."""
        bench.memory_bytes = events * Publication(bench.event(), 1).memory
        broker = await bench.open()
        assert isinstance(broker, MemoryBroker)
        return broker

    async def history_length(self, bench: MemoryBench, tenant_id: str) -> int:
        """Return the number of publications in the history of a tenant."""
        head = (await bench.broker.position(tenant_id)).seq
        for after in range(head + 1):
            if (await bench.broker.read(tenant_id, after, 0)).reachable:
                return head - after
        raise AssertionError("the head is not reachable")

    @pytest_twisted.ensureDeferred
    async def test_the_history_of_a_tenant_is_limited_by_bytes(self, bench: MemoryBench) -> None:
        await bench.open(history_bytes=2_097_152)
        large = {"title": "t", "message": "x" * 100_000}
        for _ in range(10):
            await bench.publish(*[bench.event("alert", large) for _ in range(5)])
        await bench.alerts(4, B)
        assert not (await bench.broker.read(A, 40, 0)).reachable
        assert [found.seq for found in (await bench.broker.read(A, 44, 10)).publications] == [45, 46, 47, 48, 49, 50]
        assert (await bench.broker.read(B, 0, 1)).reachable

    @pytest_twisted.ensureDeferred
    async def test_below_the_limit_everything_is_kept(self, bench: MemoryBench) -> None:
        broker = await self.open(bench, 100)
        await bench.alerts(60)
        await bench.alerts(40, B)
        assert (await self.history_length(bench, A), await self.history_length(bench, B)) == (60, 40)
        assert broker.state()["memory_bytes"] == bench.memory_bytes

    @pytest_twisted.ensureDeferred
    async def test_histories_of_tenants_without_clients_are_trimmed_first(self, bench: MemoryBench) -> None:
        broker = await self.open(bench, 100)
        broker.attach(A)
        await bench.alerts(40, B)
        await bench.alerts(80)
        assert await self.history_length(bench, A) == 80
        assert await self.history_length(bench, B) <= 20
        assert broker.state()["memory_bytes"] <= bench.memory_bytes

    @pytest_twisted.ensureDeferred
    async def test_then_the_histories_of_the_others(self, bench: MemoryBench) -> None:
        broker = await self.open(bench, 100)
        broker.attach(A)
        broker.attach(B)
        await bench.alerts(30, B)
        await bench.alerts(150)
        assert await self.history_length(bench, B) == 30
        assert 0 < await self.history_length(bench, A) <= 70
        assert broker.state()["memory_bytes"] <= bench.memory_bytes

    @pytest_twisted.ensureDeferred
    async def test_a_tenant_is_without_clients_after_detach(self, bench: MemoryBench) -> None:
        broker = await self.open(bench, 100)
        broker.attach(A)
        broker.attach(B)
        await bench.alerts(50, B)
        broker.detach(B)
        await bench.alerts(100)
        assert (await self.history_length(bench, A), await self.history_length(bench, B)) == (100, 0)

    @pytest_twisted.ensureDeferred
    async def test_the_state_is_kept_while_trimming_histories_suffices(self, bench: MemoryBench) -> None:
        await self.open(bench, 10)
        await bench.publish(bench.event("agent.login", payload_of("agent.login")))
        await bench.alerts(100)
        assert await bench.state() == [1]

    @pytest_twisted.ensureDeferred
    async def test_the_state_of_calls_without_an_end_is_limited(self, bench: MemoryBench) -> None:
        """Their payloads stay in the state after the history was trimmed."""
        bench.memory_bytes = 100_000_000
        broker = await bench.open(history_events=10)
        log = "x" * 400_000
        for number in range(1_500):
            call = payload_of("call.incoming", unique_id=str(number), call_id=None, log=log)
            await bench.publish(bench.event("call.incoming", call))
            bench.delivered.clear()
            assert broker.state()["memory_bytes"] <= bench.memory_bytes
        kept = await bench.state()
        assert sum(message.memory for message in (await broker.snapshot(A)).publications) <= bench.memory_bytes
        assert kept == list(range(1_501 - len(kept), 1_501))
        assert len(kept) > 20

    @pytest_twisted.ensureDeferred
    async def test_then_the_states_of_tenants_without_clients(self, bench: MemoryBench) -> None:
        login = Publication(bench.event("agent.login", payload_of("agent.login", user_id="00")), 1).memory
        bench.memory_bytes = 50 * login
        broker = await bench.open()
        broker.attach(A)
        for tenant, count in ((B, 20), (A, 45)):
            for number in range(count):
                payload = payload_of("agent.login", user_id=f"{number:02}")
                await bench.publish(bench.event("agent.login", payload, tenant_id=tenant))
        assert len(await bench.state()) == 45
        assert 0 < len(await bench.state(B)) <= 5

    @pytest_twisted.ensureDeferred
    async def test_without_memory_everything_is_still_delivered(self, bench: MemoryBench) -> None:
        await self.open(bench, 0)
        assert await bench.alerts(3) == [1, 2, 3]
        assert bench.seqs() == [1, 2, 3]
        assert await self.history_length(bench, A) == 0
        assert await bench.alerts(1) == [4]

    @pytest_twisted.ensureDeferred
    async def test_the_counted_bytes_follow_expiry(self, bench: MemoryBench) -> None:
        broker = await self.open(bench, 1_000)
        await bench.alerts(50)
        await bench.alerts(50, B)
        await bench.publish(bench.event("agent.login", payload_of("agent.login")))
        for _ in range(25):
            bench.clock.advance(3600)
        assert (await self.history_length(bench, A), await self.history_length(bench, B)) == (0, 0)
        assert broker.state()["memory_bytes"] == 0


class TestStartAndStop:
    @pytest_twisted.ensureDeferred
    async def test_each_store_has_an_epoch_of_its_own(self, bench: MemoryBench) -> None:
        before = (await bench.broker.position(A)).epoch
        await bench.open()
        assert (await bench.broker.position(A)).epoch != before

    @pytest_twisted.ensureDeferred
    async def test_a_stopped_store_has_no_timers(self, bench: MemoryBench) -> None:
        await bench.broker.stop()
        assert all(timer.cancelled for _, _, timer in bench.clock._due)
        await bench.broker.stop()

    def test_not_ready_before_the_start(self) -> None:
        assert MemoryBench().make(history_events=1, history_seconds=1).not_ready() == "the store is closed"


@pytest.mark.parametrize("name", ["kind", "ready", "epoch", "tenants", "memory_bytes"])
def test_the_statistics(name: str) -> None:
    assert name in MemoryBench().make(history_events=1, history_seconds=1).state()
