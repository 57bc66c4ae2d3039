"""Redis is away, in each of the ways in which it can be; and Redis is back and knows nothing any more."""

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
from partition import Wire
from restartable import RestartableGateway, steady_port, until
from roaming import RoamingClient
from senders import AmpLink, packed, publish_box

MARGIN = 2.0
"""Seconds by which an answer may come later than it should, on a slow machine."""

FLOOD = 3.0
GROWTH = 192 * 2**20
CAST = (
    Viewer("acme", "supervisor", "sue"),
    Viewer("acme", "agent", "a1", events=("alert", "chat.*")),
    Viewer("globex", "wallboard", "wall"),
)


class Scene:
    """Some clients at each of two nodes, and a line to each of them to publish over."""

    def __init__(self, cluster: Cluster, wire: Wire | None = None) -> None:
        self.cluster = cluster
        self.wire = wire
        self.ledger = Ledger()
        self.clients = [self.client(node, viewer) for node in cluster.nodes for viewer in CAST]
        self.links: list[AmpLink] = []
        self.refused: list[tuple[AmpLink, Offer]] = []
        self._numbers = itertools.count(1)

    def client(self, node: RestartableGateway, viewer: Viewer) -> RoamingClient:
        return RoamingClient(node, Reader(self.ledger, viewer, hops=True), random.Random(0))

    async def begin(self) -> None:
        """Start everything, with a first event for everybody."""
        await asyncio.to_thread(self.cluster.start)
        for client in self.clients:
            client.start()
        for client in self.clients:
            await client.until(lambda client=client: client.is_here)
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
        """Publish an event of each tenant over each line at once; return why each was refused, or nothing."""
        offers = [(link, self.alert(tenant)) for link in self.links for tenant in ("acme", "globex")]
        outcomes = await asyncio.gather(*[link.publish(offer) for link, offer in offers])
        self.refused += [offer for offer, outcome in zip(offers, outcomes, strict=True) if outcome]
        return outcomes

    async def catch_up(self) -> None:
        """Send again what was refused, and see that everybody hears everything without having had to come back."""
        await asyncio.to_thread(self.cluster.until_ready)
        for link, offer in self.refused:
            assert not await link.publish(offer)
        assert not any(await self.publish())
        await self.check_store()
        await self.has_heard()
        await self.check_store()
        for client in self.clients:
            client.reader.compare(self.ledger.head(client.reader.viewer.tenant))

    async def has_heard(self) -> None:
        """Wait until everybody has heard everything."""
        for client in self.clients:
            head = self.ledger.head(client.reader.viewer.tenant)
            await client.until(lambda client=client, head=head: client.reader.position[1] >= head)
            await client.hear_out()

    async def check_store(self) -> None:
        """What is in Redis is what was acknowledged; of the flood some may be there, too."""
        stored = await asyncio.to_thread(self.cluster.stored_events)
        self.ledger.check_store([event for event in stored if event[0] != "flooded"])

    def count(self, name: str) -> list[int]:
        return [getattr(client.reader.figures, name) for client in self.clients]


# The ways in which it can be away


@asynccontextmanager
async def killed(scene: Scene) -> AsyncIterator[None]:
    await asyncio.to_thread(scene.cluster.redis.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(scene.cluster.redis.start)


@asynccontextmanager
async def stopped(scene: Scene) -> AsyncIterator[None]:
    scene.cluster.redis.pause()
    try:
        yield
    finally:
        scene.cluster.redis.go_on()


@asynccontextmanager
async def read_only(scene: Scene) -> AsyncIterator[None]:
    # A replica that has taken its master's place may have been behind it: that is a fork, if it has lost nothing.
    scene.ledger.may_fork = True
    with RedisPeer(scene.cluster.redis.port) as redis:
        redis.ask("REPLICAOF", "127.0.0.1", str(steady_port()))
        try:
            yield
        finally:
            redis.ask("REPLICAOF", "NO", "ONE")


@asynccontextmanager
async def out_of_memory(scene: Scene) -> AsyncIterator[None]:
    with RedisPeer(scene.cluster.redis.port) as redis:
        redis.ask("CONFIG", "SET", "maxmemory", "1")
        try:
            yield
        finally:
            redis.ask("CONFIG", "SET", "maxmemory", "0")


@asynccontextmanager
async def cut_off(scene: Scene) -> AsyncIterator[None]:
    scene.wire.cut()
    try:
        yield
    finally:
        scene.wire.mend()


# What is to be seen meanwhile


async def is_refused_in_time(scene: Scene) -> None:
    """Whoever publishes is answered soon, whether it is known that Redis is away or not yet."""
    for _ in range(3):
        begin = time.monotonic()
        outcomes = await scene.publish()
        assert time.monotonic() - begin < TIMEOUT + MARGIN
        assert all(outcome.startswith(("UNAVAILABLE ", "OVERLOADED ")) for outcome in outcomes), outcomes
    for node in scene.cluster.nodes:
        offer = scene.alert("acme")
        scene.ledger.offer(offer)
        begin = time.monotonic()
        status, answer = await asyncio.to_thread(node.publish, offer.fields)
        assert time.monotonic() - begin < TIMEOUT + MARGIN
        assert status == 503 and answer["error"]["code"] in ("unavailable", "overloaded"), answer
        scene.refused.append((scene.links[0], offer))


async def says_why(scene: Scene) -> None:
    """Each node says why it cannot serve, but not where what it needs is."""
    for node in scene.cluster.nodes:
        end = time.monotonic() + TIMEOUT + LEASE + MARGIN
        while (found := await asyncio.to_thread(node.http, "/readyz"))[0] == 200:
            assert time.monotonic() < end, "it says that it can serve"
            await asyncio.sleep(0.05)
        status, answer = found
        assert status == 503 and "redis" in str(answer).lower(), answer
        assert not any(part in str(answer) for part in ("127.0.0.1", str(scene.cluster.redis.port), ":6")), answer
        assert (await asyncio.to_thread(node.http, "/livez"))[0] == 200


async def does_not_guess(scene: Scene) -> None:
    """Who is connected is told as long as it is known; then it is said that it is not."""
    for node in scene.cluster.nodes:
        end = time.monotonic() + TIMEOUT + LEASE + MARGIN
        while True:
            begin = time.monotonic()
            status, answer = await asyncio.to_thread(online, node)
            assert time.monotonic() - begin < TIMEOUT + MARGIN
            if status == 503:
                break
            assert status == 200 and answer["online"] and answer["connections"] == 2, answer
            assert time.monotonic() < end, "it tells who is connected"
            await asyncio.sleep(0.05)


def online(node: RestartableGateway) -> tuple[int, dict[str, Any]]:
    """What a node says of one who is at both."""
    return node.http("/ws/users/sue/online", token=node.token("supervisor"))


async def stays_small(node: RestartableGateway) -> None:
    """Somebody floods the node with events that nobody can take."""
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
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


async def flood(path: Path, number: int) -> None:
    """Hand in events of 20 kB as fast as they are read; the answers are read, and not looked at."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    reading = asyncio.create_task(devour(reader))
    try:
        for count in itertools.count():
            payload = {"title": "flood", "message": "x" * 20_000}
            writer.write(packed(publish_box(Offer("flooded", "alert", payload, f"flood-{number}-{count}"))))
            await writer.drain()
    finally:
        reading.cancel()
        writer.transport.abort()


async def devour(reader: asyncio.StreamReader) -> None:
    while await reader.read(65_536):
        pass


async def outlive(scene: Scene, way: Callable[[Scene], object]) -> None:
    await scene.begin()
    try:
        async with way(scene):
            await is_refused_in_time(scene)
            await says_why(scene)
            await does_not_guess(scene)
            await stays_small(scene.cluster.nodes[0])
            for client in scene.clients:
                await client.hear_out()
        await scene.catch_up()
        assert scene.count("connections") == [1] * len(scene.clients)
        assert not any(scene.count("resets")) and not any(scene.count("gaps"))
    finally:
        await scene.end()


@pytest.mark.slow
@pytest.mark.parametrize("way", [killed, stopped, read_only, out_of_memory])
def test_redis_is_away(way: Callable[[Scene], object], make_cluster: Callable[..., Cluster]) -> None:
    asyncio.run(outlive(Scene(make_cluster(nodes=2)), way))


async def outlive_a_cut(make_cluster: Callable[..., Cluster]) -> None:
    port = steady_port()
    cluster = make_cluster(nodes=2, url=f"redis://127.0.0.1:{port}/0")
    wire = await Wire(port, cluster.redis.port).open()
    try:
        await outlive(Scene(cluster, wire), cut_off)
    finally:
        await wire.close()


@pytest.mark.slow
def test_redis_cannot_be_reached(make_cluster: Callable[..., Cluster]) -> None:
    asyncio.run(outlive_a_cut(make_cluster))


# Redis loses its history


async def flush(scene: Scene) -> None:
    with RedisPeer(scene.cluster.redis.port) as redis:
        redis.ask("FLUSHALL")
    scene.ledger.lose_history()


async def lose_the_files(scene: Scene, instead: Path | None = None) -> None:
    redis = scene.cluster.redis
    await asyncio.to_thread(redis.kill)
    shutil.rmtree(redis.folder)
    if instead is not None:
        shutil.move(instead, redis.folder)
    scene.ledger.lose_history()
    await asyncio.to_thread(redis.start)


async def go_back(scene: Scene) -> None:
    """It begins with older files; a replica that takes over and has been behind does the same."""
    folder = scene.cluster.redis.folder
    older = Path(shutil.copytree(folder, folder.with_name("older")))
    assert not any(await scene.publish())
    await scene.has_heard()
    await lose_the_files(scene, older)


Loss = Callable[[Scene], Awaitable[None]]


async def begin_anew(scene: Scene, loss: Loss, *, publishes: bool) -> None:
    await scene.begin()
    try:
        assert not await scene.links[0].publish(scene.alert("initech"))
        absent = scene.client(scene.cluster.nodes[0], Viewer("acme", "admin", "abe"))
        absent.start()
        await absent.until(lambda: absent.is_here)
        await scene.has_heard()
        await absent.leave()
        before = dict(scene.ledger.epochs)
        await loss(scene)
        if publishes:
            await asyncio.to_thread(scene.cluster.until_ready)
            await scene.publish()
        for client in scene.clients:
            await client.until(lambda client=client: client.reader.figures.resets)
        scene.clients.append(absent)
        await absent.come_back()
        await scene.catch_up()
        for client in scene.clients:
            await client.come_back()
            client.reader.compare(scene.ledger.head(client.reader.viewer.tenant))
        reasons = [client.reader.reasons for client in scene.clients]
        # What was there before the older files were left is still there for who has seen no more than that.
        assert scene.count("resets") == [1] * len(scene.clients[:-1]) + [loss is not go_back], reasons
        assert all(reason.startswith("epoch_changed") for told in reasons for reason in told), reasons
        assert all(before[tenant] != epoch for tenant, epoch in scene.ledger.epochs.items())
        assert not any(scene.count("gaps"))
        await is_known_again(scene)
    finally:
        await scene.end()


async def is_known_again(scene: Scene) -> None:
    """A tenant that has no clients is found by who wants to hear of all as soon as it says something."""
    known = scene.cluster.known_tenants
    await asyncio.to_thread(until, lambda: {"acme", "globex"} <= known(), "those with clients are known")
    assert not await scene.links[0].publish(scene.alert("initech"))
    assert "initech" in known()


@pytest.mark.slow
@pytest.mark.parametrize("publishes", [True, False], ids=["and_goes_on", "and_nothing_happens"])
@pytest.mark.parametrize("loss", [flush, lose_the_files, go_back])
def test_redis_loses_its_history(loss: Loss, publishes: bool, make_cluster: Callable[..., Cluster]) -> None:
    """Everybody is told, once, be it that something is published or not."""
    asyncio.run(begin_anew(Scene(make_cluster(nodes=2)), loss, publishes=publishes))
