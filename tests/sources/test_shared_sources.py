"""SharedSources over several nodes: one connection of a source, exactly one announcement, numbers across nodes."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
import pytest_twisted
from redis_nodes import until, until_accepted
from shared_nodes import ACME, INSTALLATION, LONG, draft
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, gatherResults

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.source_rules import Announcement
from callcenter_ws.redis.scripts import SOURCE_END, SOURCE_HELLO
from callcenter_ws.sources import shared

SHORT = 0.4


async def refusal_of(awaitable: Any) -> ErrorCode:
    with pytest.raises(Refusal) as refused:
        await awaitable
    return refused.value.code


@pytest_twisted.ensureDeferred
async def test_the_same_instance_replaces_its_connection_at_another_node(open_node: Any) -> None:
    one, two = await open_node(), await open_node()
    first = await one.hello(generation=1)
    assert await one.publish(first, draft(1), draft(2)) == [2, 3]
    second = await two.hello(generation=1)
    assert second.source_seq == 2
    await until(lambda: one.closed)
    assert await two.publish(second, draft(2), draft(3)) == [0, 4]
    # The end of the old connection is not that of the new one.
    one.sources.link_lost(first)
    assert (one.sources.counters.connected, two.sources.counters.connected) == (0, 1)
    await until(lambda: len(two.delivered) >= 4)
    assert two.announced() == ["up"]


@pytest_twisted.ensureDeferred
async def test_a_replaced_connection_is_closed_although_the_message_is_missed(open_node: Any) -> None:
    one, two = await open_node(SHORT), await open_node(SHORT)
    one.sources._replaced = lambda _: None
    one.broker._message_handlers[one.broker.keys.sources_channel] = lambda _: None
    await one.hello()
    await two.hello()
    await until(lambda: one.closed)
    assert two.closed == []


@pytest_twisted.ensureDeferred
async def test_another_instance_is_refused_at_every_node_until_the_lease_has_ended(open_node: Any) -> None:
    one, two = await open_node(), await open_node(SHORT)
    link = await one.hello(instance="i1", generation=4)
    assert await refusal_of(two.hello(instance="i2")) is ErrorCode.SOURCE_IN_USE
    assert await refusal_of(two.hello(instance="i1", generation=3)) is ErrorCode.STALE_GENERATION
    one.sources.lease = SHORT
    one.sources.link_lost(link)
    # On a busy machine, a short lease may end while its source is connected.
    two.sources.lease = LONG
    second = await until_accepted(lambda: two.hello(instance="i2"))
    assert second.record.generation == 5
    await until(lambda: two.announced() == ["up", "down", "up"])


@pytest_twisted.ensureDeferred
async def test_a_dead_node_loses_its_sources_once(open_node: Any) -> None:
    others = [await open_node(SHORT) for _ in range(3)]
    dead = await open_node(SHORT)
    await dead.hello(INSTALLATION, tenants=["acme", "globex"])
    await dead.hello(INSTALLATION, source="pbx2", tenants=["globex"])
    await dead.close()
    for node in others:
        await until(lambda node=node: node.announced("globex").count("down") == 2)
    # Nothing is left to announce, and it is not announced again.
    keys = others[0].broker.keys
    await until(lambda: not any(node.sources._ending.is_running for node in others))
    for node in others:
        assert await until_empty(node, keys.sources_ending)
        assert node.announced("acme") == ["up", "down"]
        assert sorted(node.announced("globex")) == ["down", "down", "up", "up"]
    assert sum(node.sources.counters.lost for node in others) == 2


async def until_empty(node: Any, key: str) -> bool:
    left = 1
    while left:
        left = await node.broker.redis.send("HLEN", key)
    return True


@pytest_twisted.ensureDeferred
async def test_a_connected_source_is_not_lost(open_node: Any) -> None:
    """Its lease is renewed; the other node ends leases that are due all the time."""
    one, two = await open_node(3.0), await open_node(SHORT)
    link = await one.hello()
    key = f"{one.broker.keys.sources[:-3]}leases"
    (_, first), renewed = await one.broker.redis.send("ZRANGE", key, 0, -1, "WITHSCORES"), 0
    while renewed < 2:
        (_, score) = await one.broker.redis.send("ZRANGE", key, 0, -1, "WITHSCORES")
        renewed, first = renewed + (score != first), score
    assert await one.publish(link, draft(1)) == [2]
    assert two.announced()[:1] == ["up"]
    assert "down" not in two.announced()


@pytest_twisted.ensureDeferred
async def test_a_source_that_returns_to_another_node_is_not_announced(open_node: Any) -> None:
    one, two = await open_node(), await open_node()
    link = await one.hello()
    one.sources.link_lost(link)
    await two.hello()
    await one.close()
    again = await two.hello()
    await two.publish(again, draft(1))
    await until(lambda: len(two.delivered) >= 2)
    assert two.announced() == ["up"]


@pytest_twisted.ensureDeferred
async def test_time_in_which_no_node_runs_does_not_count(open_node: Any) -> None:
    one = await open_node(SHORT)
    await one.hello()
    redis, key = one.broker.redis, f"{one.broker.keys.sources[:-3]}leases"
    await one.close()
    watching = await open_node(LONG)
    redis = watching.broker.redis

    async def is_over() -> bool:
        _, score = await redis.send("ZRANGE", key, 0, -1, "WITHSCORES")
        seconds, microseconds = await redis.send("TIME")
        return float(score) < int(seconds) + int(microseconds) / 1e6

    while not await is_over():
        pass
    # The lease has ended by Redis's clock, but this node has not been here for as long as a lease.
    link = await watching.hello()
    await watching.publish(link, draft(1))
    await until(lambda: watching.delivered)
    assert "down" not in watching.announced()
    assert link.record.lease == 1


@pytest_twisted.ensureDeferred
async def test_a_node_that_dies_while_it_ends_a_lease(open_node: Any) -> None:
    """The lease is ended in Redis, and ``source.down`` is not published yet."""
    one = await open_node(SHORT)
    link = await one.hello()
    # It ends no leases itself.
    one.sources.stop()
    one.sources._links.clear()
    assert link.record.lease == 1
    ended = 0
    while not ended:
        ended, _ = await one.sources._run(SOURCE_END, 10, 10, repr(SHORT), repr(LONG))
    # The source returns first: both announcements, in order.
    one.sources.lease = LONG
    again = await one.hello(instance="i2")
    assert again.record.lease == 2
    await until(lambda: one.announced() == ["up", "down", "up"])
    other = await open_node(SHORT)
    await until_empty(other, other.broker.keys.sources_ending)
    assert await one.publish(again, draft(1)) == [4]
    await until(lambda: len(one.delivered) >= 4)
    assert one.announced() == ["up", "down", "up"]


@pytest_twisted.ensureDeferred
async def test_a_late_announcement_of_an_earlier_lease_changes_nothing(open_node: Any) -> None:
    node = await open_node()
    link = await node.hello()
    assert await node.sources._announcer._publish(link.record, ["acme"], "down", 0, {}) is False
    assert await node.sources._announcer._publish(link.record, ["acme"], "down", 1, {}) is True
    assert Announcement("down", 1).lease == 1
    await until(lambda: node.announced() == ["up", "down"])


@pytest_twisted.ensureDeferred
async def test_sources_say_hello_again_when_redis_has_lost_everything(open_node: Any) -> None:
    node = await open_node(SHORT)
    link = await node.hello(generation=1)
    assert await node.publish(link, draft(5)) == [2]
    await node.broker.redis.send("FLUSHDB")
    await until(lambda: node.closed)
    node.sources.link_lost(link)
    again = await until_accepted(lambda: node.hello(generation=1))
    assert again.source_seq == 0
    assert (await node.publish(again, draft(5)))[0] != 0


@pytest_twisted.ensureDeferred
async def test_names_have_one_owner_over_all_nodes(open_node: Any) -> None:
    one, two = await open_node(), await open_node()
    await one.hello()
    assert await refusal_of(two.hello(Principal("acme", "other", Role.SERVICE))) is ErrorCode.FORBIDDEN
    assert await refusal_of(two.hello(INSTALLATION, tenants=["globex", "acme"])) is ErrorCode.FORBIDDEN
    await two.hello(Principal("globex", "acd", Role.SERVICE))
    await two.hello(INSTALLATION, tenants=["initech"])
    listed = await one.sources.sources("acme")
    assert [(source["source"], source["owner"], source["state"]) for source in listed] == [("pbx1", "acd", "connected")]
    assert len(await two.sources.sources(None)) == 3


@pytest_twisted.ensureDeferred
async def test_a_name_is_forgotten_at_every_node(open_node: Any) -> None:
    one, two = await open_node(), await open_node(SHORT)
    link = await one.hello(INSTALLATION, tenants=["acme", "globex"], capabilities=["chats"], generation=2)
    assert await one.publish(link, draft(7)) == [2]
    assert await two.sources.chats_are_owned("acme")
    assert await refusal_of(two.sources.forget("pbx1", None)) is ErrorCode.SOURCE_IN_USE
    one.sources.lease = SHORT
    one.sources.link_lost(link)
    assert await until_accepted(lambda: two.sources.forget("pbx1", "acme")) == 1
    assert not await one.sources.chats_are_owned("acme")
    assert await one.sources.chats_are_owned("globex")
    assert await two.sources.forget("pbx1", None) == 1
    assert await two.sources.forget("pbx1", None) == 0
    assert await one.sources.sources(None) == []
    # On a busy machine, a short lease may end while its source is connected.
    two.sources.lease = LONG
    other = await two.hello(ACME, generation=2)
    # What is stored stays a duplicate.
    assert other.source_seq == 7
    assert await two.publish(other, draft(7), draft(8)) == [0, 5]
    await until(lambda: two.announced("acme") == ["up", "down", "up"])


@pytest_twisted.ensureDeferred
async def test_limits(open_node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    node = await open_node()
    monkeypatch.setattr(shared, "MAX_SOURCES_PER_TENANT", 2)
    monkeypatch.setattr(shared, "MAX_SOURCES", 3)
    monkeypatch.setattr(shared, "MAX_TENANTS", 2)
    for name in ("a", "b"):
        await node.hello(source=name)
    assert await refusal_of(node.hello(source="c")) is ErrorCode.OVERLOADED
    await node.hello(source="a")
    await node.hello(INSTALLATION, source="c", tenants=["globex", "x"])
    assert await refusal_of(node.hello(INSTALLATION, source="d", tenants=["globex"])) is ErrorCode.OVERLOADED
    assert await refusal_of(node.hello(INSTALLATION, source="c", tenants=["y"])) is ErrorCode.INVALID_EVENT


@pytest_twisted.ensureDeferred
async def test_events_at_two_nodes_at_once_are_stored_once_and_in_order(open_node: Any) -> None:
    """The old connection's events are under way at one node while the source sends them again at another."""
    one, two = await open_node(), await open_node()
    first = await one.hello(generation=1)
    numbers = range(1, 400)
    old = [Deferred.fromCoroutine(one.publish(first, *map(draft, numbers[at : at + 50]))) for at in range(0, 399, 50)]
    second = await two.hello(generation=1)
    new = [Deferred.fromCoroutine(two.publish(second, *map(draft, numbers[at : at + 30]))) for at in range(0, 399, 30)]
    results = await gatherResults([*old, *new], consumeErrors=True)
    assert all(isinstance(result, int) for batch in results for result in batch)
    await until(lambda: len(two.delivered) >= 400)
    assert [one.seq for one in two.delivered] == list(range(1, 401))
    assert {one.event.source for one in two.delivered} == {"pbx1"}


@pytest_twisted.ensureDeferred
async def test_a_source_that_stays_up_is_announced_again(open_node: Any) -> None:
    one = await open_node(SHORT * 3)
    await one.hello()
    of = one.broker.keys.source('["acme","pbx1"]')
    assert await one.broker.redis.send("HGET", of, "announced") is not None
    await one.broker.redis.send("HSET", of, "announced", "1")
    await until(lambda: one.announced() == ["up", "up"])
    assert b"still_up" in one.delivered[-1].event.payload

    async def is_recorded() -> bool:
        return bool(await one.broker.redis.send("HGET", of, "announced") != b"1")

    while not await is_recorded():
        pass
    assert one.announced() == ["up", "up"]


@pytest_twisted.ensureDeferred
async def test_a_source_is_announced_again_when_it_declares_other_commands(open_node: Any) -> None:
    one = await open_node()
    for capabilities in (["call.hangup"], ["call.hangup", "chats"], ["call.hold", "call.hangup"], []):
        await one.hello(capabilities=capabilities)
    await until(lambda: len(one.announced()) == 3)
    assert one.announced() == ["up"] * 3
    names = [json.loads(each.event.payload)["commands"] for each in one.delivered]
    assert names == [["call.hangup"], ["call.hangup", "call.hold"], []]


@pytest_twisted.ensureDeferred
async def test_any_tenant_and_any_name(open_node: Any) -> None:
    """Spaces, quotes and brackets do not confuse what is kept in Redis."""
    node = await open_node(SHORT)
    owner = Principal('a "b]{}', "me", Role.SERVICE)
    link = None
    for _ in range(2):
        link = await node.hello(owner, source="p b/ü {1}", generation=1, capabilities=["chats"])
    assert link is not None
    assert await node.publish(link, draft(1, owner.tenant_id)) == [2]
    assert await node.sources.chats_are_owned(owner.tenant_id)
    node.sources.link_lost(link)
    assert await until_accepted(lambda: node.sources.forget("p b/ü {1}", owner.tenant_id)) == 1
    assert not await node.sources.chats_are_owned(owner.tenant_id)


@pytest.mark.logs_errors
@pytest.mark.parametrize("reconnects", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_redis_that_does_not_answer_may_store_events_later(
    open_own_node: Any, own_server: Any, reconnects: bool
) -> None:
    """What becomes of the first call is not known; later calls, on a new connection to Redis, must not overtake it."""
    node = await open_own_node()
    link = await node.hello(generation=1)
    assert await node.publish(link, *map(draft, range(1, 11))) == list(range(2, 12))
    own_server.pause()
    answers = [Deferred.fromCoroutine(node.publish(link, *map(draft, range(at, at + 250)))) for at in (11, 261)]
    for answer in answers:
        assert set(await answer) == {"unavailable"}
    own_server.resume()
    await until(lambda: node.broker.not_ready() is None)
    if reconnects:
        node.sources.link_lost(link)
        link = await until_accepted(lambda: node.hello(generation=1))
    # Out of order: the link, or the store, refuses what is above a number that has not come again.
    early = await node.publish(link, draft(511)) if not reconnects else ["unavailable"]
    assert early == ["unavailable"]
    outcomes: list[Any] = ["unavailable"]
    while "unavailable" in outcomes:
        await task.deferLater(reactor, 0.01)
        outcomes = [*await node.publish(link, *map(draft, range(11, 512)))]
    await until(lambda: len(node.delivered) >= 512)
    assert [one.seq for one in node.delivered] == list(range(1, 513))
    stored = (await node.broker.read("acme", 0, 1_000)).publications
    assert len(stored) == 512
    assert await node.publish(link, *map(draft, range(1, 512))) == [0] * 511


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_time_in_which_redis_does_not_answer_does_not_count(open_own_node: Any, own_server: Any) -> None:
    node = await open_own_node(0.3)
    await node.hello()
    own_server.pause()
    # After the timeout of half a second; the lease has ended by then.
    await until(node.broker.not_ready)
    own_server.resume()
    await until(lambda: node.broker.not_ready() is None and node.sources._renewed_at is not None)
    assert node.closed == []
    assert node.announced() == ["up"]


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_a_command_that_waited_while_redis_stood_still_ends_no_lease(open_own_node: Any, own_server: Any) -> None:
    lease = 0.6
    node = await open_own_node(lease)
    link = await node.hello()
    await until(lambda: node.sources._can_end_leases)
    # Its clock goes on, so that the lease is over when it executes what has waited in its socket.
    own_server.pause()
    ending = [node.sources._run(SOURCE_END, 10, 10, repr(lease), repr(lease / 3)) for _ in range(3)]
    at = node.clock.monotonic()
    await until(lambda: node.clock.monotonic() - at > 2 * lease)
    own_server.resume()
    for one in ending:
        with suppress(Refusal):
            await one
    await until(lambda: node.broker.not_ready() is None and node.sources._renewed_at is not None)
    await until(lambda: node.sources._can_end_leases)
    assert node.closed == []
    assert node.sources._links == {link.link_id: link}
    assert node.announced() == ["up"]


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_a_redis_without_memory_ends_no_lease(open_own_node: Any, own_server: Any) -> None:
    lease = 0.6
    node, other = await open_own_node(lease), await open_own_node(lease)
    link = await node.hello()
    await until(lambda: node.sources._can_end_leases and other.sources._can_end_leases)
    own_server.ask("CONFIG", "SET", "maxmemory", "1")
    at = node.clock.monotonic()
    await until(lambda: node.clock.monotonic() - at > 3 * lease)
    own_server.ask("CONFIG", "SET", "maxmemory", "0")
    await until(lambda: node.sources._can_end_leases and other.sources._can_end_leases)
    assert node.closed == []
    assert node.sources._links == {link.link_id: link}
    assert node.announced() == other.announced() == ["up"]


@pytest_twisted.ensureDeferred
async def test_an_announcement_that_takes_long_delays_no_renewal(
    open_node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "LINKS_PER_CALL", 1)
    node = await open_node(SHORT * 3)
    names = ("a", "b", "c")
    for name in names:
        await node.hello(source=name)
    redis, keys = node.broker.redis, node.broker.keys
    calls, blocked = 0, Deferred[None]()

    async def never(record: Any) -> None:
        nonlocal calls
        calls += 1
        await blocked

    monkeypatch.setattr(node.sources._announcer, "still_up", never)
    for name in names:
        await redis.send("HSET", keys.source(f'["acme","{name}"]'), "announced", "1")
    await until(lambda: calls == 1)
    for _ in range(2):
        renewed_at = node.sources._renewed_at
        await until(lambda before=renewed_at: node.sources._renewed_at not in (None, before))
    assert (calls, node.sources.counters.lost, node.closed) == (1, 0, [])
    blocked.callback(None)
    await until(lambda: node.sources._announcing.is_idle)


@pytest_twisted.ensureDeferred
async def test_a_refused_announcement_stops_no_renewal(open_node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "LINKS_PER_CALL", 1)
    node = await open_node(SHORT * 3)
    for name in ("a", "b"):
        await node.hello(source=name)
    refused = []

    async def refuse(record: Any) -> None:
        refused.append(record.name)
        raise Refusal(ErrorCode.UNAVAILABLE)

    monkeypatch.setattr(node.sources._announcer, "still_up", refuse)
    await node.broker.redis.send("HSET", node.broker.keys.source('["acme","a"]'), "announced", "1")
    await until(lambda: len(refused) >= 3)
    assert set(refused) == {"a"}
    assert (node.sources.counters.lost, node.closed) == (0, [])
    assert node.sources._renewed_at is not None


@pytest_twisted.ensureDeferred
async def test_a_source_that_cannot_be_announced_down_holds_up_no_other(
    open_node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await open_node(SHORT)
    links = [await node.hello(source=name) for name in ("a", "b", "c")]
    lost = node.sources._announcer.lost
    said = set()

    async def refuse_two(record: Any, *arguments: Any) -> None:
        if record.name != "b":
            said.add(record.name)
            raise Refusal(ErrorCode.UNAVAILABLE)
        await lost(record, *arguments)

    monkeypatch.setattr(node.sources._announcer, "lost", refuse_two)
    # One at a time: those that are refused must not hide the other.
    monkeypatch.setattr(shared, "MAX_ENDED_PER_TICK", 1)
    for link in links:
        node.sources.link_lost(link)
    await until(lambda: node.announced() == [*["up"] * 3, "down"] and len(said) == 2)
    monkeypatch.setattr(node.sources._announcer, "lost", lost)
    await until(lambda: node.announced() == [*["up"] * 3, *["down"] * 3])
    await until_empty(node, node.broker.keys.sources_ending)


@pytest_twisted.ensureDeferred
async def test_a_bounded_number_of_ended_leases_is_read_at_once(open_node: Any) -> None:
    node = await open_node()
    redis, keys = node.broker.redis, node.broker.keys
    node.sources.stop()
    for number in range(20):
        await redis.send("HSET", keys.sources_ending, f'1 ["acme","{number}"]', "x")
    _, ending = await node.sources._run(SOURCE_END, 5, 0, "1.0", "1.0")
    assert len(set(ending[::2])) == 5


@pytest.mark.parametrize("suspended", [False, True], ids=["the process", "the machine"])
@pytest_twisted.ensureDeferred
async def test_a_node_that_stood_still_ends_no_lease_of_its_own_sources(
    open_node: Any, monkeypatch: pytest.MonkeyPatch, suspended: bool
) -> None:
    # Leases are renewed in several calls, so one that ends leases comes in between.
    monkeypatch.setattr(shared, "LINKS_PER_CALL", 1)
    node = await open_node(SHORT)
    for name in ("a", "b", "c", "d"):
        await node.hello(source=name)
    await until(lambda: node.sources._can_end_leases)
    redis, key = node.broker.redis, f"{node.broker.keys.sources[:-3]}leases"

    async def scores() -> tuple[list[float], float]:
        found = await redis.send("ZRANGE", key, 0, -1, "WITHSCORES")
        seconds, microseconds = await redis.send("TIME")
        return [float(score) for score in found[1::2]], int(seconds) + int(microseconds) / 1e6

    node.sources._timer.cancel()
    await until(lambda: node.sources._renewal.is_idle and node.sources._ending.is_idle)
    stopped_at = node.clock.monotonic()
    leases, now = await scores()
    while max(leases) > now:
        leases, now = await scores()
    if suspended:
        # The monotonic clock has not gone on meanwhile.
        monotonic, lost = node.clock.monotonic, node.clock.monotonic() - stopped_at
        monkeypatch.setattr(node.clock, "monotonic", lambda: monotonic() - lost)
    node.sources._tick()
    while min(leases) < now:
        leases, now = await scores()
        assert len(leases) == 4
    assert (node.sources.counters.lost, node.closed) == (0, [])
    assert "down" not in node.announced()


@pytest_twisted.ensureDeferred
async def test_late_announcements_of_a_forgotten_source_do_not_count_for_the_next(open_node: Any) -> None:
    node = await open_node()
    link = await node.hello(INSTALLATION, tenants=["acme", "globex"])
    of = node.broker.keys.source('["*","pbx1"]')
    await node.broker.redis.send("HSET", of, "instance", "", "lease", "5")
    assert await node.sources.forget("pbx1", "acme") == 1
    next_one = await node.hello(ACME)
    assert next_one.record.lease == 6
    assert await node.sources._announcer._publish(link.record, ["acme"], "down", 5, {}) is False
    assert await node.sources.forget("pbx1", None) == 1
    assert (await node.hello(INSTALLATION, tenants=["globex"])).record.lease == 6


@pytest_twisted.ensureDeferred
async def test_a_name_that_is_taken_between_the_two_steps_of_hello(open_node: Any) -> None:
    node, other = await open_node(), await open_node()
    run, taken = node.sources._run, []

    async def take_meanwhile(script: Any, *arguments: Any) -> Any:
        if script is SOURCE_HELLO and not taken:
            taken.append(await other.hello(ACME))
        return await run(script, *arguments)

    node.sources._run = take_meanwhile
    assert await refusal_of(node.hello(INSTALLATION, tenants=["acme", "globex"])) is ErrorCode.FORBIDDEN
    assert taken
    (listed,) = await node.sources.sources("acme")
    assert (listed["owner"], listed["state"]) == ("acd", "connected")
    (left,) = await node.sources.sources("globex")
    assert left["tenants"] == ["globex"]
    # Neither the next Hello nor the end of its lease says anything to the tenant that it did not get.
    again = await node.hello(INSTALLATION, tenants=["globex"])
    assert again.record.claimed == ("globex",)
    await until(lambda: other.announced("acme") == ["up"])
