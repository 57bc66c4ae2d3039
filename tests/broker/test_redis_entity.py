"""One entity of the state in Redis, at a node that follows the tenant, and at one that does not."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from broker_contract import A
from redis_bench import RedisBench
from redis_server import RedisServer
from sample_events import REQUIRED

from callcenter_ws.events.catalogue import CATALOGUE, EntityKey
from callcenter_ws.events.entity import Entity

_prefixes = (f"entity-{number}" for number in itertools.count())

TYPES = sorted(name for name in REQUIRED if name.startswith(("agent.", "call.", "queue.", "chat.")))


@pytest_twisted.async_yield_fixture
async def bench(own_server: RedisServer) -> AsyncIterator[RedisBench]:
    bench = RedisBench(own_server.url, next(_prefixes))
    await bench.open()
    yield bench
    await bench.close()


def comparable(entity: Entity | None) -> Any:
    if entity is None:
        return None
    slots = {
        slot: (one.seq, one.event.payload, one.event.queue_name, one.event.agents) for slot, one in entity.slots.items()
    }
    return slots, entity.owner, entity.changed_by, round(entity.changed_at, 3)


@pytest.mark.parametrize("seed", [1, 2])
@pytest_twisted.ensureDeferred
async def test_both_find_the_same(bench: RedisBench, seed: int) -> None:
    rng, store = random.Random(seed), bench.store
    keys: set[EntityKey] = set()
    for number in range(300):
        type_ = rng.choice(TYPES)
        payload = {**REQUIRED[type_]}
        for field in ("unique_id", "call_id", "session_id", "user_id", "alert_id"):
            if field in payload:
                payload[field] = rng.choice("123")
        if type_ == "chat.message":
            payload["message_id"] = f"m-{number}"
        of_user = CATALOGUE[type_].slot is not None and rng.random() < 0.1
        event = bench.event(type_, payload, user_id="7" if of_user else None)
        event.source = rng.choice([None, "pbx1", "pbx2"])
        await bench.publish(event)
        bench.clock.advance(rng.choice([0, 1, 20_000 if rng.random() < 0.05 else 1]))
        if event.entity is not None:
            keys.add(event.entity)
        for key in keys if number % 10 == 0 else ():
            assert comparable(await store.tenant_store(A).entity(key)) == comparable(await store.entity(A, key)), key
    assert {kind for kind, *_ in keys} >= {"agent", "call", "chat", "member"}


@pytest_twisted.ensureDeferred
async def test_a_node_that_does_not_follow_the_tenant_reads_no_more(bench: RedisBench, own_server: RedisServer) -> None:
    await bench.publish(
        *[bench.event("agent.login", {"user_id": f"{n}", "username": "a"}, tenant_id="c") for n in "12"]
    )
    entity = await bench.store.entity("c", ("agent", "2"))
    assert entity is not None and [one.seq for one in entity.publications()] == [2]
    assert await bench.store.entity("c", ("agent", "3")) is None
