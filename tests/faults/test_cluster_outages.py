"""Redis is unavailable in several ways, or has lost its history."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from checker import Ledger, Offer, Reader, Viewer
from cluster import LEASE, TIMEOUT, Cluster, RedisPeer
from partition import Partition
from restartable import RestartableGateway, stable_port, until
from roaming import RoamingClient
from senders import AmpLink, packed, publish_box

MARGIN = 10.0
"""Seconds by which an answer may come later than it should, on a slow machine."""

FLOOD = 3.0
GROWTH = 192 * 2**20
VIEWERS = (
    Viewer("acme", "supervisor", "sue"),
    Viewer("acme", "agent", "a1", events=("alert", "chat.*")),
    Viewer("globex", "wallboard", "wall"),
)


class Scenario:
    """Clients at each of two nodes, and an AMP connection to each for publishing."""

    def __init__(self, cluster: Cluster, partition: Partition | None = None) -> None:
        self.cluster = cluster
        self.partition = partition
        self.ledger = Ledger()
        self.clients = [self.client(node, viewer) for node in cluster.nodes for viewer in VIEWERS]
        self.links: list[AmpLink] = []
        self.refused: list[tuple[AmpLink, Offer]] = []
        self._numbers = itertools.count(1)

    def client(self, node: RestartableGateway, viewer: Viewer) -> RoamingClient:
        return RoamingClient(node, Reader(self.ledger, viewer, changes_nodes=True), random.Random(0))

    async def begin(self) -> None:
        """Start everything, and publish a first event."""
        await asyncio.to_thread(self.cluster.start)
        for client in self.clients:
            client.start()
        for client in self.clients:
            await client.until(lambda client=client: client.is_up_to_date)
        self.links = [await AmpLink(self.ledger).open(node.amp_path) for node in self.cluster.nodes]
        assert not any(await self.publish())
        for node in self.cluster.nodes:
            await asyncio.to_thread(
                until, lambda node=node: online(node)[1].get("connections") == 2, "both are counted"
            )

    async def end(self) -> None:
        """Close everything."""
        for link in self.links:
            await link.close()
        for client in self.clients:
            await client.leave()

    def alert(self, tenant: str) -> Offer:
        name = f"alert-{next(self._numbers)}"
        return Offer(tenant, "alert", {"title": name, "message": "m"}, name)

    async def publish(self) -> list[str]:
        """Publish an event of each tenant over each connection; return each one's refusal, or an empty text."""
        offers = [(link, self.alert(tenant)) for link in self.links for tenant in ("acme", "globex")]
        outcomes = await asyncio.gather(*[link.publish(offer) for link, offer in offers])
        self.refused += [offer for offer, outcome in zip(offers, outcomes, strict=True) if outcome]
        return outcomes

    async def catch_up(self) -> None:
        """Publish again what was refused, and check that all clients get everything without a reconnect."""
        await asyncio.to_thread(self.cluster.until_ready)
        for link, offer in self.refused:
            assert not await link.publish(offer)
        assert not any(await self.publish())
        await self.check_store()
        await self.wait_until_received()
        await self.check_store()
        for client in self.clients:
            client.reader.compare(self.ledger.head(client.reader.viewer.tenant))

    async def wait_until_received(self) -> None:
        """Wait until all clients have received everything."""
        for client in self.clients:
            head = self.ledger.head(client.reader.viewer.tenant)
            await client.until(lambda client=client, head=head: client.reader.position[1] >= head)
            await client.wait_for_pongs()

    async def check_store(self) -> None:
        """Check that Redis has what was acknowledged; it may have events of the flood as well."""
        stored = await asyncio.to_thread(self.cluster.stored_events)
        self.ledger.check_store([event for event in stored if event[0] != "flooded"])

    def count(self, name: str) -> list[int]:
        return [getattr(client.reader.counts, name) for client in self.clients]


# Kinds of outages


@asynccontextmanager
async def killed(scenario: Scenario) -> AsyncIterator[None]:
    await asyncio.to_thread(scenario.cluster.redis.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(scenario.cluster.redis.start)


@asynccontextmanager
async def stopped(scenario: Scenario) -> AsyncIterator[None]:
    scenario.cluster.redis.pause()
    try:
        yield
    finally:
        scenario.cluster.redis.resume()


@asynccontextmanager
async def read_only(scenario: Scenario) -> AsyncIterator[None]:
    # A promoted replica may have lagged, so an epoch begins even if nothing was lost.
    scenario.ledger.may_change_epoch = True
    with RedisPeer(scenario.cluster.redis.port) as redis:
        redis.ask("REPLICAOF", "127.0.0.1", str(stable_port()))
        try:
            yield
        finally:
            redis.ask("REPLICAOF", "NO", "ONE")


@asynccontextmanager
async def out_of_memory(scenario: Scenario) -> AsyncIterator[None]:
    with RedisPeer(scenario.cluster.redis.port) as redis:
        redis.ask("CONFIG", "SET", "maxmemory", "1")
        try:
            yield
        finally:
            redis.ask("CONFIG", "SET", "maxmemory", "0")


@asynccontextmanager
async def cut_off(scenario: Scenario) -> AsyncIterator[None]:
    scenario.partition.cut()
    try:
        yield
    finally:
        scenario.partition.mend()


# Checks during an outage


async def check_refused_in_time(scenario: Scenario) -> None:
    """Check that publishing is answered soon, whether the outage has been noticed or not."""
    for _ in range(3):
        outcomes = await asyncio.wait_for(scenario.publish(), TIMEOUT + MARGIN)
        assert all(outcome.startswith(("UNAVAILABLE ", "OVERLOADED ")) for outcome in outcomes), outcomes
    for node in scenario.cluster.nodes:
        offer = scenario.alert("acme")
        scenario.ledger.offer(offer)
        status, answer = await asyncio.to_thread(node.publish, offer.fields, TIMEOUT + MARGIN)
        assert status == 503 and answer["error"]["code"] in ("unavailable", "overloaded"), answer
        scenario.refused.append((scenario.links[0], offer))


async def check_reason(scenario: Scenario) -> None:
    """Check that each node says why it is not ready, and does not reveal where Redis is."""
    for node in scenario.cluster.nodes:
        end = time.monotonic() + TIMEOUT + LEASE + MARGIN
        while (found := await asyncio.to_thread(node.http, "/readyz"))[0] == 200:
            assert time.monotonic() < end, "it says that it is ready"
            await asyncio.sleep(0.05)
        status, answer = found
        assert status == 503 and "redis" in str(answer).lower(), answer
        assert not any(part in str(answer) for part in ("127.0.0.1", str(scenario.cluster.redis.port), ":6")), answer
        assert (await asyncio.to_thread(node.http, "/livez"))[0] == 200


async def check_presence_refused(scenario: Scenario) -> None:
    """Check that presence is answered as long as it is known, and refused afterwards."""
    for node in scenario.cluster.nodes:
        end = time.monotonic() + TIMEOUT + LEASE + MARGIN
        while True:
            status, answer = await asyncio.wait_for(asyncio.to_thread(online, node), TIMEOUT + MARGIN)
            if status == 503:
                break
            assert status == 200 and answer["online"] and answer["connections"] == 2, answer
            assert time.monotonic() < end, "it answers who is connected"
            await asyncio.sleep(0.05)


def online(node: RestartableGateway) -> tuple[int, dict[str, Any]]:
    """Return a node's answer about a user who is connected to both."""
    return node.http("/ws/users/sue/online", token=node.token("supervisor"))


async def check_memory(node: RestartableGateway) -> None:
    """Flood a node with events that cannot be stored, and check its memory."""
    before = resident(node.pid)
    highest = before
    senders = [asyncio.create_task(flood(node.amp_path, number)) for number in range(4)]
    try:
        end = time.monotonic() + FLOOD
        while time.monotonic() < end:
            await asyncio.sleep(0.05)
            highest = max(highest, resident(node.pid))
    finally:
        for sender in senders:
            sender.cancel()
        outcomes = await asyncio.gather(*senders, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes
    assert highest - before < GROWTH, f"{before >> 20} MiB grew to {highest >> 20}"


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


async def flood(path: Path, number: int) -> None:
    """Publish events of 20 kB as fast as they are read, and ignore the answers."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    reading = asyncio.create_task(discard(reader))
    try:
        for count in itertools.count():
            payload = {"title": "flood", "message": "x" * 20_000}
            writer.write(packed(publish_box(Offer("flooded", "alert", payload, f"flood-{number}-{count}"))))
            await writer.drain()
    finally:
        reading.cancel()
        writer.transport.abort()


async def discard(reader: asyncio.StreamReader) -> None:
    while await reader.read(65_536):
        pass


async def survive(scenario: Scenario, way: Callable[[Scenario], object]) -> None:
    await scenario.begin()
    try:
        async with way(scenario):
            await check_refused_in_time(scenario)
            await check_reason(scenario)
            await check_presence_refused(scenario)
            await check_memory(scenario.cluster.nodes[0])
            for client in scenario.clients:
                await client.wait_for_pongs()
        await scenario.catch_up()
        assert scenario.count("connections") == [1] * len(scenario.clients)
        assert not any(scenario.count("resets")) and not any(scenario.count("gaps"))
    finally:
        await scenario.end()


@pytest.mark.slow
@pytest.mark.parametrize("way", [killed, stopped, read_only, out_of_memory])
def test_redis_is_unavailable(way: Callable[[Scenario], object], make_cluster: Callable[..., Cluster]) -> None:
    asyncio.run(survive(Scenario(make_cluster(nodes=2)), way))


async def survive_partition(make_cluster: Callable[..., Cluster]) -> None:
    port = stable_port()
    cluster = make_cluster(nodes=2, url=f"redis://127.0.0.1:{port}/0")
    partition = await Partition(port, cluster.redis.port).open()
    try:
        await survive(Scenario(cluster, partition), cut_off)
    finally:
        await partition.close()


@pytest.mark.slow
def test_redis_is_partitioned(make_cluster: Callable[..., Cluster]) -> None:
    asyncio.run(survive_partition(make_cluster))


# Redis loses its history


async def flush(scenario: Scenario) -> None:
    with RedisPeer(scenario.cluster.redis.port) as redis:
        redis.ask("FLUSHALL")
    scenario.ledger.lose_history()


async def delete_files(scenario: Scenario, instead: Path | None = None) -> None:
    redis = scenario.cluster.redis
    await asyncio.to_thread(redis.kill)
    shutil.rmtree(redis.folder)
    if instead is not None:
        shutil.move(instead, redis.folder)
    scenario.ledger.lose_history()
    await asyncio.to_thread(redis.start)


async def restore_older_files(scenario: Scenario) -> None:
    """Restart Redis with older files; a promoted replica that lagged has the same effect."""
    folder = scenario.cluster.redis.folder
    older = Path(shutil.copytree(folder, folder.with_name("older")))
    assert not any(await scenario.publish())
    await scenario.wait_until_received()
    await delete_files(scenario, older)


Loss = Callable[[Scenario], Awaitable[None]]


async def check_new_epoch(scenario: Scenario, loss: Loss, *, publishes: bool) -> None:
    await scenario.begin()
    try:
        assert not await scenario.links[0].publish(scenario.alert("initech"))
        absent = scenario.client(scenario.cluster.nodes[0], Viewer("acme", "admin", "abe"))
        absent.start()
        await absent.until(lambda: absent.is_up_to_date)
        await scenario.wait_until_received()
        await absent.leave()
        before = dict(scenario.ledger.epochs)
        await loss(scenario)
        if publishes:
            await asyncio.to_thread(scenario.cluster.until_ready)
            await scenario.publish()
        for client in scenario.clients:
            await client.until(lambda client=client: client.reader.counts.resets)
        scenario.clients.append(absent)
        await absent.reconnect()
        await scenario.catch_up()
        for client in scenario.clients:
            await client.reconnect()
            client.reader.compare(scenario.ledger.head(client.reader.viewer.tenant))
        reasons = [client.reader.reasons for client in scenario.clients]
        # A client that has seen no more than the older files have is not reset.
        assert scenario.count("resets") == [1] * len(scenario.clients[:-1]) + [loss is not restore_older_files], reasons
        assert all(reason.startswith("epoch_changed") for told in reasons for reason in told), reasons
        assert all(before[tenant] != epoch for tenant, epoch in scenario.ledger.epochs.items())
        assert not any(scenario.count("gaps"))
        await check_registered_again(scenario)
    finally:
        await scenario.end()


async def check_registered_again(scenario: Scenario) -> None:
    """Check that a tenant without clients is registered again with its next event."""
    known = scenario.cluster.known_tenants
    await asyncio.to_thread(until, lambda: {"acme", "globex"} <= known(), "those with clients are known")
    assert not await scenario.links[0].publish(scenario.alert("initech"))
    assert "initech" in known()


@pytest.mark.slow
@pytest.mark.parametrize("publishes", [True, False], ids=["and_events_are_published", "and_no_event_is_published"])
@pytest.mark.parametrize("loss", [flush, delete_files, restore_older_files])
def test_redis_loses_its_history(loss: Loss, publishes: bool, make_cluster: Callable[..., Cluster]) -> None:
    """All clients are reset once, whether something is published or not."""
    asyncio.run(check_new_epoch(Scenario(make_cluster(nodes=2)), loss, publishes=publishes))
