"""The contract of all brokers across two nodes: one publishes, another reads and delivers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import pytest_twisted
from broker_contract import A, B, BrokerContract, DurableContract, MailContract, SourceContract
from chat_contract import ChatContract, DurableChatContract
from redis_bench import RedisBench
from redis_nodes import Nodes, position_of
from redis_server import RedisServer
from twisted.internet.defer import Deferred

from callcenter_ws.errors import Refusal
from callcenter_ws.events.event import Event
from callcenter_ws.interfaces import Broker, Deliver, Interrupted, PublishResult, ignore_interruption


class TwoNodeBroker:
    """A broker of two nodes: one publishes and follows no tenant, the other does everything else."""

    def __init__(self, writer: Any, reader: Any) -> None:
        self._writer = writer
        self._reader = reader
        self._publishing: set[Deferred[Any]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    async def start(self, deliver: Deliver, interrupted: Interrupted = ignore_interruption) -> None:
        await self._writer.start(lambda messages: None)
        await self._reader.start(deliver, interrupted)

    async def stop(self) -> None:
        await self._writer.stop()
        for publishing in list(self._publishing):
            await publishing
        await self._reader.stop()

    def not_ready(self) -> str | None:
        reason: str | None = self._writer.not_ready() or self._reader.not_ready()
        return reason

    def publish(self, events: Sequence[Event]) -> Deferred[Any]:
        publishing = Deferred.fromCoroutine(self._publish(events))
        self._publishing.add(publishing)
        answer: Deferred[Any] = Deferred()

        def done(outcomes: Any) -> None:
            self._publishing.discard(publishing)
            answer.callback(outcomes)

        publishing.addCallback(done)
        return answer

    async def _publish(self, events: Sequence[Event]) -> Any:
        with suppress(Refusal):
            # When this is answered, Redis has stored the mail marks of the other node.
            await self._reader.redis.send("PING")
        outcomes = await self._writer.publish(events)
        for event, outcome in zip(events, outcomes, strict=True):
            if isinstance(outcome, PublishResult):
                position = await self._reader.position(event.tenant_id, position_of(outcome))
                assert position.epoch == outcome.epoch
                assert position.seq >= outcome.seq
        return outcomes


class TwoNodeBench(RedisBench):
    def make(self, *, history_events: int, history_seconds: float, history_bytes: int = 2**40) -> Broker:
        limits = {
            "history_events": history_events,
            "history_seconds": history_seconds,
            "history_bytes": history_bytes,
        }
        broker: Any = TwoNodeBroker(super().make(**limits), super().make(**limits))
        return broker


@pytest_twisted.async_yield_fixture
async def bench(server: RedisServer, nodes: Nodes) -> AsyncIterator[RedisBench]:
    bench = TwoNodeBench(server.url, nodes.prefix)
    await bench.open()
    yield bench
    await bench.close()


class TestAcrossNodes(BrokerContract, MailContract, SourceContract, DurableContract, ChatContract, DurableChatContract):
    """Passes the contract."""


class TestFollowing:
    """The tenants that a node follows."""

    @pytest_twisted.ensureDeferred
    async def test_only_attached_tenants(self, nodes: Nodes) -> None:
        writer = await nodes.open([])
        reader = await nodes.open([A])
        await writer.publish(writer.event(tenant_id=B), writer.event(), writer.event(tenant_id=B))
        (last,) = await writer.publish(writer.event())
        await reader.broker.position(A, position_of(last))
        assert (reader.seqs(A), reader.seqs(B)) == ([1, 2], [])

    @pytest_twisted.ensureDeferred
    async def test_events_after_the_position_are_delivered_after_a_late_attach(self, nodes: Nodes) -> None:
        writer = await nodes.open([])
        reader = await nodes.open([])
        await writer.publish(*[writer.event() for _ in range(3)])
        reader.broker.attach(A)
        assert (await reader.broker.position(A)).seq == 3
        await writer.publish(*[writer.event() for _ in range(3)])
        await reader.until(lambda: reader.seqs() == [4, 5, 6])

    @pytest_twisted.ensureDeferred
    async def test_a_new_tenant_is_followed_from_its_first_event_on_if_all_tenants_are(self, nodes: Nodes) -> None:
        writer = await nodes.open([])
        await writer.publish(writer.event(tenant_id="old"))
        listener = await nodes.open(["*"])
        await listener.until(lambda: listener.store._followers.get("old"))
        await listener.broker.position("old")
        await writer.publish(writer.event(tenant_id="old"), writer.event(tenant_id="new"))
        await listener.until(lambda: (listener.seqs("old"), listener.seqs("new")) == ([2], [1]))

    @pytest_twisted.ensureDeferred
    async def test_attached_to_all_twice_and_detached_once(self, nodes: Nodes) -> None:
        node = await nodes.open(["*"])
        node.broker.attach("*")
        node.broker.detach("*")
        assert not node.store._followers._discovery.is_running

    @pytest_twisted.ensureDeferred
    async def test_a_tenant_that_has_lost_its_history_is_registered_again(
        self, nodes: Nodes, server: RedisServer
    ) -> None:
        """A node that follows all tenants after a flush finds one that only has a publisher."""
        writer = await nodes.open([])
        await writer.publish(writer.event())
        server.command("FLUSHALL")
        await writer.publish(writer.event())
        await writer.publish(writer.event())
        listener = await nodes.open(["*"])
        await listener.until(lambda: listener.store._followers.get(A))
