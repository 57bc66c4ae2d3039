"""When Redis has lost history, whole or in part, a new epoch begins, and nodes and clients notice that."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_twisted
from broker_contract import A, MailContract, payload_of, positions
from redis_nodes import Ledger, Node, Nodes, SwitchableProxy, position_of, until
from redis_server import RedisServer

from callcenter_ws.interfaces import Position
from callcenter_ws.redis.keys import Keys

pytestmark = pytest.mark.logs_errors


async def publish_events(node: Node, count: int) -> Position:
    """Publish events; return the position of the last."""
    return position_of((await node.publish(*[node.event() for _ in range(count)]))[-1])


class TestFlush:
    """Redis was flushed."""

    @pytest_twisted.ensureDeferred
    async def test_another_epoch_begins(self, own_nodes: Nodes, own_server: RedisServer) -> None:
        publishing, following = await own_nodes.open(), await own_nodes.open()
        before = await publish_events(publishing, 5)
        await until(lambda: len(following.delivered) == 5)
        own_server.command("FLUSHALL")
        after = await publish_events(publishing, 2)
        assert after.epoch != before.epoch
        for node in (publishing, following):
            await until(lambda node=node: len(node.delivered) == 7)
            assert node.seqs() == [1, 2, 3, 4, 5, 1, 2]
            assert node.interrupted_at() == [Position(after.epoch, 0)]
        assert await following.broker.position(A, before) == after

    @pytest_twisted.ensureDeferred
    async def test_a_node_that_only_follows_notices(self, own_nodes: Nodes, own_server: RedisServer) -> None:
        following = await own_nodes.open()
        before = await publish_events(following, 5)
        own_server.command("FLUSHALL")
        position = await following.broker.position(A, Position(before.epoch, 7))
        assert position.epoch != before.epoch
        assert position.seq == 0
        assert following.interrupted_at() == [position]
        assert (await following.broker.snapshot(A)).epoch == position.epoch

    @pytest_twisted.ensureDeferred
    async def test_a_position_never_has_the_epoch_of_one_history_and_the_seq_of_another(
        self, own_nodes: Nodes, own_server: RedisServer
    ) -> None:
        publishing, following = await own_nodes.open([]), await own_nodes.open()
        before = await publish_events(publishing, 50)
        await following.broker.position(A, before)
        unblock = following.block_announcements()
        own_server.command("FLUSHALL")
        after = await publish_events(publishing, 3)
        assert await following.broker.position(A, after) == after
        unblock()

    @pytest_twisted.ensureDeferred
    async def test_the_key_of_the_epoch_was_deleted(self, own_nodes: Nodes, own_server: RedisServer) -> None:
        node = await own_nodes.open()
        await MailContract.notify(node, "letter")
        before = await publish_events(node, 4)
        await node.publish(node.event("agent.login", payload_of("agent.login"), event_id="x"))
        own_server.command("DEL", Keys(own_nodes.prefix, 0).meta(A))
        (again,) = await node.publish(node.event(event_id="x"))
        assert (again.seq, again.duplicate) == (1, False)
        assert again.epoch != before.epoch
        await until(lambda: len(node.delivered) == 7)
        assert await node.state() == []
        assert await MailContract.waiting(node) == []
        assert positions((await node.broker.read(A, 0, 10)).publications) == [1]


class TestRestart:
    """Redis was restarted."""

    @pytest_twisted.ensureDeferred
    async def test_with_an_append_only_file_the_epoch_stays(self, own_nodes: Nodes, own_server: RedisServer) -> None:
        node, other = await own_nodes.open(), await own_nodes.open()
        before = await publish_events(node, 5)
        await until(lambda: len(other.delivered) == 5)
        own_server.kill()
        await until(lambda: other.broker.not_ready() and node.broker.not_ready())
        own_server.start()
        (published, *_) = await node.publish_until_accepted(node.event(), node.event())
        assert position_of(published) == Position(before.epoch, 6)
        for one in (node, other):
            await until(lambda one=one: len(one.delivered) == 7)
            assert one.seqs() == list(range(1, 8))
            assert one.interruptions == []

    @pytest_twisted.ensureDeferred
    async def test_a_node_that_starts_later_has_the_same_epoch(self, own_nodes: Nodes, own_server: RedisServer) -> None:
        node = await own_nodes.open()
        before = await publish_events(node, 5)
        await node.broker.stop()
        own_server.kill()
        own_server.start()
        assert await (await own_nodes.open([])).broker.position(A) == before

    @pytest_twisted.ensureDeferred
    async def test_without_persistence_a_new_epoch_begins(self, without_persistence: tuple[Nodes, RedisServer]) -> None:
        nodes, server = without_persistence
        node = await nodes.open()
        before = await publish_events(node, 5)
        server.kill()
        await until(node.broker.not_ready)
        server.start()
        (published,) = await node.publish_until_accepted(node.event())
        assert published.epoch != before.epoch
        assert published.seq == 1
        await until(lambda: node.seqs() == [1, 2, 3, 4, 5, 1])
        assert node.interrupted_at() == [Position(published.epoch, 0)]

    @pytest_twisted.ensureDeferred
    async def test_positions_in_an_older_copy_are_still_valid(
        self, without_persistence: tuple[Nodes, RedisServer]
    ) -> None:
        nodes, server = without_persistence
        node, other = await nodes.open(), await nodes.open([])
        kept = await publish_events(node, 5)
        assert server.command("SAVE") == b"+OK\r\n"
        await publish_events(node, 3)
        server.kill()
        await until(lambda: node.broker.not_ready() and other.broker.not_ready())
        server.start()
        (published,) = await other.publish_until_accepted(other.event())
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
async def without_persistence() -> AsyncIterator[tuple[Nodes, RedisServer]]:
    """A Redis without persistence, and nodes."""
    server = RedisServer(appendonly="no")
    server.start()
    nodes = Nodes(server.url, "without_persistence")
    yield nodes, server
    await nodes.close()
    server.stop()


@pytest.fixture
def replica(own_server: RedisServer) -> Iterator[RedisServer]:
    """A replica of the test's own Redis."""
    own_server.command("CONFIG", "SET", "repl-diskless-sync-delay", "0")
    replica = RedisServer(**{"repl-diskless-sync-delay": "0"})
    replica.start()
    replica.command("REPLICAOF", "127.0.0.1", str(own_server.port))
    yield replica
    replica.stop()


@pytest_twisted.async_yield_fixture
async def proxy(own_server: RedisServer) -> AsyncIterator[SwitchableProxy]:
    proxy = SwitchableProxy(own_server.port)
    yield proxy
    await proxy.close()


@pytest_twisted.async_yield_fixture
async def proxied(proxy: SwitchableProxy) -> AsyncIterator[Nodes]:
    """Nodes that connect to Redis through the proxy."""
    nodes = Nodes(proxy.url, "proxied")
    yield nodes
    await nodes.close()


async def until_replicated(master: RedisServer, replica: RedisServer) -> None:
    def has_all() -> bool:
        there = b"master_link_status:up" in replica.command("INFO", "replication")
        return there and offset(master) == offset(replica)

    await until(has_all)


def offset(server: RedisServer) -> bytes:
    """Return the replication offset of a server."""
    found = re.search(rb"master_repl_offset:(\d+)", server.command("INFO", "replication"))
    assert found
    return found[1]


class TestFailover:
    """A replica was promoted."""

    @pytest.mark.parametrize("first_publisher", ["ahead", "behind", "ignorant"])
    @pytest_twisted.ensureDeferred
    async def test_positions_that_the_replica_has_are_still_valid(
        self,
        proxied: Nodes,
        proxy: SwitchableProxy,
        own_server: RedisServer,
        replica: RedisServer,
        first_publisher: str,
    ) -> None:
        ahead, behind, ignorant = await proxied.open(), await proxied.open(), await proxied.open([])
        await until_replicated(own_server, replica)
        kept = await publish_events(ahead, 3)
        await until(lambda: len(behind.delivered) == 3)
        await until_replicated(own_server, replica)
        replica.command("REPLICAOF", "NO", "ONE")
        behind.block_announcements()
        lost = await publish_events(ahead, 2)
        assert lost.seq == 5

        first = {"ahead": ahead, "behind": behind, "ignorant": ignorant}[first_publisher]
        late = [node for node in (ahead, behind, ignorant) if node is not first]
        blocked = [node.store.redis for node in late]
        for redis in blocked:
            for connection in redis._connections:
                connection._endpoint._address = _unreachable()
        proxy.to(replica.port)
        own_server.kill()
        (published,) = await first.publish_until_accepted(first.event())
        assert published.seq == 4
        assert published.epoch != kept.epoch
        for redis in blocked:
            for connection in redis._connections:
                connection._endpoint._address = redis._address
        await until(lambda: len(ahead.delivered) == 6)
        assert ahead.seqs() == [1, 2, 3, 4, 5, 4]
        assert ahead.interrupted_at() == [Position(published.epoch, 3)]
        await until(lambda: len(behind.delivered) == 4)
        # It had delivered only what the replica has.
        assert behind.seqs() == [1, 2, 3, 4]
        assert behind.interruptions == []
        for node in (ahead, behind, ignorant):
            await until(lambda node=node: node.store.redis.is_connected)
            assert (await node.broker.position(A, kept)) == Position(kept.epoch, 4)
            assert (await node.broker.position(A, lost)) == Position(published.epoch, 4)

    @pytest_twisted.ensureDeferred
    async def test_a_replica_without_lag(
        self, proxied: Nodes, proxy: SwitchableProxy, own_server: RedisServer, replica: RedisServer
    ) -> None:
        node = await proxied.open()
        await until_replicated(own_server, replica)
        kept = await publish_events(node, 3)
        await until_replicated(own_server, replica)
        replica.command("REPLICAOF", "NO", "ONE")
        proxy.to(replica.port)
        (published,) = await node.publish_until_accepted(node.event())
        assert published.seq == 4
        await until(lambda: node.seqs() == [1, 2, 3, 4])
        assert node.interruptions == []
        assert (await node.broker.position(A, kept)).epoch == kept.epoch

    @pytest_twisted.ensureDeferred
    async def test_several_in_a_row(
        self, proxied: Nodes, proxy: SwitchableProxy, own_server: RedisServer, replica: RedisServer
    ) -> None:
        node = await proxied.open()
        positions = []
        servers = [own_server, replica]
        for _ in range(4):
            positions.append(await publish_events(node, 2))
            await until_replicated(*servers)
            servers.reverse()
            servers[0].command("REPLICAOF", "NO", "ONE")
            servers[1].command("REPLICAOF", "127.0.0.1", str(servers[0].port))
            proxy.to(servers[0].port)
            await node.publish_until_accepted(node.event())
        assert node.seqs() == list(range(1, 13))
        for position in positions:
            assert (await node.broker.position(A, position)).epoch == position.epoch


def save_stream(server: RedisServer, keys: Keys) -> None:
    """Save a copy of the tenant's stream."""
    for name in ("meta", "log"):
        server.command("COPY", keys.of(A, name), f"saved {name}")


def restore_stream(server: RedisServer, keys: Keys) -> None:
    """Replace the tenant's stream with the saved copy."""
    for name in ("meta", "log"):
        server.command("COPY", f"saved {name}", keys.of(A, name), "REPLACE")


def block_reconnects(node: Node) -> Callable[[], None]:
    """Have a node fail to connect for commands until the returned function is called."""
    endpoint = node.store.redis._connections[0]._endpoint
    address, endpoint._address = endpoint._address, _unreachable()

    def unblock() -> None:
        endpoint._address = address

    return unblock


def _unreachable() -> object:
    from callcenter_ws.redis.address import redis_address

    return redis_address("unix:/nowhere")


class TestLastEvent:
    """The last event that a node knows is compared with what Redis has."""

    @pytest_twisted.ensureDeferred
    async def test_another_event_has_the_position_of_a_known_one(
        self, own_nodes: Nodes, own_server: RedisServer
    ) -> None:
        """An append-only file lost its end, and another node has published since."""
        keys = Keys(own_nodes.prefix, 0)
        node = await own_nodes.open()
        await publish_events(node, 3)
        save_stream(own_server, keys)
        before = await publish_events(node, 2)
        restore_stream(own_server, keys)
        other = await own_nodes.open([])
        other.ledger = Ledger()
        assert await publish_events(other, 2) == before
        (published,) = await node.publish(node.event())
        assert published.epoch != before.epoch
        assert published.seq == 6
        await until(lambda: node.seqs()[-1] == 6)
        assert node.interrupted_at() == [Position(published.epoch, 5)]
        assert (await node.broker.position(A, before)).epoch == published.epoch

    @pytest.mark.parametrize(
        "is_first", [True, False], ids=["the_node_publishes_first", "another_node_publishes_first"]
    )
    @pytest_twisted.ensureDeferred
    async def test_a_restarted_redis_does_not_know_the_epoch_that_a_node_knows(
        self, own_nodes: Nodes, own_server: RedisServer, is_first: bool
    ) -> None:
        """An append-only file lost its end twice, the second time with the epoch that the first loss began."""
        keys = Keys(own_nodes.prefix, 0)
        node = await own_nodes.open()
        kept = await publish_events(node, 3)
        save_stream(own_server, keys)
        lost = await publish_events(node, 2)
        restore_stream(own_server, keys)
        second = await publish_events(node, 1)
        assert second.epoch != kept.epoch
        restore_stream(own_server, keys)
        own_server.kill()
        await until(node.broker.not_ready)
        unblock = block_reconnects(node)
        own_server.start()
        if not is_first:
            other = await own_nodes.open([])
            other.ledger = Ledger()
            assert await publish_events(other, 2) == lost
        unblock()
        (published,) = await node.publish_until_accepted(node.event())
        assert published.epoch not in (kept.epoch, second.epoch)
        assert published.seq == (4 if is_first else 6)
        await until(lambda: node.seqs()[-1] == published.seq)
        assert node.interrupted_at()[-1] == Position(published.epoch, published.seq - 1)
        for position in (lost, second):
            assert (await node.broker.position(A, position)).epoch == published.epoch
        # Without another node's events the head is a fork, up to which positions of the first epoch are valid.
        assert (await node.broker.position(A, kept)).epoch == (kept.epoch if is_first else published.epoch)

    @pytest_twisted.ensureDeferred
    async def test_nodes_that_know_different_replication_ids(
        self, without_persistence: tuple[Nodes, RedisServer]
    ) -> None:
        """One connected before the replication id changed: they do not begin epochs in turn."""
        nodes, server = without_persistence
        early = await nodes.open()
        before = await publish_events(early, 1)
        server.command("REPLICAOF", "127.0.0.1", "1")
        server.command("REPLICAOF", "NO", "ONE")
        late = await nodes.open()
        positions = [await publish_events(node, 1) for node in (late, early) * 3]
        assert len({position.epoch for position in positions}) == 1
        assert [position.seq for position in positions] == [2, 3, 4, 5, 6, 7]
        await until(lambda: early.seqs() == list(range(1, 8)))
        assert early.interruptions == []
        assert (await early.broker.position(A, before)).epoch == before.epoch
