"""The figures of RedisBroker pass the contract of all stores, on a real server; two brokers compete for a tenant."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, cast

import pytest
import pytest_twisted
from broker_contract import DEADLINE, A
from figure_store_contract import (
    DAY,
    FOLD,
    ConditionContract,
    DurableFigureContract,
    FigureContract,
    HoldContract,
    Writer,
    day_of,
    live,
    stored,
)
from redis_bench import RedisBench
from redis_server import RedisServer
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, gatherResults

from callcenter_ws.broker.redis.figures import RedisFigures
from callcenter_ws.errors import Refusal
from callcenter_ws.events.event import Origin, StoreCondition
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.keys import Keys
from callcenter_ws.statistics.checkpoint import NO_DAY, RowKey
from callcenter_ws.statistics.store import FigureClaim, FigurePosition, FigureWrite, LiveFigure

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
async def test_rows_say_up_to_where_the_log_is_the_one_that_they_are_of(bench: RedisBench) -> None:
    await bench.alerts(5)
    writer = await Writer.of(bench)
    position = await writer.write({FOLD: b"1"}, seq=3)
    found = await bench.figures.load(A, 0)
    assert found is not None
    assert (found.position, found.common) == (position, 0)
    # Redis goes on with a log that ends before the last event that nodes have seen.
    await bench.store.redis.send("HSET", bench.store.keys.of(A, "meta"), "head", "4")
    await bench.store.redis.send("DEL", bench.store.keys.of(A, "log"))
    await bench.alerts(1)
    found = await bench.figures.load(A, 0)
    assert found is not None
    assert (found.position, found.common) == (position, 4)
    assert (await bench.broker.position(A)).epoch != position.epoch


@pytest_twisted.ensureDeferred
async def test_live_figures_are_read_in_parts_while_they_change(
    bench: RedisBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = await Writer.of(bench)
    await writer.write({}, live=[LiveFigure(f"kept:{number}", b"1") for number in range(1_500)])
    parts: list[int] = []
    send = bench.store.redis.send

    async def send_slowly(command: str, *arguments: Any) -> Any:
        reply = await send(command, *arguments)
        if command in ("HSCAN", "HGETALL"):
            parts.append(len(reply[1]) // 2)
            # Further figures make Redis arrange all of them in another order.
            some = [LiveFigure(f"new:{len(parts)}:{number}", b"1") for number in range(300)]
            await writer.write({}, live=[*some, LiveFigure("kept:0", b"2"), LiveFigure("kept:1", b"2")])
        return reply

    monkeypatch.setattr(bench.store.redis, "send", send_slowly)
    found = await bench.figures.live(A)
    messages = {figure.key: figure.message for figure in found}
    assert len(messages) == len(found)
    kept = {key for key in messages if key.startswith("kept:")}
    assert kept == {f"kept:{number}" for number in range(1_500)}
    assert len(parts) > 5
    assert max(parts) < 600
    monkeypatch.undo()
    assert (await live(bench))["kept:1"] == b"2"


class ScriptedRedis:
    """Answers with replies of a test, and makes a connection again before one of them."""

    def __init__(self, *replies: list[Any], reconnects_before: int = -1) -> None:
        self._replies = list(replies)
        self._reconnects_before = reconnects_before
        self.cursors: list[bytes] = []
        self.figures = RedisFigures(
            cast("RedisClient", self),
            Keys("test", 0),
            cast("Any", None),
            lambda: "id",
            max_events=1,
            max_bytes=1,
            lease=1,
        )

    async def send(self, _command: str, _name: str, cursor: bytes, *_options: Any) -> list[Any]:
        if len(self.cursors) == self._reconnects_before:
            self.figures.connected()
        self.cursors.append(cursor)
        return self._replies.pop(0)


@pytest_twisted.ensureDeferred
async def test_of_a_live_figure_that_is_read_twice_the_last_counts() -> None:
    redis = ScriptedRedis([b"7", [b"a", b"1", b"b", b"1"]], [b"5", []], [b"0", [b"a", b"2"]])
    assert await redis.figures.live(A) == [LiveFigure("a", b"2"), LiveFigure("b", b"1")]
    assert redis.cursors == [b"0", b"7", b"5"]


@pytest_twisted.ensureDeferred
async def test_another_connection_begins_to_read_live_figures_again() -> None:
    replies = [[b"7", [b"a", b"1"]], [b"0", [b"b", b"1"]], [b"3", [b"b", b"2"]], [b"0", [b"c", b"2"]]]
    redis = ScriptedRedis(*replies, reconnects_before=1)
    assert await redis.figures.live(A) == [LiveFigure("b", b"2"), LiveFigure("c", b"2")]
    assert redis.cursors == [b"0", b"7", b"0", b"3"]


@pytest_twisted.ensureDeferred
async def test_brokers_that_compete_leave_rows_of_one_position(bench: RedisBench) -> None:
    other = RedisBench(bench.url, bench.prefix)
    await other.open()
    chance, fences, is_expired = random.Random(1), [0, 0], False
    bench.listen_to_figures()
    accepted = 0
    for number in range(150):
        side = chance.randrange(2)
        one = (bench, other)[side]
        if chance.random() < 0.3:
            # The lease runs out, as if its holder had stopped for long.
            await bench.store.redis.send("HSET", bench.store.keys.of(A, "figurelease"), "until", 0)
            is_expired = True
        if chance.random() < 0.5:
            claim = await one.figures.claim(A)
            if claim.is_held:
                assert claim.fence >= max(fences)
                is_expired = False
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
        is_holder = fences[side] == max(fences) and fences[side] > 0 and not is_expired
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


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_the_tenant_is_in_the_set_before_its_first_rows(bench: RedisBench) -> None:
    server, figures = bench.store.redis, bench.figures
    writer = await Writer.of(bench)
    # A write of which this Redis takes nothing: the type of the key of the rows is wrong.
    await server.send("SET", bench.store.keys.of(A, "figurestage"), "text")
    with pytest.raises(Refusal):
        await writer.write({day_of(str(number)): b"r" for number in range(600)})
    assert await figures.tenants() == [A]
    await server.send("DEL", bench.store.keys.of(A, "figurestage"))
    # Redis is emptied without the loss of a connection: the fold begins again, and the tenant is in the set again.
    await server.send("DEL", bench.store.keys.figure_tenants, bench.store.keys.of(A, "figures"))
    await writer.write({FOLD: b"1"})
    assert await figures.tenants() == [A]


@pytest_twisted.ensureDeferred
async def test_a_quiet_tenant_keeps_a_log_that_is_held(bench: RedisBench) -> None:
    await bench.open(history_seconds=600)
    log = bench.store.keys.of(A, "log")
    await bench.alerts(3)
    assert await bench.store.redis.send("TTL", log) <= 4_200
    writer = await Writer.of(bench)
    await writer.write({FOLD: b"1"}, hold=3)
    assert await bench.store.redis.send("TTL", log) <= 4_200
    await writer.write({FOLD: b"1"}, hold=1)
    assert await bench.store.redis.send("TTL", log) > 7 * 86_400
    await bench.alerts(1)
    assert await bench.store.redis.send("TTL", log) > 7 * 86_400
    online = bench.event("presence.changed", {"user_id": "7", "online": True}, origin=Origin.GATEWAY)
    await bench.publish(online)
    assert await bench.store.redis.send("TTL", log) > 7 * 86_400
    await bench.figures.remove_live(A)
    await bench.alerts(1)
    assert await bench.store.redis.send("TTL", log) <= 4_200


def many(count: int, text: bytes) -> dict[RowKey, bytes | None]:
    """Return rows for several calls."""
    rows: dict[RowKey, bytes | None] = {RowKey("call", str(number), NO_DAY): text for number in range(count)}
    return rows | {day_of(str(number), DAY - number % 5): text for number in range(count)} | {FOLD: text}


@pytest_twisted.ensureDeferred
async def test_large_writes_are_taken_as_a_whole(bench: RedisBench) -> None:
    other = RedisBench(bench.url, bench.prefix)
    await other.open()
    writer, seen = await Writer.of(bench), set[bytes]()
    await writer.write(many(3_000, b"0"))
    is_written = False

    async def write() -> None:
        nonlocal is_written
        number, limit = 0, reactor.seconds() + DEADLINE
        while number < 3 or len(seen) < 2:
            assert reactor.seconds() < limit, "the reader saw no second write"
            number += 1
            await bench.alerts(1)
            await writer.write({**many(3_000, b"%d" % number), RowKey("call", "3", NO_DAY): None})
        is_written = True

    async def read() -> None:
        while not is_written:
            found = await other.figures.load(A, 0)
            assert found is not None
            [text] = {value for _, value in found.rows}
            assert found.position.seq == int(text)
            assert len(found.rows) == 6_001 - (text != b"0")
            seen.add(text)
            head = await other.figures.head(A, ["fold"])
            assert head is not None
            assert dict(head.rows) == {FOLD: b"%d" % head.position.seq}

    await gatherResults([Deferred.fromCoroutine(write()), Deferred.fromCoroutine(read())], consumeErrors=True)
    await other.close()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("calls", range(1, 12))
async def test_a_large_write_that_is_interrupted_is_taken_or_not(bench: RedisBench, calls: int) -> None:
    await bench.alerts(1)
    writer = await Writer.of(bench)
    before = await writer.write(many(1_000, b"1"), live=[LiveFigure("x:", b"1")])
    await bench.alerts(1)
    run, left = bench.store.redis.run, calls

    def run_some(*arguments: Any) -> Deferred[Any]:
        nonlocal left
        left -= 1
        return run(*arguments) if left >= 0 else fail(bench.store.redis.unavailable())

    # The process ends after so many calls: another finds the rows of one of the positions.
    bench.store.redis.run = run_some  # type: ignore[method-assign]
    with suppress(Refusal):
        write = FigureWrite(writer.fence, before, FigurePosition(before.epoch, 2), 2, many(1_000, b"2"))
        await bench.figures.write(A, write)
    bench.store.redis.run = run  # type: ignore[method-assign]
    other = RedisBench(bench.url, bench.prefix)
    await other.open()
    found = await other.figures.load(A, 0)
    assert found is not None
    assert {value for _, value in found.rows} == {b"%d" % found.position.seq}
    assert (len(found.rows), found.position.seq) == (2_001, 1 if calls <= 5 else 2)
    # What was kept of a write that was not committed does not become part of the next.
    await bench.figures.release(A, writer.fence)
    later = await Writer.of(other)
    await later.write(many(1_000, b"2"))
    assert {*(await stored(other)).values()} == {b"2"}
    assert not await bench.figures.write(A, FigureWrite(writer.fence, later.after, before, 1, many(1_000, b"3")))
    assert {*(await stored(other)).values()} == {b"2"}
    await other.close()


@pytest_twisted.ensureDeferred
async def test_an_expired_claim_is_of_use_only_when_it_is_extended(bench: RedisBench) -> None:
    lease = bench.store.keys.of(A, "figurelease")
    writer = await Writer.of(bench)
    position = await writer.write({FOLD: b"1"})
    await bench.store.redis.send("HSET", lease, "until", 1)
    write = FigureWrite(writer.fence, position, position, 0, {FOLD: b"2"})
    event = bench.event()
    event.condition = StoreCondition(fence=writer.fence)
    assert not await bench.figures.write(A, write)
    assert isinstance((await bench.broker.publish([event]))[0], Refusal)
    assert await bench.figures.claim(A) == FigureClaim(writer.fence, is_held=True)
    assert await bench.figures.write(A, write)


@pytest_twisted.ensureDeferred
async def test_only_the_holder_ends_the_figures(bench: RedisBench) -> None:
    other = RedisBench(bench.url, bench.prefix)
    await other.open()
    writer = await Writer.of(bench)
    position = await writer.write({FOLD: b"1"}, live=[LiveFigure("x:", b"{}")])
    await other.figures.remove_live(A)
    assert await live(bench) == {"x:": b"{}"}
    await bench.figures.remove_live(A)
    assert not await live(other)
    assert not await bench.figures.write(A, FigureWrite(writer.fence, position, position, 0))
    later = await other.figures.claim(A)
    assert later.is_held
    assert later.fence > writer.fence
    await other.close()


@pytest_twisted.ensureDeferred
async def test_days_that_nothing_removes_expire(bench: RedisBench) -> None:
    writer = await Writer.of(bench)
    await writer.write({day_of("a"): b"a", FOLD: b"f"})
    keys = bench.store.keys
    assert await bench.store.redis.send("EXPIRETIME", keys.of(A, f"figures:{DAY}")) == (DAY + 3_651) * 86_400
    assert await bench.store.redis.send("TTL", keys.of(A, "figures")) == -1
