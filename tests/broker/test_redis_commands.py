"""Commands in Redis: at several nodes, and what Redis may do."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import pytest_twisted
from broker_contract import A, B
from command_store_contract import closed, closing_event, command, following_event, ids, key_of, now_of
from redis_bench import RedisBench
from redis_nodes import Node, Nodes, until
from redis_server import RedisServer
from twisted.internet.defer import Deferred, gatherResults
from twisted.python.failure import Failure

from callcenter_ws.broker.redis.commands import RedisCommands
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import CommandState
from callcenter_ws.redis.scripts import COMMAND_TENANT_REMOVE, Script
from callcenter_ws.testing import FakeClock

_prefixes = (f"commands-{number}" for number in itertools.count())


@pytest_twisted.async_yield_fixture
async def bench(own_server: RedisServer) -> AsyncIterator[RedisBench]:
    bench = RedisBench(own_server.url, next(_prefixes))
    await bench.open()
    yield bench
    await bench.close()


async def active(bench: RedisBench) -> set[str]:
    """Return the tenants that a sweep asks for."""
    commands = bench.broker.commands
    assert isinstance(commands, RedisCommands)
    return set(await commands._active())


class TestNodes:
    """Several nodes at once."""

    @pytest_twisted.ensureDeferred
    async def test_one_node_accepts_dispatches_and_closes(self, nodes: Nodes) -> None:
        several = [await nodes.open() for _ in range(3)]
        numbers = range(20)
        accepted = [
            Deferred.fromCoroutine(node.store.commands.accept(command(node, key_of(number), source=node.name)))
            for number in numbers
            for node in several
        ]
        known = await gatherResults(accepted)
        assert sum(one is None for one in known) == len(numbers)
        for number in numbers:
            found = {await node.store.commands.command(key_of(number)) for node in several}
            assert len(found) == 1 and {*known[3 * number : 3 * number + 3]} <= {None, *found}
        dispatched = [
            Deferred.fromCoroutine(node.store.commands.dispatch(key_of(number), now_of(node)))
            for number in numbers
            for node in several
        ]
        assert sum(one is not None for one in await gatherResults(dispatched)) == len(numbers)
        closings = [
            node.broker.publish([closing_event(node, key_of(number), event_id=f"of {number}"), following_event(node)])
            for number in numbers
            for node in several
        ]
        outcomes = [[isinstance(one, Refusal) for one in pair] for pair in await gatherResults(closings)]
        assert sorted(outcomes) == [[False, False]] * len(numbers) + [[True, True]] * 2 * len(numbers)
        for node in several:
            await until(lambda node=node: len(node.delivered) == 2 * len(numbers))

    @pytest_twisted.ensureDeferred
    async def test_all_nodes_hear_of_accepted_commands(self, nodes: Nodes) -> None:
        several = [await nodes.open() for _ in range(2)]
        heard: list[tuple[str, ...]] = []
        for node in several:
            for _ in range(2):
                node.store.commands.listen(lambda *source, node=node: heard.append((node.name, *source)))
            await until(lambda node=node: not node.store.redis.problem)
        for number in itertools.count():
            # A subscription takes a moment, and what is missed is found by ``waiting``.
            await several[0].store.commands.accept(command(several[0], key_of(number, "7", B)))
            if {name for name, *_ in heard} == {node.name for node in several}:
                break
            await until(lambda: True)
        assert {tuple(source) for _, *source in heard} == {(B, "*", "pbx1")}
        several[1].store.commands._announced(b"no announcement")  # type: ignore[attr-defined]

    @pytest_twisted.ensureDeferred
    async def test_a_deadline_is_the_same_instant_at_a_node_whose_clock_is_wrong(self, nodes: Nodes) -> None:
        right, wrong = await skewed(nodes, 0), await skewed(nodes, 400)
        error = round(wrong.store.redis.clock_error * 1_000) - round(right.store.redis.clock_error * 1_000)
        assert abs(error) == pytest.approx(400_000, abs=5_000)
        record = command(right)
        await right.store.commands.accept(record)
        found = await wrong.store.commands.command(key_of())
        assert found is not None
        assert (found.accepted_ms, found.deadline_ms) == (record.accepted_ms - error, record.deadline_ms - error)
        assert await wrong.store.commands.overdue(found.deadline_ms, 10) == []
        assert await wrong.store.commands.overdue(found.deadline_ms + 1, 10) == [found]
        assert await wrong.store.commands.dispatch(key_of(), found.deadline_ms) is None
        assert await wrong.store.commands.dispatch(key_of(), found.deadline_ms - 1) is not None
        event = closing_event(wrong)
        assert await closed(wrong, event) == ["new"]
        closed_at, here = await wrong.store.commands.command(key_of()), await right.store.commands.command(key_of())
        assert closed_at is not None and here is not None and event.condition is not None
        assert event.condition.closes is not None
        assert closed_at.closed_ms == event.condition.closes.closed_ms == here.closed_ms - error

    @pytest.mark.parametrize("seconds", [400, -400])
    @pytest_twisted.ensureDeferred
    async def test_a_clock_that_is_set(self, nodes: Nodes, seconds: int) -> None:
        """Before it is compared with Redis's again."""
        node, other = await skewed(nodes, 0), await skewed(nodes, 0)
        now_ms = now_of(other)
        await other.store.commands.accept(command(other))
        set_clock(node, seconds)
        here_ms = now_ms + seconds * 1_000
        assert await node.store.commands.overdue(here_ms, 10) == []
        assert await node.store.commands.dispatch(key_of(), here_ms + 5_000) is None
        assert (
            await node.store.commands.accept(command(other, key_of(2), accepted_ms=here_ms, seconds=5 + seconds))
            is None
        )
        found = await other.store.commands.command(key_of(2))
        assert found is not None and found.deadline_ms <= now_ms + 5_100
        assert await other.store.commands.dispatch(key_of(), now_ms) is not None


def set_clock(node: Node, seconds: float) -> None:
    """Set the clock of a node's machine by so many seconds."""
    node.store.redis._clock.time = lambda: time.time() + seconds  # type: ignore[method-assign] # the machine's clock


async def skewed(nodes: Nodes, seconds: float) -> Node:
    """Return a node on a machine whose clock is off by so many seconds."""
    node = nodes.make()
    node.clock = FakeClock()
    node.clock.advance(100_000 + seconds)
    store = node.start()
    set_clock(node, seconds)
    await until(lambda: store.not_ready() is None)
    return node


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_a_full_redis_accepts_dispatches_and_closes_nothing(bench: RedisBench, own_server: RedisServer) -> None:
    commands = bench.broker.commands
    await commands.accept(command(bench))
    await closed(bench, closing_event(bench))
    await commands.accept(command(bench, key_of(2)))
    before = [await commands.command(key_of(number)) for number in (1, 2)]
    own_server.ask("CONFIG", "SET", "maxmemory", "1")
    for call in (commands.accept(command(bench, key_of(3))), commands.dispatch(key_of(2), now_of(bench))):
        with pytest.raises(Refusal) as refused:
            await call
        assert refused.value.code is ErrorCode.UNAVAILABLE
    events = [closing_event(bench, key_of(2), source="pbx1", number=4), following_event(bench)]
    assert await closed(bench, *events) == ["unavailable"] * 2
    assert [await commands.command(key_of(number)) for number in (1, 2, 3)] == [*before, None]
    own_server.ask("CONFIG", "SET", "maxmemory", "0")
    assert await commands.accept(command(bench, key_of(3))) is None
    assert await commands.dispatch(key_of(2), now_of(bench)) is not None
    assert await closed(bench, *events) == ["new"] * 2


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_a_redis_that_ends_between_two_calls_is_unavailable(
    bench: RedisBench, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = bench.broker.commands
    await commands.accept(command(bench))
    tenants = await commands._active()  # type: ignore[attr-defined]

    async def known() -> dict[str, float]:
        return tenants

    monkeypatch.setattr(commands, "_active", known)
    own_server.kill()
    for call in (commands.waiting("*", "pbx1", [A]), commands.overdue(now_of(bench), 10)):
        with pytest.raises(Refusal) as refused:
            await call
        assert refused.value.code is ErrorCode.UNAVAILABLE


@pytest_twisted.ensureDeferred
async def test_only_tenants_with_open_commands_are_asked(bench: RedisBench) -> None:
    commands = bench.broker.commands
    assert await active(bench) == set()
    await commands.accept(command(bench))
    await commands.accept(command(bench, key_of(1, "7", B), seconds=60))
    deadline = now_of(bench) + 5_000
    assert ids(await commands.overdue(deadline + 1, 10)) == ["1"]
    await closed(bench, closing_event(bench))
    assert await commands.overdue(deadline, 10) == []
    assert await active(bench) == {A, B}
    assert await commands.overdue(deadline + 1, 10) == []
    assert await active(bench) == {B}
    await commands.accept(command(bench, key_of(2)))
    assert await active(bench) == {A, B}
    assert [one.state for one in await commands.waiting("*", "pbx1", [A, A, "other"])] == [CommandState.ACCEPTED]


@pytest_twisted.ensureDeferred
async def test_a_tenant_that_accepts_a_command_meanwhile_stays(bench: RedisBench) -> None:
    await bench.broker.commands.accept(command(bench))
    key = bench.store.keys.command_tenants
    await bench.store.redis.run(COMMAND_TENANT_REMOVE, [key], A, "1.0")
    assert await active(bench) == {A}
    await bench.store.redis.run(COMMAND_TENANT_REMOVE, [key], "other", "1.0")
    await bench.store.redis.run(COMMAND_TENANT_REMOVE, [key], A, (await bench.store.redis.send("ZSCORE", key, A)))
    assert await active(bench) == set()


@pytest_twisted.ensureDeferred
async def test_a_command_that_is_stored_after_its_deadline_is_found(
    bench: RedisBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a process that was suspended, while another node looked for overdue commands."""
    commands, redis = bench.broker.commands, bench.store.redis
    send = redis.send

    def suspended(*sent: Any) -> Deferred[Any]:
        monkeypatch.setattr(redis, "send", send)
        sweeping = send(*sent).addCallback(lambda _: Deferred.fromCoroutine(sweep()))
        return cast("Deferred[Any]", sweeping)

    async def sweep() -> None:
        assert await active(bench) == {A}
        assert await commands.overdue(now_of(bench), 10) == []
        assert await active(bench) == set()

    monkeypatch.setattr(redis, "send", suspended)
    assert await commands.accept(command(bench, seconds=-10)) is None
    assert ids(await commands.overdue(now_of(bench), 10)) == ["1"]


@pytest.mark.parametrize("lost", ["commands", "commandstates"])
@pytest_twisted.ensureDeferred
async def test_a_redis_that_has_lost_a_part_accepts_again(
    bench: RedisBench, own_server: RedisServer, lost: str
) -> None:
    """As one that evicts keys."""
    commands = bench.broker.commands
    for number in range(300):
        await commands.accept(command(bench, key_of(number)))
    for number in range(3):
        await closed(bench, closing_event(bench, key_of(number)))
    own_server.ask("DEL", bench.store.keys.of(A, lost))
    assert await commands.command(key_of(3)) is None
    assert await closed(bench, closing_event(bench, key_of(3))) == ["unknown_command"]
    for number in (0, 3, 500):
        assert await commands.accept(command(bench, key_of(number), seconds=60)) is None
    assert ids(await commands.waiting("*", "pbx1", [A])) == ["0", "3", "500"]
    later = now_of(bench) + 30_000
    assert await commands.overdue(later, 10) == []
    assert ids(await commands.overdue(later + 60_000, 10)) == ["0", "3", "500"]


@pytest_twisted.ensureDeferred
async def test_the_keys_expire(bench: RedisBench, own_server: RedisServer) -> None:
    commands = bench.broker.commands
    for number in (1, 2):
        await commands.accept(command(bench, key_of(number)))
    await closed(bench, closing_event(bench))
    keys = {key for key in own_server.all_keys() if f"{{{A}}}:command" in key}
    assert {key.rpartition(":command")[2].partition(":")[0] for key in keys} == {
        "s",
        "states",
        "sdue",
        "sclosed",
        "sof",
    }
    for key in keys:
        assert 86_400 < own_server.ask("TTL", key) <= 2 * 86_400


def losing_replies(bench: RedisBench, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Have the next reply to a script lost, which Redis has run."""
    run = bench.store.redis.run

    def run_once(called: Script, *arguments: Any) -> Deferred[Any]:
        answer = run(called, *arguments)
        if called.name != script:
            return answer
        monkeypatch.setattr(bench.store.redis, "run", run)
        return answer.addCallback(lambda _: Failure(bench.store.redis.unavailable()))

    monkeypatch.setattr(bench.store.redis, "run", run_once)


@pytest_twisted.ensureDeferred
async def test_nothing_is_done_twice_when_replies_are_lost(bench: RedisBench, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = bench.broker.commands
    losing_replies(bench, monkeypatch, "command_accept")
    with pytest.raises(Refusal):
        await commands.accept(command(bench))
    assert await commands.accept(command(bench)) == command(bench)
    losing_replies(bench, monkeypatch, "command_dispatch")
    with pytest.raises(Refusal):
        await commands.dispatch(key_of(), now_of(bench))
    assert await commands.dispatch(key_of(), now_of(bench)) is None
    losing_replies(bench, monkeypatch, "publish")
    pair = (closing_event(bench, source="pbx1", number=1), following_event(bench))
    assert await closed(bench, *pair) == ["unavailable"] * 2
    pair = (closing_event(bench, source="pbx1", number=1), following_event(bench))
    assert await closed(bench, *pair) == ["known", "unknown_command"]
    assert (await bench.broker.position(A)).seq == 2


@pytest_twisted.ensureDeferred
async def test_a_redis_that_has_lost_everything_accepts_again(bench: RedisBench, own_server: RedisServer) -> None:
    commands = bench.broker.commands
    await commands.accept(command(bench))
    own_server.ask("FLUSHALL")
    assert await commands.command(key_of()) is None
    assert await commands.dispatch(key_of(), now_of(bench)) is None
    assert await commands.waiting("*", "pbx1", [A]) == []
    assert await commands.overdue(now_of(bench) + 9_000, 10) == []
    assert await closed(bench, closing_event(bench)) == ["unknown_command"]
    assert await commands.accept(command(bench)) is None
    assert await closed(bench, closing_event(bench), following_event(bench)) == ["new"] * 2
