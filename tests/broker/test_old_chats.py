"""Chats that an earlier release stored, without queues and agents: in a SQLite file and in Redis."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest_twisted
from broker_contract import A, Bench
from chat_contract import chat, outcome, shown
from redis_bench import RedisBench
from redis_server import RedisServer
from sqlite_bench import SqliteBench

from callcenter_ws.events.event import ChatWriter

_prefixes = (f"old-{number}" for number in itertools.count())


async def publish_old(bench: Bench) -> None:
    """Publish an open chat of agent 7, one that was transferred to agent 8, and one that has ended."""
    await bench.publish(
        chat(bench, "session.started", agent_id="7", queue_name="sales"),
        chat(bench, "message"),
        chat(bench, "session.started", session="moved", agent_id="7"),
        chat(bench, "transferred", session="moved", to_agent_id="8"),
        chat(bench, "session.started", session="ended", agent_id="7"),
        chat(bench, "session.ended", session="ended"),
    )


async def outcomes(bench: Bench, session: str) -> list[str]:
    """Return whether agents 7 and 8 may write into a session."""
    found = [await outcome(bench, chat(bench, "typing", session, writer=ChatWriter(agent=agent))) for agent in "78"]
    return ["accepted" if isinstance(one, int) else one for one in found]


@pytest_twisted.async_yield_fixture
async def file_bench(tmp_path: Path) -> AsyncIterator[SqliteBench]:
    bench = SqliteBench(tmp_path / "events.sqlite")
    await bench.open()
    yield bench
    await bench.close()


@pytest_twisted.async_yield_fixture
async def redis_bench(server: RedisServer) -> AsyncIterator[RedisBench]:
    bench = RedisBench(server.url, next(_prefixes))
    await bench.open()
    yield bench
    await bench.close()


@pytest_twisted.ensureDeferred
async def test_a_file_of_an_earlier_release(file_bench: SqliteBench, tmp_path: Path) -> None:
    """The payloads say whose the chats are. Messages from before count as those of a chat that waits, in replays."""
    await publish_old(file_bench)
    # A checkpoint writes the state.
    await file_bench.alerts(1_100)
    await file_bench.broker.stop()
    with closing(sqlite3.connect(tmp_path / "events.sqlite")) as db, db:
        assert db.execute("DELETE FROM call WHERE call_id LIKE 'chat:%'").rowcount == 3
        for table in ("event", "state"):
            db.execute(f"UPDATE {table} SET agents = NULL, queue_name = NULL WHERE type LIKE 'chat.%'")  # noqa: S608 - names from this test
        db.execute("DELETE FROM state WHERE type = 'chat.message'")
    await file_bench.open()
    assert await shown(file_bench) == [(1, "7"), (3, "8"), (4, "8")]
    assert await outcomes(file_bench, "s") == ["accepted", "forbidden"]
    assert await outcomes(file_bench, "moved") == ["forbidden", "accepted"]
    assert await outcomes(file_bench, "ended") == ["unknown_session"] * 2
    await file_bench.publish(chat(file_bench, "message"))
    assert (await shown(file_bench))[-1][1] == "7"


@pytest_twisted.ensureDeferred
async def test_a_redis_of_an_earlier_release(redis_bench: RedisBench) -> None:
    """Its open chats count as unassigned until they are assigned again."""
    await publish_old(redis_bench)
    keys = redis_bench.broker.keys
    names = ("chats", "chatorder", "messages", "messageorder")
    await redis_bench.broker.redis.send("DEL", *[keys.of(A, name) for name in names])
    await redis_bench.open()
    assert await outcomes(redis_bench, "s") == ["accepted", "accepted"]
    assert await outcomes(redis_bench, "ended") == ["unknown_session"] * 2
    await redis_bench.publish(chat(redis_bench, "transferred", to_agent_id="8"))
    assert await outcomes(redis_bench, "s") == ["forbidden", "accepted"]
