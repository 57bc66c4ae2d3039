"""LocalSources with a SQLite file: what holds over a restart, and over the end of a process that was killed."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from shared_nodes import ACME, INSTALLATION, claim
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.broker.sqlite import group_commit
from callcenter_ws.broker.sqlite.broker import SqliteBroker
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.runtime.background import spawn
from callcenter_ws.sources import announcer
from callcenter_ws.sources.announcer import SourceAnnouncer
from callcenter_ws.sources.link import SourceLink
from callcenter_ws.sources.local import LocalSources
from callcenter_ws.sources.publishing import SourcePublisher
from callcenter_ws.testing import FakeClock

DEADLINE = 30.0
LEASE = 30.0


async def until(condition: Any) -> None:
    end = reactor.seconds() + DEADLINE
    while not condition():
        assert reactor.seconds() < end, "the condition did not become true"
        await task.deferLater(reactor, 0.002)


class Gateway:
    """A store in a file and its sources, which can be stopped, killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.folder = folder
        self.files = 0
        self.delivered: list[Publication] = []
        self.closed: list[str] = []

    @property
    def path(self) -> Path:
        return self.folder / f"{self.files}.sqlite"

    async def start(self) -> None:
        self.broker = SqliteBroker(reactor, self.clock, self.path)
        await self.broker.start(self.delivered.extend)
        new_id = UlidFactory(self.clock.time)
        announcing = SourceAnnouncer(self.broker, self.clock, new_id)
        self.sources = LocalSources(self.broker, announcing, self.clock, spawn, new_id, lease=LEASE)
        self.publisher = SourcePublisher(EventBroadcaster(self.broker, self.clock), self.broker, self.clock)
        self.sources.start()

    async def stop(self) -> None:
        self.sources.stop()
        await self.broker.stop()

    async def kill(self) -> None:
        """Continue with a copy of the file as it is now."""
        before, self.files = self.path, self.files + 1
        for suffix in ("", "-wal"):
            part = before.with_name(before.name + suffix)
            if part.exists():
                shutil.copyfile(part, self.path.with_name(self.path.name + suffix))
        await self.stop()

    async def hello(self, principal: Any = ACME, **options: Any) -> SourceLink:
        return await self.sources.register(claim(principal, **options), self.closed.append)

    async def wait(self, seconds: int) -> None:
        """Let time pass, and what becomes due happen."""
        for _ in range(seconds):
            self.clock.advance(1)
            await until(lambda: self.sources._maintenance.is_idle)

    def announced(self, tenant_id: str = "acme") -> list[str]:
        events = [one.event for one in self.delivered if one.event.tenant_id == tenant_id]
        return [one.type.name.partition(".")[2] for one in events if one.type.name.startswith("source.")]


@pytest_twisted.async_yield_fixture
async def gateway(tmp_path: Path) -> Any:
    gateway = Gateway(tmp_path)
    await gateway.start()
    yield gateway
    await gateway.stop()


def draft(number: int, title: str = "t", tenant_id: str = "acme") -> dict[str, Any]:
    payload = {"title": title, "message": str(number)}
    return {"tenant_id": tenant_id, "type": "alert", "payload": payload, "source_seq": number}


async def refusal_of(awaitable: Any) -> ErrorCode:
    with pytest.raises(Refusal) as refused:
        await awaitable
    return refused.value.code


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest_twisted.ensureDeferred
async def test_a_source_that_never_returns_is_down_a_lease_after_the_restart(gateway: Gateway, end: str) -> None:
    await gateway.hello(INSTALLATION, tenants=["acme", "globex"])
    await getattr(gateway, end)()
    # The time in which the gateway is down does not count.
    gateway.clock.advance(7_200)
    await gateway.start()
    await gateway.wait(int(LEASE) - 1)
    assert gateway.announced() == ["up"]
    await gateway.wait(3)
    assert gateway.announced() == gateway.announced("globex") == ["up", "down"]
    await gateway.kill()
    await gateway.start()
    await gateway.wait(int(LEASE) + 3)
    assert gateway.announced() == ["up", "down"]


@pytest_twisted.ensureDeferred
async def test_a_gateway_that_stops_ends_no_lease_meanwhile(gateway: Gateway) -> None:
    link = await gateway.hello()
    gateway.sources.drain(2 * LEASE)
    gateway.sources.link_lost(link)
    await gateway.wait(2 * int(LEASE))
    assert gateway.announced() == ["up"]
    await gateway.wait(int(LEASE) + 3)
    assert gateway.announced() == ["up", "down"]


@pytest_twisted.ensureDeferred
async def test_a_source_that_returns_after_a_restart_is_not_announced(gateway: Gateway) -> None:
    link = await gateway.hello(generation=1)
    await gateway.publisher.publish(link, [draft(1)])
    await gateway.kill()
    await gateway.start()
    assert await refusal_of(gateway.hello(instance="i2")) is ErrorCode.SOURCE_IN_USE
    assert await refusal_of(gateway.hello(INSTALLATION, tenants=["acme"])) is ErrorCode.FORBIDDEN
    again = await gateway.hello(generation=1)
    assert again.source_seq == 1
    await gateway.wait(int(LEASE) + 3)
    assert [one.event.type.name for one in gateway.delivered] == ["source.up", "alert"]


@pytest_twisted.ensureDeferred
async def test_generations_and_forgotten_names_survive(gateway: Gateway) -> None:
    link = await gateway.hello(generation=5)
    gateway.sources.link_lost(link)
    await gateway.wait(int(LEASE) + 3)
    await gateway.kill()
    await gateway.start()
    assert await refusal_of(gateway.hello(generation=4)) is ErrorCode.STALE_GENERATION
    assert (await gateway.hello(instance="i2")).record.generation == 6
    await gateway.kill()
    await gateway.start()
    await gateway.wait(int(LEASE) + 3)
    assert await gateway.sources.forget("pbx1", "acme") == 1
    await gateway.kill()
    await gateway.start()
    assert await gateway.sources.sources(None) == []
    assert gateway.announced() == ["up", "down", "up", "down"]


@pytest_twisted.ensureDeferred
async def test_a_gateway_killed_before_down_is_published_publishes_it_later(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await gateway.hello()
    gateway.sources.link_lost(link)

    async def no_publishing(events: Any) -> Any:
        return [Refusal(ErrorCode.UNAVAILABLE) for _ in events]

    with monkeypatch.context() as patch:
        patch.setattr(gateway.broker, "publish", no_publishing)
        await gateway.wait(int(LEASE) + 3)
        await gateway.kill()
    await gateway.start()
    assert gateway.announced() == ["up"]
    await gateway.wait(int(LEASE) + 3)
    assert gateway.announced() == ["up", "down"]


@pytest.mark.logs_errors
@pytest.mark.parametrize("seed", range(6))
@pytest_twisted.ensureDeferred
async def test_failed_writes_and_killed_gateways_lose_and_double_nothing(
    gateway: Gateway, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender pipelines its events while writes fail before or after they are committed, and gateways are killed."""
    chance = random.Random(seed)
    real = group_commit.write

    def write(file: Any, transaction: Any) -> None:
        fate = chance.random()
        if transaction.event_count and fate < 0.15:
            if fate < 0.07:
                real(file, transaction)
            raise sqlite3.OperationalError("it broke")
        real(file, transaction)

    monkeypatch.setattr(group_commit, "write", write)
    count, answered = 120, set[int]()
    while len(answered) < count:
        if chance.random() < 0.3:
            await gateway.kill()
            gateway.clock.advance(chance.choice([1, 400]))
            await gateway.start()
        await send_all(gateway, chance, count, answered)
        gateway.clock.advance(group_commit.RETRY_SECONDS)
        await task.deferLater(reactor, 0)
    stored = [
        int(json.loads(one.event.payload)["message"])
        for one in gateway.delivered
        if one.event.source == "pbx1" and one.event.type.name == "alert"
    ]
    # A gateway that was killed may have delivered less than it had stored.
    assert stored == sorted(set(stored))
    assert await read_all(gateway) == list(range(1, count + 1))


@pytest_twisted.ensureDeferred
async def test_a_tenant_that_cannot_be_published_to_holds_up_no_other(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the other tenants of its source nor other sources."""
    links = [await gateway.hello(INSTALLATION, source=name, tenants=["acme", "globex"]) for name in ("a", "b")]
    publish = gateway.broker.publish
    monkeypatch.setattr(announcer, "EVENTS_PER_TURN", 1)

    async def refuse_acme(events: Any) -> Any:
        if events[0].tenant_id == "acme":
            return [Refusal(ErrorCode.UNAVAILABLE) for _ in events]
        return await publish(events)

    for link in links:
        gateway.sources.link_lost(link)
    with monkeypatch.context() as patch:
        patch.setattr(gateway.broker, "publish", refuse_acme)
        for _ in range(int(LEASE) + 1):
            gateway.clock.advance(1)
            # The parts of an announcement are published in turns of their own.
            await until(lambda: gateway.clock.turn() or gateway.sources._maintenance.is_idle)
        assert gateway.announced("globex") == ["up", "up", "down", "down"]
        assert gateway.announced("acme") == ["up", "up"]
    gateway.clock.advance(1)
    await until(lambda: gateway.clock.turn() or gateway.sources._maintenance.is_idle)
    assert gateway.announced("acme") == gateway.announced("globex") == ["up", "up", "down", "down"]


@pytest_twisted.ensureDeferred
async def test_the_time_in_which_the_gateway_stands_still_does_not_count(gateway: Gateway) -> None:
    link = await gateway.hello()
    gateway.sources.link_lost(link)
    await gateway.wait(1)
    gateway.clock._now += 3 * LEASE
    await gateway.wait(int(LEASE) - 2)
    assert gateway.announced() == ["up"]
    await gateway.wait(4)
    assert gateway.announced() == ["up", "down"]


async def send_all(gateway: Gateway, chance: random.Random, count: int, answered: set[int]) -> None:
    """Say ``Hello``, and send what is not answered, several batches at a time."""
    try:
        link = await gateway.hello(generation=1)
    except Refusal as refusal:
        assert refusal.code is ErrorCode.UNAVAILABLE
        return
    waiting = [number for number in range(1, count + 1) if number not in answered][:60]
    pending = []
    while waiting:
        size = chance.randint(1, 12)
        batch, waiting = waiting[:size], waiting[size:]
        pending.append((batch, Deferred.fromCoroutine(gateway.publisher.publish(link, list(map(draft, batch))))))
    for batch, answer in pending:
        outcomes = await answer
        for number, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, PublishResult) and chance.random() < 0.9:
                # Otherwise the answer is lost.
                answered.add(number)


async def read_all(gateway: Gateway) -> list[int]:
    """Return the numbers of the stored events, by position."""
    page = await gateway.broker.read("acme", 0, 1_000)
    events = [one.event for one in page.publications if one.event.type.name == "alert"]
    return [int(json.loads(event.payload)["message"]) for event in events]
