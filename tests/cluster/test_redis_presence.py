"""Who is where, over all nodes: told once, by whomever, and not guessed while Redis is away."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import pytest_twisted
from broker_contract import A
from redis_nodes import until
from redis_people import LEASE, People, Person
from redis_server import RedisServer
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, gatherResults

from callcenter_ws.auth import revocation
from callcenter_ws.broker.redis import tenant_discovery as everybody
from callcenter_ws.broker.redis.tenant_discovery import TenantDiscovery
from callcenter_ws.cluster import control as orders
from callcenter_ws.cluster import membership, presence
from callcenter_ws.cluster import reaper as caretaker
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.redis.scripts import DEPART
from callcenter_ws.runtime.background import spawn

Open = Callable[..., Awaitable[People]]

_prefixes = (f"people-{number}" for number in itertools.count())


@pytest.fixture(autouse=True)
def _small_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "RENEWAL", 0.05)
    monkeypatch.setattr(membership, "FRESH", 0.2)
    monkeypatch.setattr(caretaker, "ROUND", 0.05)
    monkeypatch.setattr(presence, "RETRY", 0.05)


@pytest_twisted.async_yield_fixture
async def opens(server: RedisServer) -> AsyncIterator[Open]:
    """Makes nodes on the module's Redis."""
    opened: list[People] = []
    prefix = next(_prefixes)

    async def opens(**limits: Any) -> People:
        node = People(server.url, prefix, f"node-{len(opened)}", **limits)
        opened.append(node)
        return await node.open()

    yield opens
    for node in opened:
        await node.stop()


class TestAnnounced:
    """Others are told who comes and goes: once."""

    @pytest_twisted.ensureDeferred
    async def test_who_is_at_several_nodes_is_announced_once(self, opens: Open) -> None:
        first, second = await opens(), await opens()
        ann, again, there = Person("ann"), Person("ann"), Person("ann")
        first.come(ann, again)
        second.come(there)
        for node in (first, second):
            await node.until_counted("ann", 3)
        first.go(ann, again)
        await second.until_counted("ann", 1)
        second.go(there)
        for node in (first, second):
            await until(lambda node=node: ("ann", False) in node.changes)
            assert node.changes == [("ann", True), ("ann", False)]
        told = await first.directory.user_presence(A, "ann")
        assert (told.online, told.connections) == (False, 0)
        assert told.last_seen is not None

    @pytest_twisted.ensureDeferred
    async def test_who_comes_back_within_the_grace_has_not_gone(self, opens: Open) -> None:
        first, second = await opens(), await opens()
        ann, bob = Person("ann"), Person("bob")
        first.come(ann, bob)
        await first.until_counted("ann", 1)
        first.go(ann, bob)
        second.come(Person("ann"))
        await until(lambda: ("bob", False) in second.changes)
        assert sorted(second.changes) == [("ann", True), ("bob", False), ("bob", True)]
        assert await first.count("ann") == 1

    @pytest_twisted.ensureDeferred
    async def test_a_visitor_is_not_announced_and_is_another_person(self, opens: Open) -> None:
        node = await opens()
        visitor, agent = Person("7", Role.VISITOR), Person("7")
        node.come(visitor, agent, Person("last"))
        await until(lambda: ("last", True) in node.changes)
        assert sorted(node.changes) == [("7", True), ("last", True)]
        assert await node.count("7") == 1

    @pytest_twisted.ensureDeferred
    async def test_who_came_and_went_before_it_could_be_told_leaves_nothing(
        self, opens: Open, server: RedisServer
    ) -> None:
        node = await opens()
        ann = Person("ann")
        node.come(ann)
        node.go(ann)
        node.come(Person("last"))
        await node.until_counted("last", 1)
        assert server.ask("HKEYS", node.broker.keys.of(A, "presence")) == [b"s:last"]
        await until(lambda: node.changes == [("last", True)])

    @pytest_twisted.ensureDeferred
    async def test_a_node_that_stops_leaves_the_farewells_to_the_others(self, opens: Open) -> None:
        staying, leaving = await opens(), await opens()
        ann = Person("ann")
        leaving.come(ann)
        await staying.until_counted("ann", 1)
        leaving.go(ann)
        await leaving.stop()
        await until(lambda: staying.changes == [("ann", True), ("ann", False)])
        await until(lambda: not staying.membership.others())


class TestDeath:
    """A node that is killed does not say so."""

    @pytest_twisted.ensureDeferred
    async def test_its_users_are_announced_gone_once(self, opens: Open, server: RedisServer) -> None:
        dying, *others = [await opens() for _ in range(4)]
        dying.come(*[Person(f"user-{number}") for number in range(300)], Person("ann"))
        others[0].come(Person("ann"))
        await others[0].until_counted("user-299", 1)
        await others[0].until_counted("ann", 2)
        await dying.die()
        for node in others:
            await until(lambda node=node: sum(not is_here for _, is_here in node.changes) >= 300)
            gone = [who for who, is_here in node.changes if not is_here]
            assert sorted(gone) == sorted(f"user-{number}" for number in range(300))
        await others[1].until_counted("ann", 1)
        await until(lambda: all(not node.membership.dead() for node in others))
        assert not server.all_keys(f"{dying.broker.keys._prefix}*{dying.membership.instance}*")

    @pytest_twisted.ensureDeferred
    async def test_who_comes_back_to_another_node_has_not_gone(self, opens: Open) -> None:
        dying, other = await opens(), await opens()
        dying.come(Person("ann"), Person("bob"))
        await other.until_counted("ann", 1)
        await dying.die()
        other.come(Person("ann"))
        await until(lambda: ("bob", False) in other.changes)
        assert ("ann", False) not in other.changes
        await other.until_counted("ann", 1)

    @pytest_twisted.ensureDeferred
    async def test_one_that_was_only_away_says_who_is_there(self, opens: Open) -> None:
        """It was buried, and lives."""
        away, other = await opens(), await opens()
        away.come(Person("ann"))
        await other.until_counted("ann", 1)
        away.membership._stopped = True
        await until(lambda: ("ann", False) in other.changes)
        away.membership._stopped = False
        await until(lambda: other.changes == [("ann", True), ("ann", False), ("ann", True)])
        await other.until_counted("ann", 1)

    @pytest_twisted.ensureDeferred
    async def test_a_caretaker_that_was_stopped_buries_nobody_who_lives(self, opens: Open, server: RedisServer) -> None:
        stopped, other = await opens(), await opens()
        other.come(Person("ann"))
        await stopped.until_counted("ann", 1)
        await until(lambda: stopped.membership.others() and is_at_work(stopped))
        known = stopped.membership
        # As it knew everything when it was stopped: what it did not hear since is that the other renewed its lease.
        known._leases = {**known._leases, other.membership.instance: 1.0}
        await stopped.cluster._caretaker._bury(other.membership.instance)
        known._leases = {**known._leases, other.membership.instance: 1.0}
        known._renewed_at = known._renewed_at - 2 * LEASE
        await stopped.cluster._caretaker._work()
        assert not known.is_settled
        assert server.ask("ZSCORE", stopped.broker.keys.leases, other.membership.instance)
        assert server.ask("SISMEMBER", stopped.broker.keys.of(A, f"here:{other.membership.instance}"), "s:ann") == 1
        assert other.changes == [("ann", True)]

    @pytest_twisted.ensureDeferred
    async def test_one_that_is_caretaker_no_more_does_nothing(self, opens: Open, server: RedisServer) -> None:
        first, second = await opens(), await opens()
        await until(lambda: is_at_work(first))
        first.cluster._caretaker.stop()
        server.ask("SET", first.broker.keys.caretaker, second.membership.instance, "PX", "60000")
        dead = "dead~1"
        server.ask("ZADD", first.broker.keys.leases, "1", dead)
        assert first.membership.is_caretaker
        begin = first.membership.bury
        steps: list[str] = []

        async def noted(instance: str, step: str) -> bool:
            steps.append(step)
            return await begin(instance, step)

        first.membership.bury = noted
        await first.cluster._caretaker._work()
        assert not first.membership.is_caretaker
        assert steps == []
        await until(lambda: server.ask("ZSCORE", first.broker.keys.leases, dead) is None)

    @pytest_twisted.ensureDeferred
    async def test_a_burial_is_finished_by_the_next_caretaker(self, opens: Open, server: RedisServer) -> None:
        dying, burying, other = await opens(), await opens(), await opens()
        dying.come(Person("ann"))
        await other.until_counted("ann", 1)
        dead = dying.membership.instance
        for node in (burying, other):
            node.cluster._caretaker.stop()
        await dying.die()
        await until(lambda: dead in burying.membership.dead())
        await until(lambda: burying.membership.is_caretaker or other.membership.is_caretaker)
        assert await burying.membership.bury(dead, "begin")
        await burying.die()
        assert await other.count("ann") == 0
        other.cluster._caretaker.start()
        await until(lambda: other.changes == [("ann", True), ("ann", False)])
        await until(lambda: not server.all_keys(f"{other.broker.keys._prefix}*{dead}*"))
        await until(lambda: not server.all_keys(f"{other.broker.keys.leases}:*"))

    @pytest_twisted.ensureDeferred
    async def test_one_that_comes_back_amid_its_burial_tells_everything(self, opens: Open, server: RedisServer) -> None:
        away, other = await opens(), await opens()
        away.come(Person("ann"))
        await other.until_counted("ann", 1)
        instance = away.membership.instance
        for node in (away, other):
            node.cluster._caretaker.stop()
        away.membership._stopped = True
        await until(lambda: instance in other.membership.dead())
        for step in ("begin", "go on"):
            assert await other.membership.bury(instance, step)
        away.membership._stopped = False
        await until(lambda: other.membership.certainly_lives(instance))
        # The stroke was on its way meanwhile.
        meta = other.broker.keys.meta(A)
        assert await other.broker.redis.run(DEPART, [meta], instance, "0.2") == 0
        for step in ("go on", "end"):
            assert not await other.membership.bury(instance, step)
        await other.until_counted("ann", 1)
        await until(lambda: not server.all_keys(f"{other.broker.keys.leases}:*"))
        assert other.membership.lives(instance)


@pytest.mark.logs_errors
class TestRedisAway:
    """Nobody guesses, nobody is buried."""

    @pytest_twisted.async_yield_fixture
    async def own(self, own_server: RedisServer) -> AsyncIterator[Open]:
        opened: list[People] = []

        async def opens(**limits: Any) -> People:
            node = People(own_server.url, "own", f"node-{len(opened)}", **limits)
            opened.append(node)
            return await node.open()

        yield opens
        for node in opened:
            await node.stop()

    @pytest_twisted.ensureDeferred
    async def test_for_longer_than_a_lease(self, own: Open, own_server: RedisServer) -> None:
        nodes = [await own() for _ in range(3)]
        for number, node in enumerate(nodes):
            node.come(Person(f"user-{number}"))
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
        until_when = [node.membership._leases[node.membership.instance] + LEASE for node in nodes]
        await until(lambda: nodes[0].cluster._clock.time() > max(until_when))
        nodes[1].come(Person("newcomer"))
        own_server.start()
        for node in nodes:
            await node.until_ready()
        await nodes[0].until_counted("newcomer", 1)

        # Somebody has looked after the dead since it might be done.
        await until(lambda: any(is_at_work(node) for node in nodes))
        for node in nodes:
            await until(lambda node=node: len(node.changes) >= 4)
            assert all(is_here for _, is_here in node.changes)
            for number in range(3):
                await node.until_counted(f"user-{number}", 1)

    @pytest_twisted.ensureDeferred
    async def test_it_forgets_everything(self, own: Open, own_server: RedisServer) -> None:
        first, second = await own(), await own()
        first.come(Person("ann"))
        second.come(Person("ann"), Person("bob"))
        await first.until_counted("ann", 2)
        own_server.command("FLUSHALL")
        await first.until_counted("bob", 1)
        await second.until_counted("ann", 2)

    @pytest.mark.parametrize("is_full", [False, True])
    @pytest.mark.parametrize("is_empty", [False, True])
    @pytest_twisted.ensureDeferred
    async def test_nobody_is_said_to_be_offline_before_all_are_heard_of(
        self, is_full: bool, is_empty: bool, own: Open, own_server: RedisServer
    ) -> None:
        asked, other = await own(), await own()
        other.come(Person("ann"))
        await asked.until_counted("ann", 1)
        await until(asked.membership.others)
        answers: list[int] = []

        async def ask() -> None:
            with suppress(Refusal):
                answers.append(await asked.count("ann"))

        if is_full:
            own_server.ask("CONFIG", "SET", "maxmemory", "1")
            await wait(2 * LEASE)
        # The other one is slow to notice that Redis is well.
        other.membership._stopped = True
        if is_empty:
            own_server.ask("FLUSHALL")
        own_server.ask("CONFIG", "SET", "maxmemory", "0")
        await ask()
        if is_full:
            await until(lambda: asked.membership.is_informed)
        for _ in range(30):
            await ask()
            await wait(0.005)
        assert set(answers) <= {1}
        assert bool(answers) is not (is_full or is_empty)
        other.membership._stopped = False
        await asked.until_counted("ann", 1)

    @pytest_twisted.ensureDeferred
    async def test_who_is_heard_of_but_has_not_told_everything_is_awaited(
        self, own: Open, own_server: RedisServer
    ) -> None:
        asked, other = await own(), await own()
        other.come(Person("ann"))
        await asked.until_counted("ann", 1)
        await until(asked.membership.others)
        attend, told = other.presence._attend, Deferred()

        async def attend_late(*arguments: Any) -> None:
            await told
            await attend(*arguments)

        other.presence._attend = attend_late
        own_server.ask("FLUSHALL")
        await until(lambda: not other.presence.has_told())
        # It has renewed its lease several times, and would not be awaited for longer than one.
        for _ in range(5):
            await wait(0.05)
            with pytest.raises(Refusal):
                await asked.count("ann")
        told.callback(None)
        await asked.until_counted("ann", 1)

    @pytest_twisted.ensureDeferred
    async def test_who_does_not_come_back_is_not_awaited_for_ever(self, own: Open, own_server: RedisServer) -> None:
        asked, dying = await own(), await own()
        dying.come(Person("ann"))
        await asked.until_counted("ann", 1)
        await until(asked.membership.others)
        await dying.die()
        own_server.ask("FLUSHALL")
        with pytest.raises(Refusal) as refused:
            await asked.count("ann")
        assert refused.value.code is ErrorCode.UNAVAILABLE
        await asked.until_counted("ann", 0)

    @pytest_twisted.ensureDeferred
    async def test_a_node_that_is_alone_answers_at_once(self, own: Open, own_server: RedisServer) -> None:
        node = await own()
        assert await node.count("ann") == 0
        node.come(Person("ann"))
        await node.until_counted("ann", 1)
        own_server.ask("FLUSHALL")
        assert await node.count("ann") == 1
        assert await node.count("bob") == 0

    @pytest_twisted.ensureDeferred
    async def test_what_was_revoked_is_written_back(
        self, own: Open, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(orders, "CHUNK", 2)
        nodes = [await own(), await own()]

        def kept() -> Any:
            return own_server.ask("HLEN", nodes[0].broker.keys.revocations)

        for number in range(3):
            await nodes[number % 2].directory.revoke(A, jti=f"token-{number}")
        await nodes[0].directory.revoke(A, user_id="ann")
        assert kept() == 4
        own_server.ask("FLUSHALL")
        begun = await own()
        await until(lambda: kept() == 4)
        # Also by one that began when nobody had written anything yet.
        await until(lambda: is_revoked(begun, Principal(A, "bob", Role.AGENT, jti="token-1")))
        await until(lambda: is_revoked(begun, Principal(A, "ann", Role.AGENT, issued_at=1.0)))
        assert await nodes[0].directory.disconnect_user(A, "ann") == 0
        assert begun.hub.ordered == [("disconnect", A, "ann")]

    @pytest_twisted.ensureDeferred
    async def test_arrivals_meanwhile_are_told_together(self, own: Open, own_server: RedisServer) -> None:
        node = await own()
        own_server.kill()
        await until(node.broker.not_ready)
        told = 0
        attend = node.presence._attend

        def counted(*arguments: Any) -> Any:
            nonlocal told
            told += 1
            return attend(*arguments)

        node.presence._attend = counted
        people = [Person(f"user-{number}") for number in range(200)]
        for person in people:
            node.come(person)
            turn: Deferred[None] = Deferred()
            node.cluster._clock.call_later(0, turn.callback, None)
            await turn
        assert told < 20
        node.go(*people[1:])
        own_server.start()
        await node.until_ready()
        await node.until_counted("user-0", 1)
        assert await node.count("user-1") == 0

    @pytest_twisted.ensureDeferred
    async def test_a_node_that_ends_meanwhile(self, own: Open, own_server: RedisServer) -> None:
        staying, leaving = await own(), await own()
        ann = Person("ann")
        leaving.come(ann)
        await staying.until_counted("ann", 1)
        own_server.kill()
        await until(leaving.broker.not_ready)
        leaving.go(ann)
        await leaving.stop()
        own_server.start()
        await until(lambda: staying.changes == [("ann", True), ("ann", False)])


async def wait(seconds: float) -> None:
    await task.deferLater(reactor, seconds)


def is_at_work(node: People) -> bool:
    """Whether it is the caretaker, and has had the time to look after the dead."""
    known = node.membership
    return known.is_caretaker and node.cluster._clock.monotonic() - known.settled_at > 1.5 * LEASE


class TestLimit:
    """How many connections a user may have, wherever they are."""

    @pytest_twisted.ensureDeferred
    async def test_over_all_nodes(self, opens: Open) -> None:
        first, second = await opens(connections_per_user=2), await opens(connections_per_user=2)
        early, late, last = Person("ann"), Person("ann"), Person("ann")
        first.come(early)
        await second.until_counted("ann", 1)
        await until(lambda: second.membership.others() and first.membership.others())
        second.come(late)
        await first.until_counted("ann", 2)
        second.come(last)
        await until(lambda: last.closes)
        assert last.closes == [CloseCode.CONNECTION_LIMIT]
        assert [refusal.code for refusal in last.refusals] == [ErrorCode.CONNECTION_LIMIT]
        assert early.closes == late.closes == []

    @pytest_twisted.ensureDeferred
    async def test_those_of_a_dead_node_do_not_count_for_long(self, opens: Open) -> None:
        dying, other = await opens(connections_per_user=1), await opens(connections_per_user=1)
        dying.come(Person("ann"))
        await other.until_counted("ann", 1)
        await dying.die()
        await until(lambda: not other.membership.certainly_lives(dying.membership.instance))
        back = Person("ann")
        other.come(back)
        await until(lambda: not other.membership.dead() and not other.membership.others())
        await other.until_counted("ann", 1)
        assert back.closes == []


class TestOrders:
    """What all nodes have to do."""

    @pytest_twisted.ensureDeferred
    async def test_every_node_does_it_and_says_how_much(self, opens: Open) -> None:
        nodes = [await opens() for _ in range(3)]
        for number, node in enumerate(nodes):
            node.hub.connections = 10**number
        await until(lambda: len(nodes[0].membership.others()) == 2)
        assert await nodes[0].directory.disconnect_user(A, "ann") == 111
        assert await nodes[1].directory.revoke(A, jti="token", user_id="bob") == 111
        for node in nodes:
            assert node.hub.ordered == [("disconnect", A, "ann"), ("revoke", A, "token", "bob")]

    @pytest_twisted.ensureDeferred
    async def test_one_that_does_not_answer_is_not_waited_for_long(
        self, opens: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(orders, "PATIENCE", 0.1)
        first, second = await opens(), await opens()
        await until(lambda: first.membership.others())
        second.hub.connections = 5
        first.hub.connections = 1
        unplug = plug_ears(second)
        assert await first.directory.disconnect_user(A, "ann") == 1
        assert second.hub.ordered == []
        unplug()
        # It was away for a moment, and finds what was ordered.
        await until(lambda: second.hub.ordered == [("disconnect", A, "ann")])

    @pytest_twisted.ensureDeferred
    async def test_orders_at_once_from_everywhere(self, opens: Open) -> None:
        nodes = [await opens() for _ in range(3)]
        await gatherResults(
            [Deferred.fromCoroutine(node.directory.disconnect_user(A, str(at))) for at in range(30) for node in nodes]
        )
        for node in nodes:
            await until(lambda node=node: len(node.hub.ordered) == 90)
            assert node.hub.ordered == nodes[0].hub.ordered

    @pytest_twisted.ensureDeferred
    async def test_a_node_that_begins_knows_what_was_revoked(self, opens: Open) -> None:
        first = await opens()
        for number in range(10):
            await first.directory.revoke(A, jti=f"token-{number}")
        await first.directory.revoke("*", user_id="root")
        late = await opens()
        refused = Principal(A, "ann", Role.AGENT, jti="token-9")
        await until(lambda: is_revoked(late, refused))
        assert is_revoked(late, Principal(A, "root", Role.ADMIN, issued_at=1.0, narrowed=True))
        assert not is_revoked(late, Principal(A, "ann", Role.AGENT, jti="another"))
        # What is over is not done again.
        assert late.hub.ordered == []

    @pytest_twisted.ensureDeferred
    async def test_there_is_no_room_for_more(self, opens: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(orders, "MAX_REVOCATIONS", 3)
        node = await opens()
        await node.directory.revoke(A, jti="a")
        await node.directory.revoke(A, jti="b", user_id="c")
        await node.directory.revoke(A, jti="a")
        with pytest.raises(Refusal) as refused:
            await node.directory.revoke(A, jti="d")
        assert refused.value.code is ErrorCode.OVERLOADED
        with pytest.raises(Refusal):
            await node.directory.revoke(A)
        assert len(node.hub.ordered) == 3

    @pytest_twisted.ensureDeferred
    async def test_what_is_too_old_makes_room(
        self, opens: Open, server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(orders, "MAX_REVOCATIONS", 2)
        monkeypatch.setattr(revocation, "MAX_REVOCATIONS", 2)
        node = await opens()
        await node.directory.revoke(A, jti="a")
        await node.directory.revoke(A, user_id="b")
        name = node.broker.keys.revocations
        old = time.time() - caretaker.REVOCATIONS_KEPT
        server.ask("HSET", name, '["acme","token","a"]', repr(old - 5), '["acme","user","b"]', repr(old + 60))
        await until(lambda: server.ask("HKEYS", name) == [b'["acme","user","b"]'])
        await node.directory.revoke(A, jti="c")
        for jti in "ac":
            assert is_revoked(node, Principal(A, "ann", Role.AGENT, jti=jti))

    @pytest_twisted.ensureDeferred
    async def test_a_clock_that_is_behind_takes_nothing_back(
        self, opens: Open, server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        node = await opens()
        await node.directory.revoke(A, user_id="ann")
        [before] = server.ask("HVALS", node.broker.keys.revocations)
        monkeypatch.setattr(node.cluster._clock, "time", lambda: float(before) - 10)
        await node.directory.revoke(A, user_id="ann")
        assert server.ask("HVALS", node.broker.keys.revocations) == [before]
        assert is_revoked(node, Principal(A, "ann", Role.AGENT, issued_at=float(before) - 1))

    @pytest_twisted.ensureDeferred
    async def test_only_who_finds_it_late_compares_identifiers(
        self, opens: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The clocks that made them may differ."""
        monkeypatch.setattr(orders, "PATIENCE", 0.1)
        monkeypatch.setattr(orders, "LIVE", 0.3)
        first, second = await opens(), await opens()
        await until(lambda: first.membership.others())
        await first.directory.disconnect_user(A, "ann")
        unplug = plug_ears(second)
        await first.directory.disconnect_user(A, "bob")
        await wait(0.4)
        unplug()
        await until(lambda: len(second.hub.ordered) == 2)
        assert first.hub.opened_until == ["", ""]
        assert second.hub.opened_until[0] == ""
        assert second.hub.opened_until[1] > first.membership.instance.rpartition("~")[2]

    @pytest.mark.logs_errors
    @pytest_twisted.ensureDeferred
    async def test_what_is_not_understood_is_passed_over(self, opens: Open, server: RedisServer) -> None:
        node = await opens()
        server.ask("XADD", node.broker.keys.orders, "*", "o", "from another version")
        server.ask("SPUBLISH", node.broker.keys.reports_channel, "from another version")
        assert await node.directory.disconnect_user(A, "ann") == 0
        assert node.hub.ordered == [("disconnect", A, "ann")]


class TestEverybody:
    """The tenants there are."""

    @pytest_twisted.ensureDeferred
    async def test_are_looked_for_in_pieces_and_heard_of_by_name(
        self, opens: Open, server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        node = await opens()
        redis, keys, clock = node.broker.redis, node.broker.keys, node.cluster._clock
        server.ask("SADD", keys.tenants, *[f"t{number}" for number in range(2_000)])
        asked: list[Any] = []
        send = redis.send

        def noted(*command: Any) -> Any:
            if command[1:2] == (keys.tenants,) and command[-1] == everybody.PIECE:
                asked.append(command[0])
            return send(*command)

        monkeypatch.setattr(redis, "send", noted)
        followed: dict[str, bool] = {}
        found = TenantDiscovery(redis, keys, clock, spawn, followed.__setitem__)
        found.announced(b"nobody wants to know")
        found.look()
        assert followed == {}
        found.start()
        await until(lambda: len(followed) == 2_000 and found._is_acquainted)
        assert not any(followed.values())
        assert 4 <= len(asked) <= 8
        found.announced(b"new")
        found.announced(b"new")
        assert followed.pop("new") is True
        looks = len(asked)
        server.ask("SADD", keys.tenants, "missed")
        found.announced(b"")
        await until(lambda: "missed" in followed)
        assert followed["missed"] is True
        assert looks < len(asked)
        # Whoever begins anew amid a look finds all of them.
        found.look()
        found.stop()
        assert found.known == set()
        found.start()
        await until(lambda: len(found.known) == 2_001)
        assert followed["missed"] is False
        found.stop()


def plug_ears(node: People) -> Callable[[], None]:
    """Have a node hear of no order until the returned function is called."""
    redis = node.broker.redis
    announced, redis._announced = redis._announced, lambda channel, data: None

    def unplug() -> None:
        redis._announced = announced
        connection = redis._announcements
        assert connection is not None
        connection.abort("the test wants it so")

    return unplug


def is_revoked(node: People, principal: Principal) -> bool:
    try:
        node.hub.revocations.check(principal)
    except Refusal:
        return True
    return False
