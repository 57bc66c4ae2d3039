"""Duplicates are recognised, whichever nodes they are published through."""

from __future__ import annotations

import random

import pytest_twisted
from broker_contract import WINDOW, A
from redis_nodes import Nodes, until
from redis_server import RedisServer
from twisted.internet.defer import gatherResults

from callcenter_ws.events.event import Origin
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.redis.keys import Keys

MAX_IDS = 200_000
"""Of clients; of daemons there are more than a test can store."""


@pytest_twisted.ensureDeferred
async def test_through_several_nodes_at_once(nodes: Nodes) -> None:
    all_nodes = [await nodes.open() for _ in range(3)]
    source = random.Random(1)
    positions: dict[str, set[tuple[str, int]]] = {}
    firsts = 0
    calls = []
    for _ in range(40):
        ids = [f"id-{source.randint(1, 60)}" for _ in range(10)]
        calls += [node.broker.publish([node.event(event_id=name) for name in ids]) for node in all_nodes]
    for outcomes in await gatherResults(calls):
        for outcome in outcomes:
            assert isinstance(outcome, PublishResult)
            positions.setdefault(outcome.event_id, set()).add((outcome.epoch, outcome.seq))
            firsts += not outcome.duplicate
    assert firsts == len(positions)
    assert all(len(known) == 1 for known in positions.values())
    for node in all_nodes:
        await until(lambda node=node: len(node.delivered) >= firsts)
        assert sorted(node.ids()) == sorted(positions)
        assert node.seqs() == list(range(1, firsts + 1))


@pytest_twisted.ensureDeferred
async def test_at_different_times_within_a_span(nodes: Nodes) -> None:
    """Ids are stored by spans of time; the window extends over their limits."""
    first, second = await nodes.open(), await nodes.open()
    for number in range(40):
        name = f"x{number}"
        (one,) = await first.publish(first.event(event_id=name))
        nodes.clock.advance(WINDOW - 1)
        (again,) = await second.publish(second.event(event_id=name))
        assert (again.seq, again.duplicate) == (one.seq, True)
        nodes.clock.advance(2)
        (another,) = await second.publish(second.event(event_id=name))
        assert another.duplicate is False
        assert another.seq == one.seq + 1
        nodes.clock.advance(17 * number)


@pytest_twisted.ensureDeferred
async def test_a_batch_of_two_spans(nodes: Nodes) -> None:
    """Events of one call may have been received in two spans."""
    node = await nodes.open()
    nodes.clock.advance(WINDOW - nodes.clock.time() % WINDOW - 1)
    early = [node.event(event_id=name) for name in "abc"]
    nodes.clock.advance(2)
    late = [node.event(event_id=name) for name in "cde"]
    taken = await node.publish(*early, *late)
    assert [(outcome.seq, outcome.duplicate) for outcome in taken] == [
        (1, False),
        (2, False),
        (3, False),
        (3, True),
        (4, False),
        (5, False),
    ]


@pytest_twisted.ensureDeferred
async def test_a_clock_that_is_a_little_behind(nodes: Nodes) -> None:
    """The first was received by a node whose clock is ahead, in the next span."""
    node = await nodes.open()
    nodes.clock.advance(WINDOW - nodes.clock.time() % WINDOW - 1)
    behind = node.event(event_id="x")
    nodes.clock.advance(2)
    await node.publish(node.event(event_id="x"))
    (again,) = await node.publish(behind)
    assert again.duplicate


@pytest_twisted.ensureDeferred
async def test_the_number_of_ids_is_limited(nodes: Nodes, server: RedisServer) -> None:
    """When more ids are published than are stored, the latest are kept."""
    node = await nodes.open()
    keys = Keys(nodes.prefix, 0)
    await node.publish(node.event(event_id="early", origin=Origin.CLIENT), node.event(event_id="daemon"))
    now = nodes.clock.time()
    span = int(now // WINDOW)
    fill = "for i = 1, ARGV[1] do redis.call('HSET', KEYS[1], 'old-' .. i, '1 ' .. ARGV[2]) end"
    server.ask("EVAL", fill, "1", keys.of(A, f"clientids:{span}"), str(MAX_IDS), repr(now))
    await node.publish(node.event(event_id="x", origin=Origin.CLIENT))
    server.ask("EVAL", fill, "1", keys.of(A, f"clientids:{span}"), str(MAX_IDS), repr(now))
    await node.publish(node.event(event_id="y", origin=Origin.CLIENT))
    await node.publish(node.event(event_id="z", origin=Origin.CLIENT))
    taken = await node.publish(*[node.event(event_id=name, origin=Origin.CLIENT) for name in "yz"])
    assert all(outcome.duplicate for outcome in taken)
    (of_daemon,) = await node.publish(node.event(event_id="daemon"))
    assert of_daemon.duplicate
    held = sum(server.ask("HLEN", name) for name in server.all_keys(keys.of(A, "clientids:*").replace("{", "[{]")))
    assert held <= 2 * MAX_IDS


def freed_lazily(server: RedisServer) -> int:
    """Return how many values Redis has freed outside its main thread."""
    (line,) = [line for line in server.ask("INFO", "memory").split() if line.startswith(b"lazyfreed_objects:")]
    return int(line.partition(b":")[2])


FILL = """
for i = 1, ARGV[1] do redis.call('HSET', KEYS[1], 'old-' .. i, '1 ' .. ARGV[2]) end
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""


@pytest_twisted.ensureDeferred
async def test_ids_are_freed_without_blocking_redis(own_nodes: Nodes, own_server: RedisServer) -> None:
    node = await own_nodes.open()
    keys = Keys(own_nodes.prefix, 0)
    now = own_nodes.clock.time()
    span = int(now // WINDOW)
    # Two spans of which no id is searched for any more. The clocks of nodes say so of the second one only.
    for old, seconds in ((span - 3, "600"), (span - 4, "1200")):
        own_server.ask("EVAL", FILL, "1", keys.of(A, f"ids:{old}"), "1000", repr(now), seconds)
        own_server.ask("SADD", keys.of(A, "spans"), str(old))
    await node.publish(node.event(event_id="x"))
    assert own_server.all_keys("*:ids:*") == {keys.of(A, f"ids:{each}") for each in (span - 4, span)}
    assert own_server.ask("SMEMBERS", keys.of(A, "spans")) == [str(each).encode() for each in (span - 4, span)]
    await until(lambda: freed_lazily(own_server) == 1)


@pytest_twisted.ensureDeferred
async def test_ids_that_are_replaced_at_the_limit_are_freed_without_blocking_redis(
    own_nodes: Nodes, own_server: RedisServer
) -> None:
    keys = Keys(own_nodes.prefix, 0)
    now = own_nodes.clock.time()
    span = int(now // WINDOW)
    # Before there is a connection, which would be given up.
    for each, count in ((span, MAX_IDS), (span - 1, 1_000)):
        own_server.ask("EVAL", FILL, "1", keys.of(A, f"clientids:{each}"), str(count), repr(now), "600")
    node = await own_nodes.open()
    await node.publish(node.event(event_id="x", origin=Origin.CLIENT))
    assert own_server.ask("HLEN", keys.of(A, f"clientids:{span - 1}")) == MAX_IDS + 1
    await until(lambda: freed_lazily(own_server) == 1)
