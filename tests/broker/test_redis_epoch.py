"""A history that Redis has lost, whole or in part, is another one: nobody goes on in it as if nothing had happened."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_twisted
from broker_contract import A, MailContract, payload_of, shown
from redis_nodes import Ledger, Node, Nodes, Switch, position_of, until
from redis_server import RedisServer

from callcenter_ws.interfaces import Position
from callcenter_ws.redis.keys import Keys

pytestmark = pytest.mark.logs_errors


async def publish_some(node: Node, count: int) -> Position:
    """Publish events; the position of the last."""
    return position_of((await node.publish(*[node.event() for _ in range(count)]))[-1])


class TestFlush:
    """Everything is gone."""

    @pytest_twisted.ensureDeferred
    async def test_another_epoch_begins(self, own_nodes: Nodes, own_server: RedisServer) -> None:
        publishing, watching = await own_nodes.open(), await own_nodes.open()
        before = await publish_some(publishing, 5)
        await until(lambda: len(watching.delivered) == 5)
        own_server.command("FLUSHALL")
        after = await publish_some(publishing, 2)
        assert after.epoch != before.epoch
        for node in (publishing, watching):
            await until(lambda node=node: len(node.delivered) == 7)
            assert node.seqs() == [1, 2, 3, 4, 5, 1, 2]
            assert node.interrupted_at() == [Position(after.epoch, 0)]
        assert await watching.broker.position(A, before) == after

    @pytest_twisted.ensureDeferred
    async def test_a_node_that_only_watches_finds_out(self, own_nodes: Nodes, own_server: RedisServer) -> None:
        watching = await own_nodes.open()
        before = await publish_some(watching, 5)
        own_server.command("FLUSHALL")
        position = await watching.broker.position(A, Position(before.epoch, 7))
        assert position.epoch != before.epoch
        assert position.seq == 0
        assert watching.interrupted_at() == [position]
        assert (await watching.broker.snapshot(A)).epoch == position.epoch

    @pytest_twisted.ensureDeferred
    async def test_a_position_is_never_of_one_epoch_and_of_another_ones_length(
        self, own_nodes: Nodes, own_server: RedisServer
    ) -> None:
        publishing, watching = await own_nodes.open([]), await own_nodes.open()
        before = await publish_some(publishing, 50)
        await watching.broker.position(A, before)
        unplug = watching.plug_ears()
        own_server.command("FLUSHALL")
        after = await publish_some(publishing, 3)
        assert await watching.broker.position(A, after) == after
        unplug()

    @pytest_twisted.ensureDeferred
    async def test_somebody_deletes_what_tells_the_epoch(self, own_nodes: Nodes, own_server: RedisServer) -> None:
        node = await own_nodes.open()
        await MailContract.notify(node, "letter")
        before = await publish_some(node, 4)
        await node.publish(node.event("agent.login", payload_of("agent.login"), event_id="x"))
        own_server.command("DEL", Keys(own_nodes.prefix, 0).meta(A))
        (again,) = await node.publish(node.event(event_id="x"))
        assert (again.seq, again.duplicate) == (1, False)
        assert again.epoch != before.epoch
        await until(lambda: len(node.delivered) == 7)
        assert await node.state() == []
        assert await MailContract.waiting(node) == []
        assert shown((await node.broker.read(A, 0, 10)).publications) == [1]


class TestRestart:
    """Redis ends and begins again."""

    @pytest_twisted.ensureDeferred
    async def test_with_a_file_of_all_commands_the_epoch_stays(self, own_nodes: Nodes, own_server: RedisServer) -> None:
        node, other = await own_nodes.open(), await own_nodes.open()
        before = await publish_some(node, 5)
        await until(lambda: len(other.delivered) == 5)
        own_server.kill()
        await until(lambda: other.broker.not_ready() and node.broker.not_ready())
        own_server.start()
        (published, *_) = await node.publish_somehow(node.event(), node.event())
        assert position_of(published) == Position(before.epoch, 6)
        for one in (node, other):
            await until(lambda one=one: len(one.delivered) == 7)
            assert one.seqs() == list(range(1, 8))
            assert one.interruptions == []

    @pytest_twisted.ensureDeferred
    async def test_a_node_that_begins_later_is_told_the_same_epoch(
        self, own_nodes: Nodes, own_server: RedisServer
    ) -> None:
        node = await own_nodes.open()
        before = await publish_some(node, 5)
        await node.broker.stop()
        own_server.kill()
        own_server.start()
        assert await (await own_nodes.open([])).broker.position(A) == before

    @pytest_twisted.ensureDeferred
    async def test_without_any_file_another_begins(self, forgetful: tuple[Nodes, RedisServer]) -> None:
        nodes, server = forgetful
        node = await nodes.open()
        before = await publish_some(node, 5)
        server.kill()
        await until(node.broker.not_ready)
        server.start()
        (published,) = await node.publish_somehow(node.event())
        assert published.epoch != before.epoch
        assert published.seq == 1
        await until(lambda: node.seqs() == [1, 2, 3, 4, 5, 1])
        assert node.interrupted_at() == [Position(published.epoch, 0)]

    @pytest_twisted.ensureDeferred
    async def test_what_an_older_copy_holds_is_still_good(self, forgetful: tuple[Nodes, RedisServer]) -> None:
        nodes, server = forgetful
        node, other = await nodes.open(), await nodes.open([])
        kept = await publish_some(node, 5)
        assert server.command("SAVE") == b"+OK\r\n"
        await publish_some(node, 3)
        server.kill()
        await until(lambda: node.broker.not_ready() and other.broker.not_ready())
        server.start()
        (published,) = await other.publish_somehow(other.event())
        assert published.epoch != kept.epoch
        assert published.seq == 6
        await until(lambda: len(node.delivered) == 9)
        assert node.seqs() == [1, 2, 3, 4, 5, 6, 7, 8, 6]
        assert node.interrupted_at() == [Position(published.epoch, 5)]
        for one in (node, other):
            assert (await one.broker.position(A, kept)).epoch == kept.epoch
            lost = Position(kept.epoch, 6)
            assert (await one.broker.position(A, lost)).epoch == published.epoch


@pytest_twisted.async_yield_fixture
async def forgetful() -> AsyncIterator[tuple[Nodes, RedisServer]]:
    """A Redis that writes nothing of its own accord, and nodes."""
    server = RedisServer(appendonly="no")
    server.start()
    nodes = Nodes(server.url, "forgetful")
    yield nodes, server
    await nodes.close()
    server.stop()


@pytest.fixture
def replica(own_server: RedisServer) -> Iterator[RedisServer]:
    """A Redis that follows the test's own."""
    own_server.command("CONFIG", "SET", "repl-diskless-sync-delay", "0")
    replica = RedisServer(**{"repl-diskless-sync-delay": "0"})
    replica.start()
    replica.command("REPLICAOF", "127.0.0.1", str(own_server.port))
    yield replica
    replica.stop()


@pytest_twisted.async_yield_fixture
async def switch(own_server: RedisServer) -> AsyncIterator[Switch]:
    switch = Switch(own_server.port)
    yield switch
    await switch.close()


@pytest_twisted.async_yield_fixture
async def moving(switch: Switch) -> AsyncIterator[Nodes]:
    """Nodes that reach Redis by way of the switch."""
    nodes = Nodes(switch.url, "moving")
    yield nodes
    await nodes.close()


async def until_it_has_all(master: RedisServer, replica: RedisServer) -> None:
    def has_all() -> bool:
        there = b"master_link_status:up" in replica.command("INFO", "replication")
        return there and offset(master) == offset(replica)

    await until(has_all)


def offset(server: RedisServer) -> bytes:
    """How much of what a master ever wrote it has."""
    found = re.search(rb"master_repl_offset:(\d+)", server.command("INFO", "replication"))
    assert found
    return found[1]


class TestFailover:
    """A replica that lags takes its master's place."""

    @pytest.mark.parametrize("who_is_first", ["one that knows most", "one that knows less", "one that knows nothing"])
    @pytest_twisted.ensureDeferred
    async def test_what_the_replica_has_is_still_good(
        self, moving: Nodes, switch: Switch, own_server: RedisServer, replica: RedisServer, who_is_first: str
    ) -> None:
        ahead, behind, ignorant = await moving.open(), await moving.open(), await moving.open([])
        await until_it_has_all(own_server, replica)
        kept = await publish_some(ahead, 3)
        await until(lambda: len(behind.delivered) == 3)
        await until_it_has_all(own_server, replica)
        replica.command("REPLICAOF", "NO", "ONE")
        behind.plug_ears()
        lost = await publish_some(ahead, 2)
        assert lost.seq == 5

        first = {"one that knows most": ahead, "one that knows less": behind}.get(who_is_first, ignorant)
        late = [node for node in (ahead, behind, ignorant) if node is not first]
        kept_away = [node.store.redis for node in late]
        for redis in kept_away:
            redis._lifelines[0]._endpoint._address, redis.saved = _nowhere(), redis._address  # type: ignore[attr-defined]
        switch.to(replica.port)
        own_server.kill()
        (published,) = await first.publish_somehow(first.event())
        assert published.seq == 4
        assert published.epoch != kept.epoch
        for redis in kept_away:
            redis._lifelines[0]._endpoint._address = redis.saved  # type: ignore[attr-defined]
        await until(lambda: len(ahead.delivered) == 6)
        assert ahead.seqs() == [1, 2, 3, 4, 5, 4]
        assert ahead.interrupted_at() == [Position(published.epoch, 3)]
        await until(lambda: len(behind.delivered) == 4)
        # It was only told what is still true.
        assert behind.seqs() == [1, 2, 3, 4]
        assert behind.interruptions == []
        for node in (ahead, behind, ignorant):
            await until(lambda node=node: node.store.redis.is_connected)
            assert (await node.broker.position(A, kept)) == Position(kept.epoch, 4)
            assert (await node.broker.position(A, lost)) == Position(published.epoch, 4)

    @pytest_twisted.ensureDeferred
    async def test_a_replica_that_has_everything(
        self, moving: Nodes, switch: Switch, own_server: RedisServer, replica: RedisServer
    ) -> None:
        node = await moving.open()
        await until_it_has_all(own_server, replica)
        kept = await publish_some(node, 3)
        await until_it_has_all(own_server, replica)
        replica.command("REPLICAOF", "NO", "ONE")
        switch.to(replica.port)
        (published,) = await node.publish_somehow(node.event())
        assert published.seq == 4
        await until(lambda: node.seqs() == [1, 2, 3, 4])
        assert node.interruptions == []
        assert (await node.broker.position(A, kept)).epoch == kept.epoch

    @pytest_twisted.ensureDeferred
    async def test_several_in_a_row(
        self, moving: Nodes, switch: Switch, own_server: RedisServer, replica: RedisServer
    ) -> None:
        node = await moving.open()
        known = []
        servers = [own_server, replica]
        for _ in range(4):
            known.append(await publish_some(node, 2))
            await until_it_has_all(*servers)
            servers.reverse()
            servers[0].command("REPLICAOF", "NO", "ONE")
            servers[1].command("REPLICAOF", "127.0.0.1", str(servers[0].port))
            switch.to(servers[0].port)
            await node.publish_somehow(node.event())
        assert node.seqs() == list(range(1, 13))
        for position in known:
            assert (await node.broker.position(A, position)).epoch == position.epoch


def _nowhere() -> object:
    from callcenter_ws.redis.address import redis_address

    return redis_address("unix:/nowhere")


class TestDoubt:
    """What a node knows is held against what Redis has."""

    @pytest_twisted.ensureDeferred
    async def test_another_event_stands_where_a_known_one_was(self, own_nodes: Nodes, own_server: RedisServer) -> None:
        """An append-only file that lost its end, and a node that went on in it before others had a say."""
        keys = Keys(own_nodes.prefix, 0)
        node = await own_nodes.open()
        await publish_some(node, 3)
        for name in ("meta", "log"):
            own_server.command("COPY", keys.of(A, name), f"saved {name}")
        before = await publish_some(node, 2)
        for name in ("meta", "log"):
            own_server.command("COPY", f"saved {name}", keys.of(A, name), "REPLACE")
        other = await own_nodes.open([])
        other.ledger = Ledger()
        assert await publish_some(other, 2) == before
        (published,) = await node.publish(node.event())
        assert published.epoch != before.epoch
        assert published.seq == 6
        await until(lambda: node.seqs()[-1] == 6)
        assert node.interrupted_at() == [Position(published.epoch, 5)]
        assert (await node.broker.position(A, before)).epoch == published.epoch

    @pytest_twisted.ensureDeferred
    async def test_nodes_that_know_redis_by_different_names(self, forgetful: tuple[Nodes, RedisServer]) -> None:
        """One connected before Redis took another name: they do not take turns at beginning an epoch."""
        nodes, server = forgetful
        early = await nodes.open()
        before = await publish_some(early, 1)
        server.command("REPLICAOF", "127.0.0.1", "1")
        server.command("REPLICAOF", "NO", "ONE")
        late = await nodes.open()
        told = [await publish_some(node, 1) for node in (late, early) * 3]
        assert len({position.epoch for position in told}) == 1
        assert [position.seq for position in told] == [2, 3, 4, 5, 6, 7]
        await until(lambda: early.seqs() == list(range(1, 8)))
        assert early.interruptions == []
        assert (await early.broker.position(A, before)).epoch == before.epoch
