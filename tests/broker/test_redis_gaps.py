"""Events whose announcements were lost, late or too large are delivered from the log."""

from __future__ import annotations

import random

import pytest
import pytest_twisted
from broker_contract import A, MailContract
from redis_nodes import Nodes, position_of, until
from redis_server import RedisServer
from twisted.internet.defer import gatherResults

from callcenter_ws.broker.redis import follower, pending_mail, publisher
from callcenter_ws.errors import Refusal
from callcenter_ws.interfaces import Position
from callcenter_ws.redis.keys import Keys


@pytest_twisted.ensureDeferred
async def test_a_node_without_announcements_catches_up_in_order(nodes: Nodes) -> None:
    writer, reader = await nodes.open([], history_events=10_000), await nodes.open(history_events=10_000)
    await writer.publish(writer.event())
    unblock = reader.block_announcements()
    for _ in range(40):
        await writer.publish(*[writer.event() for _ in range(100)])
    assert reader.broker.not_ready() is not None
    unblock()
    await until(lambda: len(reader.delivered) == 4_001)
    await writer.publish(writer.event())
    await until(lambda: len(reader.delivered) > 4_001)
    assert reader.seqs() == list(range(1, 4_003))
    assert reader.interruptions == []


@pytest_twisted.ensureDeferred
async def test_the_subscriber_connection_is_lost_repeatedly(nodes: Nodes, server: RedisServer) -> None:
    writers = [await nodes.open([]), await nodes.open()]
    reader = await nodes.open()
    for number in range(60):
        await gatherResults([writer.broker.publish([writer.event() for _ in range(5)]) for writer in writers])
        if number % 3 == 0:
            server.command("CLIENT", "KILL", "TYPE", "pubsub")
    for node in (reader, writers[1]):
        await until(lambda node=node: len(node.delivered) >= 600)
        assert node.seqs() == list(range(1, 601))
    assert reader.ids() == writers[1].ids()


@pytest_twisted.ensureDeferred
async def test_large_events_are_announced_without_their_lines(nodes: Nodes) -> None:
    writer, reader = await nodes.open([]), await nodes.open()
    large = {"title": "t", "message": "m" * 40_000}
    for _ in range(3):
        await writer.publish(*[writer.event("alert", large) for _ in range(5)], writer.event())
    await until(lambda: len(reader.delivered) == 18)
    assert reader.seqs() == list(range(1, 19))


@pytest_twisted.ensureDeferred
async def test_a_lost_announcement_is_noticed_with_the_next(nodes: Nodes, server: RedisServer) -> None:
    writer, reader = await nodes.open([]), await nodes.open()
    channel = Keys(nodes.prefix, 0).channel(A)
    lost: list[bytes] = []
    announced = reader.store.redis._on_message
    reader.store.redis._on_message = lambda name, data: lost.append(data)  # type: ignore[method-assign]
    await writer.publish(writer.event(), writer.event())
    await until(lambda: lost)
    reader.store.redis._on_message = announced  # type: ignore[method-assign]
    await writer.publish(writer.event())
    await until(lambda: reader.seqs() == [1, 2, 3])
    # Announcements that are late, duplicates, or not of a gateway have no effect.
    epoch = reader.epoch().encode()
    for data in (*lost, b"", b"rubbish", b"a\nb\nc\nd", epoch + b"\n9\n9\n{not a line"):
        announced(channel, data)
    await writer.publish(writer.event())
    await until(lambda: len(reader.delivered) >= 4)
    assert reader.seqs() == [1, 2, 3, 4]
    assert reader.interruptions == []


@pytest_twisted.ensureDeferred
async def test_more_was_missed_than_the_log_holds(nodes: Nodes) -> None:
    writer = await nodes.open([], history_events=5)
    reader = await nodes.open(history_events=5)
    (first,) = await writer.publish(writer.event())
    await reader.broker.position(A, position_of(first))
    unblock = reader.block_announcements()
    for _ in range(5):
        await writer.publish(*[writer.event() for _ in range(200)])
    unblock()
    await until(lambda: reader.interruptions)
    await writer.publish(writer.event())
    await until(lambda: reader.seqs()[-1] == 1_002)
    assert reader.interruptions == [(A, Position(first.epoch, 1_001))]
    assert reader.seqs() == [1, 1_002]
    assert (await reader.broker.position(A)) == Position(first.epoch, 1_002)


@pytest_twisted.ensureDeferred
async def test_mail_in_events_that_were_skipped_is_found(nodes: Nodes) -> None:
    writer = await nodes.open([], history_events=5)
    reader = await nodes.open(history_events=5)
    assert await MailContract.waiting(reader) == []
    unblock = reader.block_announcements()
    await MailContract.notify(writer, "letter")
    for _ in range(5):
        await writer.publish(*[writer.event() for _ in range(200)])
    unblock()
    await until(lambda: reader.interruptions)
    assert await MailContract.waiting(reader) == ["letter"]


@pytest_twisted.ensureDeferred
async def test_several_nodes_publish_at_once_and_all_deliver_the_same(nodes: Nodes) -> None:
    all_nodes = [await nodes.open() for _ in range(3)]
    source = random.Random(5)
    calls = []
    for _ in range(60):
        node = source.choice(all_nodes)
        calls.append(node.broker.publish([node.event() for _ in range(source.randint(1, 9))]))
    total = sum(len(outcomes) for outcomes in await gatherResults(calls))
    for node in all_nodes:
        await until(lambda node=node: len(node.delivered) >= total)
        assert node.seqs() == list(range(1, total + 1))
        assert node.ids() == all_nodes[0].ids()


class TestLimits:
    """The memory of a node is limited."""

    @pytest_twisted.ensureDeferred
    async def test_a_state_beyond_the_memory_limit_is_returned(self, nodes: Nodes) -> None:
        node = await nodes.open(memory_bytes=1)
        await node.publish(node.event("agent.login", {"user_id": "7", "username": "n"}))
        for _ in range(3):
            assert await node.state() == [1]
        assert node.store._followers.bytes == 0

    @pytest_twisted.ensureDeferred
    async def test_users_with_mail_are_remembered_up_to_a_limit(
        self, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(follower, "MAX_MAIL_USERS", 3)
        node = await nodes.open()
        for user in "12345":
            await MailContract.notify(node, f"for {user}", user_id=user)
        tracked = node.store._followers.get(A)
        assert tracked is not None
        assert tracked.mail_users is None
        assert await MailContract.waiting(node, "5") == ["for 5"]

    @pytest_twisted.ensureDeferred
    async def test_last_published_events_are_limited(self, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(publisher, "MAX_LAST_EVENTS", 3)
        node = await nodes.open([])
        await node.publish(*[node.event(tenant_id=f"t{number}") for number in range(9)])
        assert len(node.store._publisher._last_published) == 3
        assert node.store._publisher.waiting_events == 0
        await until(lambda: not node.store._publisher._publishing)

    def test_pending_marks_are_limited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pending_mail, "MAX_MARKS", 10)

        def never(*arguments: object) -> None:
            raise AssertionError

        waiting = pending_mail.PendingMailWrites(never, never, never, lambda: False)  # type: ignore[arg-type]
        for number in range(100):
            waiting.add(A, str(number), "acknowledged", ["a", "b", "a"])
        assert sum(map(len, waiting._pending.values())) <= 10
        assert (A, "99", "acknowledged") in waiting._pending


@pytest_twisted.ensureDeferred
async def test_requests_to_a_stopped_follower_are_refused(nodes: Nodes) -> None:
    node = await nodes.open()
    tracked = node.store._followers.get(A)
    assert tracked is not None
    await node.broker.stop()
    with pytest.raises(Refusal):
        await tracked.wait_for(99)
    with pytest.raises(Refusal):
        await tracked.confirm_history()
