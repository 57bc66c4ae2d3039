"""The figures of RedisBroker pass the contract of all stores, on a real server; two brokers compete for a tenant."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator

import pytest_twisted
from broker_contract import A
from figure_store_contract import FOLD, ConditionContract, DurableFigureContract, FigureContract, HoldContract, day_of
from redis_bench import RedisBench
from redis_server import RedisServer

from callcenter_ws.errors import Refusal
from callcenter_ws.events.event import StoreCondition
from callcenter_ws.statistics.store import FigurePosition, FigureWrite, LiveFigure

_prefixes = (f"figures-{number}" for number in itertools.count())


@pytest_twisted.async_yield_fixture
async def bench(server: RedisServer) -> AsyncIterator[RedisBench]:
    bench = RedisBench(server.url, next(_prefixes))
    await bench.open()
    yield bench
    await bench.close()


class TestRedisFigures(FigureContract, ConditionContract, HoldContract, DurableFigureContract):
    """Passes the contract."""


@pytest_twisted.ensureDeferred
async def test_brokers_that_compete_leave_rows_of_one_position(bench: RedisBench) -> None:
    other = RedisBench(bench.url, bench.prefix)
    await other.open()
    chance, fences = random.Random(1), [0, 0]
    bench.listen_to_figures()
    accepted = 0
    for number in range(150):
        side = chance.randrange(2)
        one = (bench, other)[side]
        if chance.random() < 0.3:
            # The lease runs out, as if its holder had stopped for long.
            await bench.store.redis.send("HSET", bench.store.keys.of(A, "figurelease"), "until", 0)
        if chance.random() < 0.5:
            claim = await one.figures.claim(A)
            if claim.is_held:
                assert claim.fence >= max(fences)
                fences[side] = claim.fence
        await bench.alerts(1)
        head = await bench.broker.position(A)
        found = await one.figures.load(A, 0)
        text = b"%d" % head.seq
        event = bench.event()
        event.condition = StoreCondition(fence=fences[side])
        write = FigureWrite(
            fences[side],
            None if found is None else found.position,
            FigurePosition(head.epoch, head.seq),
            head.seq,
            {FOLD: text, day_of("a"): text},
            [LiveFigure("x:", text)],
        )
        is_holder = fences[side] == max(fences) and fences[side] > 0
        assert await one.figures.write(A, write) == is_holder, number
        [outcome] = await one.broker.publish([event])
        assert isinstance(outcome, Refusal) != is_holder
        accepted += is_holder
        now = await bench.figures.load(A, 0)
        if now is not None:
            assert {value for _, value in now.rows} == {b"%d" % now.position.seq}
        if chance.random() < 0.2:
            await one.figures.release(A, fences[side])
            fences[side] = 0 if is_holder else fences[side]
            if is_holder:
                fences[1 - side] = 0
    assert accepted
    await bench.until(lambda: len([1 for _, changed in bench.announced if changed]) == accepted)
    await other.close()
