"""Nodes whose clocks are wrong: all times in the store are by Redis's clock."""

from __future__ import annotations

import time

import pytest_twisted
from broker_contract import A, payload_of
from redis_nodes import Node, Nodes, until

from callcenter_ws.testing import FakeClock

DAY = 86_400.0


async def skewed(nodes: Nodes, seconds: float, **limits: float) -> Node:
    """Return a node on a machine whose clock is off by so many seconds."""
    node = nodes.make()
    node.clock = FakeClock()
    node.clock.advance(100_000 + seconds)
    store = node.start(**limits)
    store.redis._clock.time = lambda: time.time() + seconds
    await until(lambda: store.not_ready() is None)
    await store.position(A)
    return node


@pytest_twisted.ensureDeferred
async def test_a_duplicate_through_a_node_whose_clock_is_wrong(nodes: Nodes) -> None:
    nodes.clock.advance(100_000)
    right = await nodes.open()
    for number, seconds in enumerate((400.0, -400.0, 5_000.0)):
        wrong = await skewed(nodes, seconds)
        (first,) = await right.publish(right.event(event_id=f"x{number}"))
        (again,) = await wrong.publish(wrong.event(event_id=f"x{number}"))
        assert (again.seq, again.duplicate) == (first.seq, True)


@pytest_twisted.ensureDeferred
async def test_a_clock_that_is_ahead_expires_no_history(nodes: Nodes) -> None:
    nodes.clock.advance(100_000)
    right = await nodes.open(history_seconds=3_600.0)
    await right.publish(right.event("agent.login", payload_of("agent.login")), right.event())
    wrong = await skewed(nodes, DAY + 3_600, history_seconds=3_600.0)
    await wrong.publish(wrong.event())
    await until(lambda: len(right.delivered) == 3)
    page = await wrong.store.read(A, 0, 10)
    assert [message.seq for message in page.publications] == [1, 2, 3]
    for node in (right, wrong):
        assert [message.seq for message in (await node.store.snapshot(A)).publications] == [1]


@pytest_twisted.ensureDeferred
async def test_a_small_difference_of_the_clocks_is_not_corrected(nodes: Nodes) -> None:
    """Else the delays of the network would change the ages of events."""
    node = await nodes.open()
    assert node.store.redis.clock_error == 0
