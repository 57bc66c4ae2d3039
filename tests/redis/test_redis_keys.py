"""What the gateway keeps in Redis: whose it is, where a cluster would put it, and when it goes."""

from __future__ import annotations

import binascii
import random
import re
from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from broker_contract import MailContract, payload_of, random_event
from redis_nodes import Node, Nodes, until
from redis_people import People, Person
from redis_server import RedisServer

from callcenter_ws.redis.keys import Keys

ODD = [
    "acme",
    "{}",
    "}{",
    "a}b",
    "{a",
    "%",
    "%7B",
    "%25",
    "a b",
    "😀",
    "nodes",
    "tenants",
    "at",
    "a:b",
    "*",
    "",
    "live",
]

STAY = {"meta", "presence", "seen", "farewells"}
"""Kinds of a tenant's keys that have no end: of which there is one, or which are bounded."""


def slot(key: str) -> int:
    """Where a cluster of Redis keeps a key (CLUSTER KEYSLOT)."""
    found = re.search(r"\{([^}]+)\}", key)
    first = key.find("{")
    hashed = found[1] if found and found.start() == first else key
    return binascii.crc_hqx(hashed.encode(), 0) % 16_384


def kind(key: str) -> str:
    """What a tenant's key is for."""
    return key.rpartition("}:")[2].partition(":")[0]


class TestNames:
    """Of keys and channels."""

    @pytest.mark.parametrize("database", [0, 3])
    def test_a_channel_says_whose_it_is(self, database: int) -> None:
        keys = Keys("a:{b}:c", database)
        for tenant_id in ODD:
            assert keys.tenant_of(keys.channel(tenant_id)) == tenant_id

    def test_no_two_tenants_share_anything(self) -> None:
        keys = Keys("p", 0)
        for make in (keys.meta, keys.channel):
            names = [make(tenant_id) for tenant_id in ODD]
            assert len(set(names)) == len(ODD)
            assert not {*names} & {keys.leases, keys.caretaker, keys.orders, keys.revocations}
            assert not {*names} & {keys.orders_channel, keys.reports_channel, keys.tenants_channel}

    def test_databases_and_prefixes_do_not_share_channels(self) -> None:
        names = {Keys(prefix, database).channel("a") for prefix in ("p", "q") for database in (0, 1, 2)}
        assert len(names) == 6


@pytest_twisted.async_yield_fixture
async def used(own_server: RedisServer, own_nodes: Nodes) -> AsyncIterator[Node]:
    """A node by which everything was used that there is, by tenants with odd names."""
    names = [name for name in ODD if name not in ("*", "")]
    node = await own_nodes.open(names)
    people = People(own_server.url, own_nodes.prefix, "{node}")
    await people.open()
    try:
        await use_everything(node, people, names)
        yield node
    finally:
        await people.stop()


async def use_everything(node: Node, people: People, names: list[str]) -> None:
    source = random.Random(2)
    for tenant_id in names:
        await node.publish(*[random_event(node, source, tenant_id) for _ in range(40)])
        await MailContract.notify(node, *[f"n{number}" for number in range(1_001)], user_id="{7}", tenant_id=tenant_id)
        node.broker.mark_mail_sent(tenant_id, "{7}", ["n5"])
        await node.publish(node.event("agent.login", payload_of("agent.login"), tenant_id=tenant_id))
        await node.publish(node.event("call.ringing", payload_of("call.ringing"), tenant_id=tenant_id))
        staying, leaving = Person("{u}", tenant_id=tenant_id), Person("v", tenant_id=tenant_id)
        people.come(staying, leaving)
        people.go(leaving)
    gone = Person("gone", tenant_id="acme")
    people.come(gone)
    await people.until_counted("gone", 1)
    people.go(gone)
    await people.until_counted("gone", 0)
    await people.directory.revoke("acme", jti="token")


@pytest_twisted.ensureDeferred
async def test_what_is_a_tenants_is_in_one_place(used: Node, own_server: RedisServer) -> None:
    keys = used.store.keys
    together = {keys.leases, keys.caretaker, keys.orders, keys.revocations}
    found = own_server.all_keys()
    assert together <= found
    assert len({slot(name) for name in together}) == 1
    found -= together
    for tenant_id in used.attached:
        meta = keys.meta(tenant_id)
        own = {name for name in found if name.startswith(meta.removesuffix("meta"))}
        assert {
            "meta",
            "log",
            "slots",
            "entities",
            "order",
            "calls",
            "callorder",
            "ids",
            "mail",
            "presence",
            "losses",
        } <= {*map(kind, own)}
        assert {slot(name) for name in own} == {slot(meta)}
        found -= own
    assert {re.sub("at:.*", "at", name) for name in found} == {keys.tenants, f"{keys._prefix}:at"}


@pytest_twisted.ensureDeferred
async def test_what_has_no_end(used: Node, own_server: RedisServer) -> None:
    keys = used.store.keys
    staying = {name for name in own_server.all_keys() if own_server.ask("TTL", name) < 0}
    ours = {keys.tenants, keys.leases, keys.orders, keys.revocations}
    others = staying - ours
    assert {kind(name) for name in others if "}:" in name and ":at:" not in name} <= {*STAY, "here"}
    at_nodes = {name for name in others if name.startswith(f"{keys._prefix}:at:")}
    assert len(at_nodes) == 1


@pytest_twisted.ensureDeferred
async def test_a_node_that_has_gone_leaves_nothing(own_nodes: Nodes, own_server: RedisServer) -> None:
    people = await People(own_server.url, own_nodes.prefix, "going").open()
    ann = Person("ann")
    people.come(ann)
    await people.until_counted("ann", 1)
    people.go(ann)
    await until(lambda: ("ann", False) in people.changes)
    await people.stop()
    assert not [name for name in own_server.all_keys() if "going" in name]
    assert own_server.ask("ZCARD", people.broker.keys.leases) == 0


def test_the_slot_is_computed_as_redis_does() -> None:
    """From the specification of clusters."""
    assert slot("123456789") == 0x31C3 % 16_384
    assert slot("{user1000}.following") == slot("{user1000}.followers")
    assert slot("foo{}{bar}") == binascii.crc_hqx(b"foo{}{bar}", 0) % 16_384
