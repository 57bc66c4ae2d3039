"""The keys in Redis: separate for each tenant, in one slot of a Redis Cluster, and with an expiry."""

from __future__ import annotations

import binascii
import random
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from broker_contract import MailContract, payload_of, random_event
from cluster_nodes import ClusterNode, FakeClient
from redis_nodes import Node, Nodes, until
from redis_server import RedisServer

from callcenter_ws.redis.keys import Keys

ROOT = Path(__file__).parents[2]

UNUSUAL_NAMES = [
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

WITHOUT_EXPIRY = {"meta", "presence", "seen", "farewells", "lasting", "lastinglines"}
"""Kinds of a tenant's keys without expiry; all are bounded."""


def slot(key: str) -> int:
    """Return the slot of a key in Redis Cluster (CLUSTER KEYSLOT)."""
    found = re.search(r"\{([^}]+)\}", key)
    first = key.find("{")
    hashed = found[1] if found and found.start() == first else key
    return binascii.crc_hqx(hashed.encode(), 0) % 16_384


def kind(key: str) -> str:
    """Return the kind of a tenant's key."""
    return key.rpartition("}:")[2].partition(":")[0]


class TestNames:
    """Names of keys and channels."""

    @pytest.mark.parametrize("database", [0, 3])
    def test_the_tenant_of_a_channel(self, database: int) -> None:
        keys = Keys("a:{b}:c", database)
        for tenant_id in UNUSUAL_NAMES:
            assert keys.tenant_of(keys.channel(tenant_id)) == tenant_id

    def test_tenants_share_no_keys_and_channels(self) -> None:
        keys = Keys("p", 0)
        for make in (keys.meta, keys.channel):
            names = [make(tenant_id) for tenant_id in UNUSUAL_NAMES]
            assert len(set(names)) == len(UNUSUAL_NAMES)
            assert not {*names} & {keys.leases, keys.reaper, keys.control, keys.revocations}
            assert not {*names} & {keys.control_channel, keys.reports_channel, keys.tenants_channel}

    def test_databases_and_prefixes_do_not_share_channels(self) -> None:
        names = {Keys(prefix, database).channel("a") for prefix in ("p", "q") for database in (0, 1, 2)}
        assert len(names) == 6


@pytest_twisted.async_yield_fixture
async def used(own_server: RedisServer, own_nodes: Nodes) -> AsyncIterator[Node]:
    """A node that has used all kinds of keys, for tenants with unusual names."""
    names = [name for name in UNUSUAL_NAMES if name not in ("*", "")]
    node = await own_nodes.open(names)
    other = ClusterNode(own_server.url, own_nodes.prefix, "{node}")
    await other.open()
    try:
        await use_everything(node, other, names)
        yield node
    finally:
        await other.stop()


async def use_everything(node: Node, other: ClusterNode, names: list[str]) -> None:
    source = random.Random(2)
    for tenant_id in names:
        await node.publish(*[random_event(node, source, tenant_id) for _ in range(40)])
        await MailContract.notify(node, *[f"n{number}" for number in range(1_001)], user_id="{7}", tenant_id=tenant_id)
        node.broker.mark_mail_sent(tenant_id, "{7}", ["n5"])
        await node.publish(node.event("agent.login", payload_of("agent.login"), tenant_id=tenant_id))
        await node.publish(node.event("call.ringing", payload_of("call.ringing"), tenant_id=tenant_id))
        staying, leaving = FakeClient("{u}", tenant_id=tenant_id), FakeClient("v", tenant_id=tenant_id)
        other.connect(staying, leaving)
        other.disconnect(leaving)
    gone = FakeClient("gone", tenant_id="acme")
    other.connect(gone)
    await other.until_counted("gone", 1)
    other.disconnect(gone)
    await other.until_counted("gone", 0)
    await other.directory.revoke("acme", jti="token")


@pytest_twisted.ensureDeferred
async def test_the_keys_of_a_tenant_are_in_one_slot(used: Node, own_server: RedisServer) -> None:
    keys = used.store.keys
    together = {keys.leases, keys.reaper, keys.control, keys.revocations}
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
async def test_keys_without_expiry(used: Node, own_server: RedisServer) -> None:
    keys = used.store.keys
    staying = {name for name in own_server.all_keys() if own_server.ask("TTL", name) < 0}
    ours = {keys.tenants, keys.leases, keys.control, keys.revocations}
    others = staying - ours
    assert {kind(name) for name in others if "}:" in name and ":at:" not in name} <= {*WITHOUT_EXPIRY, "here"}
    at_nodes = {name for name in others if name.startswith(f"{keys._prefix}:at:")}
    assert len(at_nodes) == 1


@pytest_twisted.ensureDeferred
async def test_a_node_that_was_stopped_leaves_no_keys(own_nodes: Nodes, own_server: RedisServer) -> None:
    other = await ClusterNode(own_server.url, own_nodes.prefix, "going").open()
    ann = FakeClient("ann")
    other.connect(ann)
    await other.until_counted("ann", 1)
    other.disconnect(ann)
    await until(lambda: ("ann", False) in other.changes)
    await other.stop()
    assert not [name for name in own_server.all_keys() if "going" in name]
    assert own_server.ask("ZCARD", other.broker.keys.leases) == 0


def test_the_slot_is_computed_as_redis_does() -> None:
    """Examples of the specification of Redis Cluster."""
    assert slot("123456789") == 0x31C3 % 16_384
    assert slot("{user1000}.following") == slot("{user1000}.followers")
    assert slot("foo{}{bar}") == binascii.crc_hqx(b"foo{}{bar}", 0) % 16_384


def test_the_user_in_the_example_configuration_may_use_every_command() -> None:
    configuration = (ROOT / "etc/redis.conf").read_text()
    (user,) = [line for line in configuration.splitlines() if line.startswith("user callcenter-ws ")]
    allowed = {word[1:].partition("|")[0] for word in user.split() if word.startswith("+")}
    lua = "".join(path.read_text() for path in (ROOT / "callcenter_ws/redis/lua").iterdir())
    in_scripts = re.findall(r"redis\.p?call\('([A-Z]+)'", lua)
    python = "".join(path.read_text() for path in (ROOT / "callcenter_ws").rglob("*.py"))
    sent = re.findall(r"\bsend\(\s*\"([A-Z]+)\"", python)
    assert {"HSET", "XTRIM"} <= set(in_scripts)
    assert {"EVALSHA", "XRANGE"} <= set(sent)
    assert {name.lower() for name in (*in_scripts, *sent)} - {"sentinel"} <= allowed
