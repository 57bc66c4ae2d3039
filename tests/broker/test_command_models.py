"""The stores in a file and in Redis answer random requests about commands as the one in memory does."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from broker_contract import A, B, Bench
from command_store_contract import DONE, FAILED, closed, closing_event, command, following_event, key_of, now_of
from redis_bench import RedisBench
from redis_server import RedisServer
from sqlite_bench import SqliteBench

from callcenter_ws.broker import command_table
from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.errors import Refusal
from callcenter_ws.events.commands import LIFETIME_SECONDS, CommandKey, CommandRecord, CommandState
from callcenter_ws.interfaces import Broker

REQUESTS = 250
SOURCES = ("pbx1", "pbx2")

_prefixes = (f"command-model-{number}" for number in itertools.count())


class MemoryBench(Bench):
    """The store that the others are compared with."""

    def make(self, *, history_events: int, history_seconds: float, history_bytes: int = 2**40) -> Broker:
        return MemoryBroker(self.clock, memory_events=history_events, history_seconds=history_seconds)


class Requests:
    """Random requests, the same for both stores."""

    def __init__(self, rng: random.Random, benches: tuple[Bench, Bench]) -> None:
        self._rng = rng
        self._benches = benches
        self._ids = itertools.count()

    async def both(self, request: Callable[[Bench], Any]) -> Any:
        """Make a request of both stores; return the answer, which must be the same."""
        answers = []
        for bench in self._benches:
            try:
                answers.append(await request(bench))
            except Refusal as refusal:
                answers.append(refusal.code)
        assert answers[0] == answers[1]
        return answers[0]

    async def any(self) -> None:
        """Make any request."""
        rng = self._rng
        requests = [self.accept, self.dispatch, self.close, self.list, self.wait] * 4 + [self.wait_for_a_day]
        await rng.choice(requests)()

    def key(self) -> CommandKey:
        """Return one of few keys."""
        return key_of(self._rng.randrange(6), self._rng.choice("78"), self._rng.choice((A, A, B)))

    async def accept(self) -> None:
        key, seconds, source = self.key(), self._rng.choice((1, 5, 60)), self._rng.choice(SOURCES)
        await self.both(lambda bench: bench.broker.commands.accept(command(bench, key, seconds, source=source)))

    async def dispatch(self) -> None:
        key = self.key()
        await self.both(lambda bench: bench.broker.commands.dispatch(key, now_of(bench)))

    async def close(self) -> None:
        """Close up to three commands in one call, some of them twice or on a condition."""
        drawn = [
            (
                self.key(),
                self._rng.choice((DONE, FAILED)),
                self._rng.choice((None, *SOURCES)),
                self._rng.choice((None, None, *[state for state in CommandState if state.is_open])),
            )
            for _ in range(self._rng.randint(1, 3))
        ]
        number = next(self._ids)

        async def request(bench: Bench) -> list[str]:
            events = []
            for index, (key, outcome, source, state) in enumerate(drawn):
                where = {"tenant_id": key.tenant_id, "event_id": f"{number}-{index}"}
                events += [closing_event(bench, key, outcome, source=source, state=state, **where)]
                events += [following_event(bench, tenant_id=key.tenant_id)]
            return await closed(bench, *events)

        await self.both(request)

    async def list(self) -> None:
        for source in SOURCES:
            await self.both(lambda bench, source=source: bench.broker.commands.waiting("*", source, [A, B]))

        async def overdue(bench: Bench) -> list[CommandKey]:
            found = await bench.broker.commands.overdue(now_of(bench), 100)
            return sorted((one.key for one in found), key=repr)

        await self.both(overdue)
        for name in (A, B):
            for user_id, number in itertools.product("78", range(6)):
                key = key_of(number, user_id, name)
                await self.both(lambda bench, key=key: remembered(bench, key))

    async def wait(self) -> None:
        seconds = self._rng.choice((0.001, 1, 1, 10, 3_600))
        for bench in self._benches:
            bench.clock.advance(seconds)

    async def wait_for_a_day(self) -> None:
        """Let all expire that is closed, after a sweep has closed all."""

        async def sweep(bench: Bench) -> int:
            found = await bench.broker.commands.overdue(now_of(bench) + 99_000, 100)
            events = [closing_event(bench, one.key, FAILED, tenant_id=one.key.tenant_id) for one in found]
            assert await closed(bench, *events) == ["new"] * len(found)
            return len(found)

        await self.both(sweep)
        for bench in self._benches:
            bench.clock.advance(LIFETIME_SECONDS)


async def remembered(bench: Bench, key: CommandKey) -> CommandRecord | None:
    """Return a command; None, too, if it may be forgotten. When it is, depends on the store."""
    found = await bench.broker.commands.command(key)
    if found is None or found.state.is_open or found.accepted_ms > now_of(bench) - LIFETIME_SECONDS * 1_000:
        return found
    return None


async def compare(bench: Bench, seed: int, *, reopens: bool) -> None:
    rng, memory = random.Random(seed), MemoryBench()
    await memory.open()
    await bench.open()
    requests = Requests(rng, (memory, bench))
    for number in range(REQUESTS):
        # Accepted at one time, they have no order.
        for one in (memory, bench):
            one.clock.advance(0.001)
        await requests.any()
        if reopens and number % 50 == 49:
            await bench.open()
    await requests.list()
    for name in (A, B):
        assert (await bench.broker.position(name)).seq == (await memory.broker.position(name)).seq
    for one in (bench, memory):
        await one.close()


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_table, "MAX_OPEN", 6)
    monkeypatch.setattr(command_table, "MAX_COMMANDS", 8)


@pytest.mark.parametrize("seed", range(3))
@pytest_twisted.ensureDeferred
async def test_in_a_file(tmp_path: Path, seed: int) -> None:
    await compare(SqliteBench(tmp_path / "events.sqlite"), seed, reopens=True)


@pytest.mark.parametrize("seed", range(3))
@pytest_twisted.ensureDeferred
async def test_in_redis(server: RedisServer, seed: int) -> None:
    await compare(RedisBench(server.url, next(_prefixes)), seed, reopens=False)
