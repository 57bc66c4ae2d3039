"""Announcements are hints, the log is the truth: what was not announced is delivered all the same."""

from __future__ import annotations

import random

import pytest
import pytest_twisted
from broker_contract import A, MailContract
from redis_nodes import Nodes, position_of, until
from redis_server import RedisServer
from twisted.internet.defer import gatherResults

from callcenter_ws.broker.redis import follower, publisher
from callcenter_ws.broker.redis import pending_mail as notes
from callcenter_ws.errors import Refusal
from callcenter_ws.interfaces import Position
from callcenter_ws.redis.keys import Keys


@pytest_twisted.ensureDeferred
async def test_a_node_that_was_deaf_catches_up_in_order(nodes: Nodes) -> None:
    writer, reader = await nodes.open([], history_events=10_000), await nodes.open(history_events=10_000)
    await writer.publish(writer.event())
    unplug = reader.plug_ears()
    for _ in range(40):
        await writer.publish(*[writer.event() for _ in range(100)])
    assert reader.broker.not_ready() is not None
    unplug()
    await until(lambda: len(reader.delivered) == 4_001)
    await writer.publish(writer.event())
    await until(lambda: len(reader.delivered) > 4_001)
    assert reader.seqs() == list(range(1, 4_003))
    assert reader.interruptions == []


@pytest_twisted.ensureDeferred
async def test_connections_for_announcements_break_again_and_again(nodes: Nodes, server: RedisServer) -> None:
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
async def test_what_is_too_large_is_announced_without_the_events(nodes: Nodes) -> None:
    writer, reader = await nodes.open([]), await nodes.open()
    large = {"title": "t", "message": "m" * 40_000}
    for _ in range(3):
        await writer.publish(*[writer.event("alert", large) for _ in range(5)], writer.event())
    await until(lambda: len(reader.delivered) == 18)
    assert reader.seqs() == list(range(1, 19))


@pytest_twisted.ensureDeferred
async def test_an_announcement_that_is_lost_is_noticed_with_the_next(nodes: Nodes, server: RedisServer) -> None:
    writer, reader = await nodes.open([]), await nodes.open()
    channel = Keys(nodes.prefix, 0).channel(A)
    lost: list[bytes] = []
    announced = reader.store.redis._announced
    reader.store.redis._announced = lambda name, data: lost.append(data)  # type: ignore[method-assign]
    await writer.publish(writer.event(), writer.event())
    await until(lambda: lost)
    reader.store.redis._announced = announced  # type: ignore[method-assign]
    await writer.publish(writer.event())
    await until(lambda: reader.seqs() == [1, 2, 3])
    # What comes late, twice, or from somebody else changes nothing.
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
    unplug = reader.plug_ears()
    for _ in range(5):
        await writer.publish(*[writer.event() for _ in range(200)])
    unplug()
    await until(lambda: reader.interruptions)
    await writer.publish(writer.event())
    await until(lambda: reader.seqs()[-1] == 1_002)
    assert reader.interruptions == [(A, Position(first.epoch, 1_001))]
    assert reader.seqs() == [1, 1_002]
    assert (await reader.broker.position(A)) == Position(first.epoch, 1_002)


@pytest_twisted.ensureDeferred
async def test_mail_that_came_in_what_was_missed_is_found(nodes: Nodes) -> None:
    writer = await nodes.open([], history_events=5)
    reader = await nodes.open(history_events=5)
    assert await MailContract.waiting(reader) == []
    unplug = reader.plug_ears()
    await MailContract.notify(writer, "letter")
    for _ in range(5):
        await writer.publish(*[writer.event() for _ in range(200)])
    unplug()
    await until(lambda: reader.interruptions)
    assert await MailContract.waiting(reader) == ["letter"]


@pytest_twisted.ensureDeferred
async def test_several_nodes_publish_at_once_and_all_see_the_same(nodes: Nodes) -> None:
    everyone = [await nodes.open() for _ in range(3)]
    source = random.Random(5)
    calls = []
    for _ in range(60):
        node = source.choice(everyone)
        calls.append(node.broker.publish([node.event() for _ in range(source.randint(1, 9))]))
    total = sum(len(outcomes) for outcomes in await gatherResults(calls))
    for node in everyone:
        await until(lambda node=node: len(node.delivered) >= total)
        assert node.seqs() == list(range(1, total + 1))
        assert node.ids() == everyone[0].ids()


class TestMemory:
    """What a node holds is bounded."""

    @pytest_twisted.ensureDeferred
    async def test_a_state_that_memory_has_no_room_for_is_told(self, nodes: Nodes) -> None:
        node = await nodes.open(memory_bytes=1)
        await node.publish(node.event("agent.login", {"user_id": "7", "username": "n"}))
        for _ in range(3):
            assert await node.state() == [1]
        assert node.store._following.bytes == 0

    @pytest_twisted.ensureDeferred
    async def test_who_may_have_mail_is_known_of_so_many(self, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(follower, "MAX_MAIL_USERS", 3)
        node = await nodes.open()
        for user in "12345":
            await MailContract.notify(node, f"for {user}", user_id=user)
        tracked = node.store._following.get(A)
        assert tracked is not None
        assert tracked.mail_users is None
        assert await MailContract.waiting(node, "5") == ["for 5"]

    @pytest_twisted.ensureDeferred
    async def test_what_waits_is_bounded(self, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(publisher, "MAX_KNOWN", 3)
        node = await nodes.open([])
        await node.publish(*[node.event(tenant_id=f"t{number}") for number in range(9)])
        assert len(node.store._publisher._known) == 3
        assert node.store._publisher.waiting_events == 0
        await until(lambda: not node.store._publisher._queues)

    def test_notes_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(notes, "MAX_NOTES", 10)

        def never(*arguments: object) -> None:
            raise AssertionError

        waiting = notes.PendingMailWrites(never, never, never, lambda: False)  # type: ignore[arg-type]
        for number in range(100):
            waiting.note(A, str(number), "taken", ["a", "b", "a"])
        assert sum(map(len, waiting._waiting.values())) <= 10
        assert (A, "99", "taken") in waiting._waiting


@pytest_twisted.ensureDeferred
async def test_whoever_waits_is_told_when_nobody_follows_any_more(nodes: Nodes) -> None:
    node = await nodes.open()
    tracked = node.store._following.get(A)
    assert tracked is not None
    await node.broker.stop()
    with pytest.raises(Refusal):
        await tracked.reaches(99)
    with pytest.raises(Refusal):
        await tracked.settles()
