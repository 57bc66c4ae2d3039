"""A repeated event is answered and not published again, whichever nodes it comes through."""

from __future__ import annotations

import random

import pytest_twisted
from broker_contract import WINDOW, A
from redis_nodes import Nodes, until
from redis_server import RedisServer
from twisted.internet.defer import gatherResults

from callcenter_ws.interfaces import PublishResult
from callcenter_ws.redis.keys import Keys

MOST_IDS = 200_000


@pytest_twisted.ensureDeferred
async def test_through_several_nodes_at_once(nodes: Nodes) -> None:
    everyone = [await nodes.open() for _ in range(3)]
    source = random.Random(1)
    told: dict[str, set[tuple[str, int]]] = {}
    firsts = 0
    calls = []
    for _ in range(40):
        ids = [f"id-{source.randint(1, 60)}" for _ in range(10)]
        calls += [node.broker.publish([node.event(event_id=name) for name in ids]) for node in everyone]
    for outcomes in await gatherResults(calls):
        for outcome in outcomes:
            assert isinstance(outcome, PublishResult)
            told.setdefault(outcome.event_id, set()).add((outcome.epoch, outcome.seq))
            firsts += not outcome.duplicate
    assert firsts == len(told)
    assert all(len(positions) == 1 for positions in told.values())
    for node in everyone:
        await until(lambda node=node: len(node.delivered) >= firsts)
        assert sorted(node.ids()) == sorted(told)
        assert node.seqs() == list(range(1, firsts + 1))


@pytest_twisted.ensureDeferred
async def test_wherever_the_clock_stands(nodes: Nodes) -> None:
    """Identifiers are kept by spans of time; the window reaches over their borders."""
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
async def test_a_batch_over_a_border(nodes: Nodes) -> None:
    """Events of one call that were taken in before and after it are told apart all the same."""
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
    """The first comes through a node whose clock is ahead, over the border of a span."""
    node = await nodes.open()
    nodes.clock.advance(WINDOW - nodes.clock.time() % WINDOW - 1)
    behind = node.event(event_id="x")
    nodes.clock.advance(2)
    await node.publish(node.event(event_id="x"))
    (again,) = await node.publish(behind)
    assert again.duplicate


@pytest_twisted.ensureDeferred
async def test_memory_is_bounded(nodes: Nodes, server: RedisServer) -> None:
    """More are published than are remembered: the latest still are."""
    node = await nodes.open()
    keys = Keys(nodes.prefix, 0)
    await node.publish(node.event(event_id="early"))
    now = nodes.clock.time()
    span = int(now // WINDOW)
    fill = "for i = 1, ARGV[1] do redis.call('HSET', KEYS[1], 'old-' .. i, '1 ' .. ARGV[2]) end"
    server.ask("EVAL", fill, "1", keys.of(A, f"ids:{span}"), str(MOST_IDS), repr(now))
    await node.publish(node.event(event_id="x"))
    server.ask("EVAL", fill, "1", keys.of(A, f"ids:{span}"), str(MOST_IDS), repr(now))
    await node.publish(node.event(event_id="y"))
    await node.publish(node.event(event_id="z"))
    taken = await node.publish(*[node.event(event_id=name) for name in "yz"])
    assert all(outcome.duplicate for outcome in taken)
    held = sum(server.ask("HLEN", name) for name in server.all_keys(keys.of(A, "ids:*").replace("{", "[{]")))
    assert held <= 2 * MOST_IDS
