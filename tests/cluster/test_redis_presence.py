"""Presence over all nodes: announced once, never guessed, and cleaned up after nodes that died."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import pytest_twisted
from broker_contract import A
from cluster_nodes import LEASE, ClusterNode, FakeClient, OpenNode
from redis_nodes import until
from redis_server import RedisServer
from twisted.internet.defer import Deferred

from callcenter_ws.cluster.membership import EvictionStep
from callcenter_ws.delivery import user_probes
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.principal import Role
from callcenter_ws.redis.scripts import PRESENCE_REMOVE_NODE, USER_LOCATIONS, Script


class TestAnnounced:
    """Each change is announced once."""

    @pytest_twisted.ensureDeferred
    async def test_a_user_at_several_nodes_is_announced_once(self, open_node: OpenNode) -> None:
        first, second = await open_node(), await open_node()
        ann, again, there = FakeClient("ann"), FakeClient("ann"), FakeClient("ann")
        first.connect(ann, again)
        second.connect(there)
        for node in (first, second):
            await node.until_counted("ann", 3)
        first.disconnect(ann, again)
        await second.until_counted("ann", 1)
        second.disconnect(there)
        for node in (first, second):
            await until(lambda node=node: ("ann", False) in node.changes)
            assert node.changes == [("ann", True), ("ann", False)]
        found = await first.directory.user_presence(A, "ann")
        assert (found.online, found.connections) == (False, 0)
        assert found.last_seen is not None

    @pytest_twisted.ensureDeferred
    async def test_a_user_who_reconnects_within_the_grace_stays_online(self, open_node: OpenNode) -> None:
        first, second = await open_node(), await open_node()
        ann, bob = FakeClient("ann"), FakeClient("bob")
        first.connect(ann, bob)
        await first.until_counted("ann", 1)
        first.disconnect(ann, bob)
        second.connect(FakeClient("ann"))
        await until(lambda: ("bob", False) in second.changes)
        assert sorted(second.changes) == [("ann", True), ("bob", False), ("bob", True)]
        assert await first.count("ann") == 1

    @pytest_twisted.ensureDeferred
    async def test_a_visitor_is_not_announced_and_is_another_user(self, open_node: OpenNode) -> None:
        node = await open_node()
        visitor, agent = FakeClient("7", Role.VISITOR), FakeClient("7")
        node.connect(visitor, agent, FakeClient("last"))
        await until(lambda: ("last", True) in node.changes)
        assert sorted(node.changes) == [("7", True), ("last", True)]
        assert await node.count("7") == 1

    @pytest_twisted.ensureDeferred
    async def test_a_user_who_left_before_the_report_leaves_no_record(
        self, open_node: OpenNode, server: RedisServer
    ) -> None:
        node = await open_node()
        ann = FakeClient("ann")
        node.connect(ann)
        node.disconnect(ann)
        node.connect(FakeClient("last"))
        await node.until_counted("last", 1)
        assert server.ask("HKEYS", node.broker.keys.of(A, "presence")) == [b"s:last"]
        await until(lambda: node.changes == [("last", True)])

    @pytest_twisted.ensureDeferred
    async def test_users_of_a_node_that_was_stopped_are_announced_offline_by_another(self, open_node: OpenNode) -> None:
        staying, leaving = await open_node(), await open_node()
        ann = FakeClient("ann")
        leaving.connect(ann)
        await staying.until_counted("ann", 1)
        leaving.disconnect(ann)
        await leaving.stop()
        await until(lambda: staying.changes == [("ann", True), ("ann", False)])
        await until(lambda: not staying.membership.other_nodes())


class TestDeadNode:
    """A node was killed."""

    @pytest_twisted.ensureDeferred
    async def test_its_users_are_announced_offline_once(self, open_node: OpenNode, server: RedisServer) -> None:
        dying, *others = [await open_node() for _ in range(4)]
        dying.connect(*[FakeClient(f"user-{number}") for number in range(300)], FakeClient("ann"))
        others[0].connect(FakeClient("ann"))
        await others[0].until_counted("user-299", 1)
        await others[0].until_counted("ann", 2)
        await dying.kill()
        for node in others:
            await until(lambda node=node: sum(not online for _, online in node.changes) >= 300)
            offline = [user for user, online in node.changes if not online]
            assert sorted(offline) == sorted(f"user-{number}" for number in range(300))
        await others[1].until_counted("ann", 1)
        await until(lambda: all(not node.membership.dead_nodes() for node in others))
        assert not server.all_keys(f"{dying.broker.keys._prefix}*{dying.membership.instance}*")

    @pytest_twisted.ensureDeferred
    async def test_a_user_who_reconnects_to_another_node_stays_online(self, open_node: OpenNode) -> None:
        dying, other = await open_node(), await open_node()
        dying.connect(FakeClient("ann"), FakeClient("bob"))
        await other.until_counted("ann", 1)
        await dying.kill()
        other.connect(FakeClient("ann"))
        await until(lambda: ("bob", False) in other.changes)
        assert ("ann", False) not in other.changes
        await other.until_counted("ann", 1)

    @pytest_twisted.ensureDeferred
    async def test_a_node_that_was_only_suspended_reports_its_users_again(self, open_node: OpenNode) -> None:
        """It was evicted, and is alive."""
        away, other = await open_node(), await open_node()
        away.connect(FakeClient("ann"))
        await other.until_counted("ann", 1)
        away.lease_renewal.is_stopped = True
        await until(lambda: ("ann", False) in other.changes)
        away.lease_renewal.is_stopped = False
        await until(lambda: other.changes == [("ann", True), ("ann", False), ("ann", True)])
        await other.until_counted("ann", 1)

    @pytest_twisted.ensureDeferred
    async def test_a_reaper_that_was_suspended_evicts_no_living_node(
        self, open_node: OpenNode, server: RedisServer
    ) -> None:
        stopped, other = await open_node(), await open_node()
        other.connect(FakeClient("ann"))
        await stopped.until_counted("ann", 1)
        await until(lambda: stopped.membership.other_nodes() and is_reaping(stopped))
        known = stopped.membership
        # Its view is that of the moment in which it was suspended: the other node has renewed its lease since.
        known._expiry = {**known._expiry, other.membership.instance: 1.0}
        await stopped.reaper._evict(other.membership.instance)
        known._expiry = {**known._expiry, other.membership.instance: 1.0}
        known._renewed_at = known._renewed_at - 2 * LEASE
        await stopped.reaper._work()
        assert not known.could_all_renew
        assert server.ask("ZSCORE", stopped.broker.keys.leases, other.membership.instance)
        assert server.ask("SISMEMBER", stopped.broker.keys.of(A, f"here:{other.membership.instance}"), "s:ann") == 1
        assert other.changes == [("ann", True)]

    @pytest_twisted.ensureDeferred
    async def test_a_node_that_is_no_longer_the_reaper_evicts_no_node(
        self, open_node: OpenNode, server: RedisServer
    ) -> None:
        first, second = await open_node(), await open_node()
        await until(lambda: is_reaping(first))
        first.reaper.stop()
        server.ask("SET", first.broker.keys.reaper, second.membership.instance, "PX", "60000")
        dead = "dead~1"
        server.ask("ZADD", first.broker.keys.leases, "1", dead)
        assert first.membership.is_reaper
        begin = first.membership.evict
        steps: list[str] = []

        async def noted(instance: str, step: EvictionStep) -> bool:
            steps.append(step)
            return await begin(instance, step)

        first.membership.evict = noted
        await first.reaper._work()
        assert not first.membership.is_reaper
        assert steps == []
        await until(lambda: server.ask("ZSCORE", first.broker.keys.leases, dead) is None)

    @pytest_twisted.ensureDeferred
    async def test_an_eviction_is_finished_by_the_next_reaper(self, open_node: OpenNode, server: RedisServer) -> None:
        dying, reaping, other = await open_node(), await open_node(), await open_node()
        dying.connect(FakeClient("ann"))
        await other.until_counted("ann", 1)
        dead = dying.membership.instance
        for node in (reaping, other):
            node.reaper.stop()
        await dying.kill()
        await until(lambda: dead in reaping.membership.dead_nodes())
        await until(lambda: reaping.membership.is_reaper or other.membership.is_reaper)
        assert await reaping.membership.evict(dead, "begin")
        await reaping.kill()
        assert await other.count("ann") == 0
        other.reaper.start()
        await until(lambda: other.changes == [("ann", True), ("ann", False)])
        await until(lambda: not server.all_keys(f"{other.broker.keys._prefix}*{dead}*"))
        await until(lambda: not server.all_keys(f"{other.broker.keys.leases}:*"))

    @pytest_twisted.ensureDeferred
    async def test_a_node_that_returns_during_its_eviction_reports_everything(
        self, open_node: OpenNode, server: RedisServer
    ) -> None:
        away, other = await open_node(), await open_node()
        away.connect(FakeClient("ann"))
        await other.until_counted("ann", 1)
        instance = away.membership.instance
        for node in (away, other):
            node.reaper.stop()
        away.lease_renewal.is_stopped = True
        await until(lambda: instance in other.membership.dead_nodes())
        for step in ("begin", "continue"):
            assert await other.membership.evict(instance, step)
        away.lease_renewal.is_stopped = False
        await until(lambda: other.membership.is_certainly_alive(instance))
        # The removal was sent before the node returned.
        meta = other.broker.keys.meta(A)
        assert await other.broker.redis.run(PRESENCE_REMOVE_NODE, [meta], instance, "0.2") == 0
        for step in ("continue", "end"):
            assert not await other.membership.evict(instance, step)
        await other.until_counted("ann", 1)
        await until(lambda: not server.all_keys(f"{other.broker.keys.leases}:*"))
        assert other.membership.is_alive(instance)


@pytest.mark.logs_errors
class TestRedisUnavailable:
    """Requests are refused, and no node is evicted."""

    @pytest_twisted.ensureDeferred
    async def test_unavailable_for_longer_than_a_lease(self, open_own_node: OpenNode, own_server: RedisServer) -> None:
        nodes = [await open_own_node() for _ in range(3)]
        for number, node in enumerate(nodes):
            node.connect(FakeClient(f"user-{number}"))
        for number in range(3):
            await nodes[0].until_counted(f"user-{number}", 1)
        own_server.kill()
        await until(lambda: all(node.broker.not_ready() for node in nodes))
        for node in nodes:
            with pytest.raises(Refusal) as refused:
                await node.count("user-0")
            assert refused.value.code is ErrorCode.UNAVAILABLE
            with pytest.raises(Refusal):
                await node.directory.disconnect_user(A, "user-0")
        until_when = [node.membership._expiry[node.membership.instance] + LEASE for node in nodes]
        await until(lambda: nodes[0].cluster._clock.time() > max(until_when))
        nodes[1].connect(FakeClient("newcomer"))
        own_server.start()
        for node in nodes:
            await node.until_ready()
        await nodes[0].until_counted("newcomer", 1)

        # A reaper has been at work since eviction is allowed.
        await until(lambda: any(is_reaping(node) for node in nodes))
        for node in nodes:
            await until(lambda node=node: len(node.changes) >= 4)
            assert all(online for _, online in node.changes)
            for number in range(3):
                await node.until_counted(f"user-{number}", 1)

    @pytest_twisted.ensureDeferred
    async def test_all_data_is_lost(self, open_own_node: OpenNode, own_server: RedisServer) -> None:
        first, second = await open_own_node(), await open_own_node()
        first.connect(FakeClient("ann"))
        second.connect(FakeClient("ann"), FakeClient("bob"))
        await first.until_counted("ann", 2)
        own_server.command("FLUSHALL")
        await first.until_counted("bob", 1)
        await second.until_counted("ann", 2)

    @pytest.mark.parametrize("is_full", [False, True])
    @pytest.mark.parametrize("is_empty", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_no_user_counts_as_offline_before_all_nodes_have_reported(
        self, is_full: bool, is_empty: bool, open_own_node: OpenNode, own_server: RedisServer
    ) -> None:
        asked, other = await open_own_node(), await open_own_node()
        other.connect(FakeClient("ann"))
        await asked.until_counted("ann", 1)
        await until(asked.membership.other_nodes)
        instance, clock = other.membership.instance, asked.cluster._clock
        answers: list[int] = []

        async def ask() -> None:
            with suppress(Refusal):
                answer = await asked.count("ann")
                if clock.monotonic() < valid_until:
                    answers.append(answer)

        if is_full:
            own_server.ask("CONFIG", "SET", "maxmemory", "1")
            await until(lambda: not asked.membership.is_alive(instance))
        # The other node is late to notice that Redis is available.
        other.lease_renewal.is_stopped = True
        # After a loss it is awaited for the length of a lease; otherwise its lease is still valid for a while.
        seconds = LEASE if is_full or is_empty else asked.membership._seconds_left(instance)
        valid_until = clock.monotonic() + seconds
        if is_empty:
            own_server.ask("FLUSHALL")
        own_server.ask("CONFIG", "SET", "maxmemory", "0")
        await ask()
        if is_full:
            await until(lambda: asked.membership.is_current)
        for _ in range(30):
            await ask()
        assert set(answers) <= {1}
        assert bool(answers) is not (is_full or is_empty)
        other.lease_renewal.is_stopped = False
        await asked.until_counted("ann", 1)

    @pytest_twisted.ensureDeferred
    async def test_a_node_that_has_not_reported_all_users_is_awaited(
        self, open_own_node: OpenNode, own_server: RedisServer
    ) -> None:
        asked, other = await open_own_node(), await open_own_node()
        other.connect(FakeClient("ann"))
        await asked.until_counted("ann", 1)
        await until(asked.membership.other_nodes)
        report, released = other.presence._report, Deferred()

        async def report_late(*arguments: Any) -> None:
            await released
            await report(*arguments)

        other.presence._report = report_late
        own_server.ask("FLUSHALL")
        await until(lambda: not other.presence.has_reported_all())
        with pytest.raises(Refusal):
            await asked.count("ann")
        # It renews its lease several times; without unreported users it would be awaited no longer.
        while not asked.membership.could_all_renew:
            with suppress(Refusal):
                await asked.count("ann")
                assert asked.membership.could_all_renew, "it was not awaited"
        released.callback(None)
        await asked.until_counted("ann", 1)

    @pytest_twisted.ensureDeferred
    async def test_a_node_that_does_not_return_is_awaited_for_a_lease(
        self, open_own_node: OpenNode, own_server: RedisServer
    ) -> None:
        asked, dying = await open_own_node(), await open_own_node()
        dying.connect(FakeClient("ann"))
        await asked.until_counted("ann", 1)
        await until(asked.membership.other_nodes)
        # It renews its lease no longer. Stopping it may take longer than a lease.
        dying.lease_renewal.is_stopped = True
        own_server.ask("FLUSHALL")
        with pytest.raises(Refusal) as refused:
            await asked.count("ann")
        assert refused.value.code is ErrorCode.UNAVAILABLE
        await dying.kill()
        await asked.until_counted("ann", 0)

    @pytest_twisted.ensureDeferred
    async def test_a_single_node_answers_at_once(self, open_own_node: OpenNode, own_server: RedisServer) -> None:
        node = await open_own_node()
        assert await node.count("ann") == 0
        node.connect(FakeClient("ann"))
        await node.until_counted("ann", 1)
        own_server.ask("FLUSHALL")
        assert await node.count("ann") == 1
        assert await node.count("bob") == 0

    @pytest_twisted.ensureDeferred
    async def test_a_renewal_meanwhile_does_not_hide_that_data_was_lost(
        self, open_own_node: OpenNode, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        node = await open_own_node()
        node.connect(FakeClient("ann"))
        await node.until_counted("ann", 1)
        redis, run = node.broker.redis, node.broker.redis.run

        def run_and_renew(script: Script, *arguments: Any) -> Any:
            answer = run(script, *arguments)
            if script is USER_LOCATIONS:
                node.membership.renew()
            return answer

        monkeypatch.setattr(redis, "run", run_and_renew)
        own_server.ask("FLUSHALL")
        assert await node.count("ann") == 1

    @pytest_twisted.ensureDeferred
    async def test_a_renewal_during_a_request_does_not_hide_that_other_nodes_are_awaited(
        self, open_own_node: OpenNode, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Redis has this node's lease again when it is checked, but the connections were read before."""
        asked, other = await open_own_node(), await open_own_node()
        other.connect(FakeClient("ann"))
        await asked.until_counted("ann", 1)
        await until(asked.membership.other_nodes)
        is_registered = asked.membership._is_registered

        async def renew_first() -> bool:
            await asked.lease_renewal.renew()
            return await is_registered()

        monkeypatch.setattr(asked.membership, "_is_registered", renew_first)
        other.lease_renewal.is_stopped = True
        own_server.ask("FLUSHALL")
        with pytest.raises(Refusal):
            await asked.count("ann")
        other.lease_renewal.is_stopped = False
        await asked.until_counted("ann", 1)

    @pytest_twisted.ensureDeferred
    async def test_users_who_connect_meanwhile_are_reported_together(
        self, open_own_node: OpenNode, own_server: RedisServer
    ) -> None:
        node = await open_own_node()
        own_server.kill()
        await until(node.broker.not_ready)
        reports = 0
        report = node.presence._report

        def counted(*arguments: Any) -> Any:
            nonlocal reports
            reports += 1
            return report(*arguments)

        node.presence._report = counted
        clients = [FakeClient(f"user-{number}") for number in range(200)]
        for client in clients:
            node.connect(client)
            turn: Deferred[None] = Deferred()
            node.cluster._clock.call_later(0, turn.callback, None)
            await turn
        assert reports < 20
        node.disconnect(*clients[1:])
        own_server.start()
        await node.until_ready()
        await node.until_counted("user-0", 1)
        assert await node.count("user-1") == 0

    @pytest_twisted.ensureDeferred
    async def test_a_node_that_is_stopped_meanwhile(self, open_own_node: OpenNode, own_server: RedisServer) -> None:
        staying, leaving = await open_own_node(), await open_own_node()
        ann = FakeClient("ann")
        leaving.connect(ann)
        await staying.until_counted("ann", 1)
        own_server.kill()
        await until(leaving.broker.not_ready)
        leaving.disconnect(ann)
        await leaving.stop()
        own_server.start()
        await until(lambda: staying.changes == [("ann", True), ("ann", False)])


def is_reaping(node: ClusterNode) -> bool:
    """Return whether a node is the reaper, and has had the time to evict dead nodes."""
    known = node.membership
    return known.is_reaper and node.cluster._clock.monotonic() - known.in_contact_since > 1.5 * LEASE


class TestLimit:
    """The limit on connections of a user over all nodes."""

    @pytest_twisted.ensureDeferred
    async def test_over_all_nodes(self, open_node: OpenNode, monkeypatch: pytest.MonkeyPatch) -> None:
        """Connections at other nodes are pinged; only if they answer is the refusal final."""
        monkeypatch.setattr(user_probes, "RETRY_SECONDS", 0.2)
        monkeypatch.setattr(user_probes, "DECIDED_AFTER_SECONDS", 0.2)
        first, second = await open_node(connections_per_user=2), await open_node(connections_per_user=2)
        early, late, last = FakeClient("ann"), FakeClient("ann"), FakeClient("ann")
        first.connect(early)
        await second.until_counted("ann", 1)
        await until(lambda: second.membership.other_nodes() and first.membership.other_nodes())
        second.connect(late)
        await first.until_counted("ann", 2)
        second.connect(last)
        await until(lambda: last.closes)
        assert last.closes == [CloseCode.TRY_LATER]
        assert [refusal.code for refusal in last.refusals] == [ErrorCode.CONNECTION_LIMIT]
        assert last.refusals[0].retry_after == 0.2
        await until(lambda: early.probes == late.probes == 1)
        second.disconnect(last)
        await first.until_counted("ann", 2)
        # Both are still there when the answer is due.
        while CloseCode.CONNECTION_LIMIT not in last.closes:
            last = FakeClient("ann")
            second.connect(last)
            await until(lambda last=last: last.closes)
            second.disconnect(last)
            await first.until_counted("ann", 2)
        assert last.refusals[0].retry_after is None
        assert (early.closes, late.closes, early.probes, late.probes) == ([], [], 1, 1)

    @pytest_twisted.ensureDeferred
    async def test_a_connection_that_does_not_answer_makes_room(
        self, open_node: OpenNode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = await open_node(connections_per_user=1), await open_node(connections_per_user=1)
        dead, refused, accepted = FakeClient("ann"), FakeClient("ann"), FakeClient("ann")
        first.connect(dead)
        await second.until_counted("ann", 1)
        await until(lambda: second.membership.other_nodes() and first.membership.other_nodes())
        second.connect(refused)
        await until(lambda: refused.closes == [CloseCode.TRY_LATER] and dead.probes)
        second.disconnect(refused)
        first.disconnect(dead)
        await second.until_counted("ann", 0)
        second.connect(accepted)
        await first.until_counted("ann", 1)
        assert accepted.closes == []

    @pytest_twisted.ensureDeferred
    async def test_the_oldest_connection_of_all_nodes_is_replaced(self, open_node: OpenNode) -> None:
        nodes = [await open_node(over_user_limit="replace_oldest", connections_per_user=3) for _ in range(3)]
        await until(lambda: all(len(node.membership.other_nodes()) == 2 for node in nodes))
        clients: list[FakeClient] = []

        def connect(node: ClusterNode) -> None:
            client = FakeClient("ann")
            client.close_hook = lambda: node.disconnect(client)
            clients.append(client)
            node.connect(client)

        # The third node has the oldest connection, then the first, then the second.
        for number, at in enumerate((2, 0, 1)):
            connect(nodes[at])
            await nodes[1].until_counted("ann", number + 1)
        connect(nodes[1])
        await until(lambda: clients[0].closes == [CloseCode.REPLACED])
        await nodes[2].until_counted("ann", 3)
        connect(nodes[2])
        await until(lambda: clients[1].closes == [CloseCode.REPLACED])
        await nodes[0].until_counted("ann", 3)
        assert [client.closes for client in clients[2:]] == [[], [], []]
        assert all(client.refusals == [] and client.probes == 0 for client in clients)

    @pytest_twisted.ensureDeferred
    async def test_connections_at_several_nodes_at_once_replace_as_many(self, open_node: OpenNode) -> None:
        nodes = [await open_node(over_user_limit="replace_oldest", connections_per_user=4) for _ in range(3)]
        await until(lambda: all(len(node.membership.other_nodes()) == 2 for node in nodes))
        old = [FakeClient("ann") for _ in range(4)]
        for client in old:
            client.close_hook = lambda client=client: nodes[0].disconnect(client)
        nodes[0].connect(*old)
        await nodes[1].until_counted("ann", 4)
        new = [FakeClient("ann"), FakeClient("ann")]
        nodes[1].connect(new[0])
        nodes[2].connect(new[1])
        await until(lambda: [client.closes for client in old] == [[CloseCode.REPLACED]] * 2 + [[], []])
        for node in nodes:
            await node.until_counted("ann", 4)
        assert [client.closes for client in [*old[2:], *new]] == [[]] * 4

    @pytest_twisted.ensureDeferred
    async def test_connections_of_a_dead_node_do_not_count_for_long(self, open_node: OpenNode) -> None:
        dying, other = await open_node(connections_per_user=1), await open_node(connections_per_user=1)
        dying.connect(FakeClient("ann"))
        await other.until_counted("ann", 1)
        await dying.kill()
        await until(lambda: not other.membership.is_certainly_alive(dying.membership.instance))
        back = FakeClient("ann")
        other.connect(back)
        await until(lambda: not other.membership.dead_nodes() and not other.membership.other_nodes())
        await other.until_counted("ann", 1)
        assert back.closes == []


@pytest_twisted.ensureDeferred
async def test_the_workers_of_a_node_are_no_other_node(server: RedisServer) -> None:
    nodes = [ClusterNode(server.url, "taking-over", name) for name in ("n1/1", "n1/2", "n2/1", "n1")]
    first, _, other, single = nodes
    try:
        for node in nodes[:2]:
            await node.open()
        assert not await first.cluster.has_other_nodes()
        # Known at once, although it was started after the last renewal.
        await other.open()
        assert await first.cluster.has_other_nodes()
        await other.stop()
        assert not await first.cluster.has_other_nodes()
        await single.open()
        assert not await single.cluster.has_other_nodes()
    finally:
        for node in nodes:
            await node.stop()
