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

from callcenter_ws.broker.chat_messages import SESSION_BYTES, TENANT_BYTES
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


def end_as_an_earlier_release(server: RedisServer, bench: RedisBench, chats: dict[str, int]) -> None:
    """End chats as a node of an earlier release does, without their messages.

    Args:
        chats: the sessions, with the positions at which they began.
    """
    keys = bench.broker.keys
    for session, seq in chats.items():
        entity = f'["chat","{session}"]'
        assert server.ask("HDEL", keys.of(A, "entities"), entity) == 1
        assert server.ask("ZREM", keys.of(A, "order"), entity) == 1
        assert server.ask("HDEL", keys.of(A, "slots"), str(seq)) == 1


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


@pytest_twisted.ensureDeferred
async def test_messages_of_chats_that_an_earlier_release_has_ended_are_in_no_state(
    redis_bench: RedisBench, server: RedisServer
) -> None:
    for session in "abc":
        await redis_bench.publish(chat(redis_bench, "session.started", session), chat(redis_bench, "message", session))
    end_as_an_earlier_release(server, redis_bench, {"a": 1, "b": 3})
    await redis_bench.open()
    assert await redis_bench.state() == [5, 6]
    # A chat with the same session has its own messages only.
    await redis_bench.publish(chat(redis_bench, "session.started", "a"), chat(redis_bench, "message", "a"))
    assert await redis_bench.state() == [5, 6, 7, 8]


@pytest_twisted.ensureDeferred
async def test_messages_of_chats_that_an_earlier_release_has_ended_give_way_at_the_limit(
    redis_bench: RedisBench, server: RedisServer
) -> None:
    body = "x" * (SESSION_BYTES - 500)
    sessions = [f"s{number}" for number in range(TENANT_BYTES // SESSION_BYTES + 10)]
    messages = redis_bench.broker.keys.of(A, "messages")
    for number, session in enumerate(sessions, 1):
        await redis_bench.publish(
            chat(redis_bench, "session.started", session), chat(redis_bench, "message", session, body=body)
        )
        if number == 20:
            end_as_an_earlier_release(
                server, redis_bench, {session: 2 * at + 1 for at, session in enumerate(sessions[:5])}
            )
            # The sixth begins again: it has an entity, but the entity does not list its message.
            end_as_an_earlier_release(server, redis_bench, {sessions[5]: 11})
            await redis_bench.publish(chat(redis_bench, "session.started", sessions[5]))
    kept = server.ask("HLEN", messages)
    assert TENANT_BYTES // SESSION_BYTES - 1 <= kept < len(sessions) - 6
    assert server.ask("ZCARD", redis_bench.broker.keys.of(A, "messageorder")) == kept
    held = sum(len(line) for line in server.ask("HVALS", messages))
    assert held <= TENANT_BYTES + 10 * 1_000
    assert 0 < int(server.ask("HGET", redis_bench.broker.keys.of(A, "meta"), "messagebytes")) <= TENANT_BYTES
