"""The rows of folds while Redis is full, restarted or emptied, and while two brokers use them at the same time."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
import pytest_twisted
from broker_contract import A
from figure_store_contract import DAY, FOLD, Writer, day_of, live, stored
from redis_bench import RedisBench
from redis_nodes import until_accepted
from redis_server import RedisServer
from twisted.internet.defer import Deferred, gatherResults

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import StoreCondition
from callcenter_ws.interfaces import Broker, PublishResult
from callcenter_ws.statistics.checkpoint import RowKey
from callcenter_ws.statistics.store import FigureClaim, FigurePosition, FigureWrite, LiveFigure

pytestmark = pytest.mark.logs_errors


@pytest_twisted.async_yield_fixture
async def bench(own_server: RedisServer) -> AsyncIterator[RedisBench]:
    bench = RedisBench(own_server.url, "faults")
    await bench.open()
    yield bench
    await bench.close()


@pytest_twisted.async_yield_fixture
async def other(bench: RedisBench) -> AsyncIterator[RedisBench]:
    other = RedisBench(bench.url, bench.prefix)
    await other.open()
    yield other
    await other.close()


async def together(*calls: Awaitable[Any]) -> list[Any]:
    """Make calls that overlap; return their results, and refusals."""

    async def outcome(call: Awaitable[Any]) -> Any:
        try:
            return await call
        except Refusal as refusal:
            return refusal

    return await gatherResults([Deferred.fromCoroutine(outcome(call)) for call in calls], consumeErrors=True)


def many(text: bytes) -> dict[RowKey, bytes | None]:
    """Return rows for three calls."""
    return {FOLD: text, **{day_of(str(number)): text for number in range(1_200)}}


async def write_at(bench: RedisBench, writer: Writer, rows: dict[RowKey, bytes | None], seq: int) -> bool:
    """Write rows after the writer's position."""
    head = await bench.broker.position(A)
    taken = FigureWrite(
        writer.fence, writer.after, FigurePosition(head.epoch, seq), seq, rows, [LiveFigure("x:", b"n")]
    )
    return await bench.figures.write(A, taken)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("rows", [{FOLD: b"2"}, many(b"2")], ids=["one call", "several calls"])
async def test_a_full_redis_takes_nothing_of_a_write(
    bench: RedisBench, own_server: RedisServer, rows: dict[RowKey, bytes | None]
) -> None:
    await bench.alerts(2)
    writer = await Writer.of(bench)
    before = await writer.write(dict.fromkeys(rows, b"1"), seq=1, live=[LiveFigure("x:", b"1")])
    own_server.ask("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(Refusal) as refused:
        await write_at(bench, writer, rows, 2)
    assert refused.value.code is ErrorCode.UNAVAILABLE
    found = await bench.figures.load(A, 0)
    assert found is not None
    assert found.position == before
    assert {value for _, value in found.rows} == {b"1"}
    assert await live(bench) == {"x:": b"1"}
    own_server.ask("CONFIG", "SET", "maxmemory", "0")
    assert await bench.figures.claim(A) == FigureClaim(writer.fence, is_held=True)
    assert await write_at(bench, writer, rows, 2)
    assert {*(await stored(bench)).values()} == {b"2"}


@pytest_twisted.ensureDeferred
async def test_a_redis_that_becomes_full_still_moves_what_is_committed(
    bench: RedisBench, other: RedisBench, own_server: RedisServer
) -> None:
    await bench.alerts(2)
    writer = await Writer.of(bench)
    await writer.write(many(b"1"), seq=1)
    run = bench.store.redis.run

    def run_until_committed(script: Any, *arguments: Any) -> Deferred[Any]:
        if script.name == "figures_move":
            own_server.ask("CONFIG", "SET", "maxmemory", "1")
            raise bench.store.redis.unavailable()
        return run(script, *arguments)

    bench.store.redis.run = run_until_committed  # type: ignore[method-assign]
    with pytest.raises(Refusal):
        await write_at(bench, writer, many(b"2"), 2)
    found = await other.figures.load(A, 0)
    assert found is not None
    assert (found.position.seq, {value for _, value in found.rows}, len(found.rows)) == (2, {b"2"}, 1_201)


@pytest_twisted.ensureDeferred
async def test_a_redis_that_is_restarted_with_its_file_loses_nothing(
    bench: RedisBench, own_server: RedisServer
) -> None:
    await bench.alerts(2)
    writer = await Writer.of(bench)
    position = await writer.write(many(b"1"), hold=1, live=[LiveFigure("x:", b"1")])
    bench.listen_to_figures()
    own_server.kill()
    own_server.start()
    found = await until_accepted(lambda: bench.figures.load(A, 0))
    assert (found.position, len(found.rows)) == (position, 1_201)
    assert await live(bench) == {"x:": b"1"}
    # The node reads the live figures again, as it may have missed some.
    await bench.until(lambda: (A, None) in bench.announced)
    claim = await bench.figures.claim(A)
    assert claim == FigureClaim(writer.fence, is_held=True)
    await writer.write({FOLD: b"2"})


@pytest_twisted.ensureDeferred
async def test_after_a_loss_the_fold_continues_in_the_new_epoch(bench: RedisBench, own_server: RedisServer) -> None:
    await bench.alerts(3)
    writer = await Writer.of(bench)
    before = await writer.write({FOLD: b"3", day_of("a"): b"a"})
    own_server.ask("FLUSHALL")
    await bench.alerts(1)
    # The claim is lost as well; then the position of the write is none of the present epoch.
    write = FigureWrite(writer.fence, before, before, before.seq, {FOLD: b"4"})
    assert not await bench.figures.write(A, write)
    claim = await bench.figures.claim(A)
    assert claim.is_held
    assert claim.fence > writer.fence
    assert await bench.figures.load(A, 0) is None
    assert not await bench.figures.tenants()
    assert not await bench.figures.write(A, FigureWrite(claim.fence, None, before, 0, {FOLD: b"4"}))
    later = await Writer.of(bench)
    position = await later.write({FOLD: b"4"})
    assert position.epoch != before.epoch
    assert position.seq == 1
    assert await bench.figures.tenants() == [A]
    assert await stored(bench) == {FOLD: b"4"}


@pytest_twisted.ensureDeferred
async def test_after_the_loss_of_the_end_the_rows_continue_in_the_new_epoch(
    bench: RedisBench, own_server: RedisServer
) -> None:
    own_server.ask("CONFIG", "SET", "appendonly", "no")
    own_server.options["appendonly"] = "no"
    await bench.alerts(2)
    writer = await Writer.of(bench)
    saved = await writer.write({FOLD: b"2"})
    own_server.ask("SAVE")
    await bench.alerts(3)
    lost = await writer.write({FOLD: b"5"})
    own_server.kill()
    own_server.start()
    found = await until_accepted(lambda: bench.figures.load(A, 0))
    assert (found.position, found.rows) == (saved, [(FOLD, b"2")])
    await until_accepted(lambda: bench.alerts(1))
    assert (await bench.figures.claim(A)).is_held
    # Neither what follows the lost position, nor a position of the old epoch.
    head = await bench.broker.position(A)
    now = FigurePosition(head.epoch, head.seq)
    assert now.epoch != saved.epoch
    fence = (await bench.figures.claim(A)).fence
    assert not await bench.figures.write(A, FigureWrite(fence, lost, now, 0, {FOLD: b"6"}))
    assert not await bench.figures.write(A, FigureWrite(fence, saved, saved, 0, {FOLD: b"6"}))
    assert await bench.figures.write(A, FigureWrite(fence, saved, now, 0, {FOLD: b"3"}))
    assert await stored(bench) == {FOLD: b"3"}


@pytest_twisted.ensureDeferred
async def test_of_claims_that_overlap_one_is_granted(bench: RedisBench, other: RedisBench) -> None:
    fence = 0
    for _ in range(20):
        claims = await together(*[one.figures.claim(A) for one in (bench, other, bench, other)])
        held = {number % 2 for number, claim in enumerate(claims) if claim.is_held}
        assert len(held) == 1
        [later] = {claim.fence for claim in claims}
        assert later > fence
        fence = later
        await together(*[one.figures.release(A, fence) for one in (bench, other)])


@pytest_twisted.ensureDeferred
async def test_calls_that_overlap_leave_rows_of_one_position(bench: RedisBench, other: RedisBench) -> None:
    chance, sides = random.Random(4), (bench, other)
    taken = 0

    async def write(one: RedisBench, number: int, *, is_large: bool) -> bool:
        claim = await one.figures.claim(A)
        found = await one.figures.load(A, 0)
        head = await one.broker.position(A)
        text = b"%d" % number
        rows = many(text) if is_large else {FOLD: text}
        if found is not None and not is_large:
            # All rows have the number of the write in which they were last changed: here all of them change.
            rows = dict.fromkeys((key for key, _ in found.rows), text) | rows
        after = None if found is None else found.position
        live = [LiveFigure("x:", text)]
        return await one.figures.write(
            A, FigureWrite(claim.fence, after, FigurePosition(head.epoch, head.seq), head.seq, rows, live)
        )

    for number in range(12):
        await bench.alerts(1)
        if chance.random() < 0.5:
            await bench.store.redis.send("HSET", bench.store.keys.of(A, "figurelease"), "until", 0)
        calls = [write(chance.choice(sides), number * 10 + each, is_large=chance.random() < 0.5) for each in range(4)]
        outcomes = await together(*calls, *[one.figures.load(A, 0) for one in sides])
        taken += sum(outcome is True for outcome in outcomes)
        for found in (*outcomes[4:], *await together(*[one.figures.load(A, 0) for one in sides])):
            # Nothing is mixed: all rows are of the same write.
            assert found is None or len({value for _, value in found.rows}) == 1
    assert taken >= 12


@pytest_twisted.ensureDeferred
async def test_of_two_events_with_the_fences_of_two_brokers_one_is_accepted(
    bench: RedisBench, other: RedisBench
) -> None:
    first = await bench.figures.claim(A)
    await bench.store.redis.send("HSET", bench.store.keys.of(A, "figurelease"), "until", 0)
    second = await other.figures.claim(A)
    assert second.fence > first.fence

    async def publish(broker: Broker, fence: int, event_id: str) -> PublishResult | Refusal:
        event = bench.event(event_id=event_id)
        event.condition = StoreCondition(fence=fence)
        [outcome] = await broker.publish([event])
        return outcome

    outcomes = await together(
        publish(bench.broker, first.fence, "first"), publish(other.broker, second.fence, "second")
    )
    assert isinstance(outcomes[0], Refusal)
    assert outcomes[0].code is ErrorCode.STALE_GENERATION
    assert isinstance(outcomes[1], PublishResult)


@pytest_twisted.ensureDeferred
async def test_announcements_arrive_in_the_order_of_the_writes(bench: RedisBench, other: RedisBench) -> None:
    other.listen_to_figures()
    text = "x" * 30_000
    writer = await Writer.of(bench)
    for number in range(10):
        # Several announcements for each write, and rows in several calls for some.
        figures = [LiveFigure(f"x:{each}", b'["%d","%s"]' % (number, text.encode())) for each in range(7)]
        rows = many(b"r") if number % 3 == 0 else {FOLD: b"r", day_of("a", DAY): b"r"}
        await writer.write(rows, live=figures)
    await other.until(lambda: sum(len(changed) for _, changed in other.announced if changed) == 70)
    seen = [(figure.message.split(b'"')[1], figure.key) for _, changed in other.announced for figure in changed or ()]
    assert seen == [(b"%d" % number, f"x:{each}") for number in range(10) for each in range(7)]
    assert max(len(changed) for _, changed in other.announced if changed) < 7
