"""Three nodes and their Redis, any of which is killed, stopped or started again, at random and under load."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from operator import add

import pytest
from checker import Figures, Ledger, Offer, Reader, Viewer, check_presence, presence_in
from cluster import GRACE, LEASE, TIMEOUT, Cluster, RedisPeer
from processes import DEADLINE
from restartable import RestartableGateway
from roaming import RoamingClient
from scenes import Scenes
from senders import Allowance, AmpSender, DaemonSender, HttpSender

FAULTS = int(os.environ.get("CALLCENTER_WS_FAULTS", "12"))
RATE = 200
"""Events a second, all senders together."""

SIZES = (1, 10, 100, 1_000, 5_000, 70_000)
"""Bytes of alerts; the largest are more than an announcement carries."""

PATIENCE = 3.0
BY_NAME = ("agent.*", "call.*", "queue.*", "chat.*", "alert", "presence.changed")
LETTERS_FOR = {"acme": ("n1", "n2", "n3", "nobody"), "globex": ("n1",), "initech": ("n1",)}
RESTLESS = 80

# Who is connected: the viewer, messages after which it goes to another node at most, and how it is with its mailbox.
CAST: tuple[tuple[Viewer, int, dict[str, bool]], ...] = (
    (Viewer("acme", "admin", "ada"), RESTLESS, {}),
    (Viewer("acme", "supervisor", "sue"), 0, {}),
    (Viewer("acme", "supervisor", "sam", queues=("sales",)), RESTLESS, {}),
    (Viewer("acme", "agent", "a1"), RESTLESS, {}),
    (Viewer("acme", "agent", "a2", queues=("support",)), RESTLESS, {}),
    (Viewer("acme", "agent", "a3", events=("alert", "call.*")), RESTLESS, {}),
    (Viewer("acme", "wallboard", "wall"), RESTLESS, {}),
    (Viewer("acme", "visitor", "v1", session="chat-1"), RESTLESS, {}),
    (Viewer("acme", "service", "svc", events=BY_NAME), RESTLESS, {}),
    (Viewer("acme", "agent", "n1"), RESTLESS, {"acknowledges": True}),
    (Viewer("acme", "agent", "n2"), RESTLESS, {"acknowledges": True, "forgetful": True}),
    (Viewer("acme", "agent", "n3"), RESTLESS, {"forgetful": True}),
    (Viewer("globex", "supervisor", "ada"), RESTLESS, {}),
    (Viewer("globex", "wallboard", "wall", queues=("sales",)), 0, {}),
    (Viewer("globex", "visitor", "v1", session="chat-1"), RESTLESS, {}),
    (Viewer("globex", "agent", "n1"), RESTLESS, {"acknowledges": True}),
    (Viewer("initech", "supervisor", "sam", queues=("support",)), 0, {}),
    (Viewer("initech", "agent", "n1"), RESTLESS, {}),
)


class Load:
    """Senders and clients on all nodes of a cluster.

    Args:
        seed: what everything random comes from.
    """

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.rng = random.Random(seed)
        self.ledger = Ledger()
        self.allowance = Allowance()
        nodes = cluster.nodes
        self.daemon = DaemonSender(
            self.rng.choice(nodes), self.ledger, self._scenes("daemon"), allowance=self.allowance
        )
        self.senders = [
            *[self._amp_sender(f"amp{number}") for number in range(3)],
            *[self._http_sender(f"http{number}") for number in range(2)],
            self.daemon,
        ]
        self.clients = [self._client(*described) for described in CAST]
        self._running: list[asyncio.Task[None]] = []

    def _fork(self) -> random.Random:
        return random.Random(self.rng.random())

    def _scenes(self, name: str) -> Iterator[Offer]:
        return iter(Scenes(name, LETTERS_FOR, self._fork(), sizes=SIZES))

    def _amp_sender(self, name: str) -> AmpSender:
        paths = [node.amp_path for node in self.cluster.nodes]
        more = {"allowance": self.allowance, "patience": PATIENCE, "pause": 0.3}
        return AmpSender(paths, self.ledger, self._scenes(name), self._fork(), **more)

    def _http_sender(self, name: str) -> HttpSender:
        more = {"allowance": self.allowance, "patience": PATIENCE, "pause": 0.3}
        return HttpSender(self.cluster.nodes, self.ledger, self._scenes(name), self._fork(), **more)

    def _client(self, viewer: Viewer, stays: int, mailbox: dict[str, bool]) -> RoamingClient:
        reader = Reader(self.ledger, viewer, forgetful=mailbox.get("forgetful", False), hops=True)
        acknowledges = mailbox.get("acknowledges", False)
        nodes, rng = self.cluster.nodes, self._fork()
        return RoamingClient(nodes, reader, rng, stays=stays, acknowledges=acknowledges, patience=PATIENCE)

    # Life

    async def begin(self) -> None:
        """Start the cluster, the clients and the senders."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(32))
        await asyncio.to_thread(self.cluster.start)
        for client in self.clients:
            client.start()
        for client in self.clients:
            await client.until(lambda client=client: client.reader.position is not None)
        self._running = [asyncio.create_task(sender.run()) for sender in self.senders]
        self._running.append(asyncio.create_task(self._allow()))

    async def _allow(self) -> None:
        """Let the senders say so much in a second; what they could not say meanwhile does not add up."""
        while True:
            await asyncio.sleep(0.05)
            if self.allowance.left < RATE:
                self.allowance.give(RATE // 20)

    async def stop_sending(self) -> None:
        """Have everything answered, and say nothing more."""
        for sender in self.senders:
            sender.stop()
        await asyncio.wait_for(asyncio.gather(*self._running[:-1]), 2 * DEADLINE)

    async def end(self) -> None:
        """End the senders, whatever they have to say."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self.daemon.end()

    async def until(self, condition: Callable[[], bool], what: str, deadline: float = DEADLINE) -> None:
        """Wait for something, as long as nobody meets a fault."""
        end = time.monotonic() + deadline
        while not condition():
            self.check()
            assert time.monotonic() < end, f"waited {deadline:g} s in vain for: {what}"
            await asyncio.sleep(0.02)

    def check(self) -> None:
        """Let a failure of anybody be ours."""
        for task in self._running:
            if task.done():
                task.result()
        for client in self.clients:
            client.check()

    async def more_is_acknowledged(self, count: int) -> None:
        """Wait for some more answers."""
        enough = len(self.ledger.acknowledged) + count
        await self.until(lambda: len(self.ledger.acknowledged) >= enough, f"{count} more answers")

    # The end

    async def compare(self) -> None:
        """Let everybody come back to the head, and hold what was seen against what there is."""
        self.ledger.check_store(await asyncio.to_thread(self.cluster.stored_events))
        for client in self.clients:
            # Whose position is that of its welcome hears in this way that there is nothing left in the mailbox.
            client.reader.asks = client.reader.asks or client.reader.forgetful
            await client.come_back()
            head = self.ledger.head(client.reader.viewer.tenant)
            await client.until(lambda client=client, head=head: client.reader.position[1] >= head)
            if client.acknowledges:
                # What was acknowledged does not come again.
                await client.come_back()
                assert not client.reader.offline_on_last
        self.ledger.check_store(await asyncio.to_thread(self.cluster.stored_events))
        for client in self.clients:
            client.reader.compare()
            client.reader.compare_letters()
        for node in self.cluster.nodes:
            for tenant in LETTERS_FOR:
                await self._witness(node, tenant)
        for client in self.clients:
            await client.leave()

    async def _witness(self, node: RestartableGateway, tenant: str) -> None:
        """Somebody who was never here reads the last of it at one node."""
        reader = Reader(self.ledger, Viewer(tenant, "service", "witness", events=(*BY_NAME, "notification")), hops=True)
        first = max(0, self.ledger.head(tenant) - 2_000)
        reader.position, reader._first = (self.ledger.epochs[tenant], first), first
        witness = RoamingClient(node, reader, self._fork(), patience=PATIENCE)
        witness.start()
        await witness.until(lambda: witness.is_here)
        await witness.leave()
        reader.compare(self.ledger.head(tenant))
        assert reader.figures.resumed == 1

    @property
    def figures(self) -> Figures:
        """What the clients have counted."""
        return reduce(add, (client.reader.figures for client in self.clients))

    def __str__(self) -> str:
        mail = sum(offer.is_mail for offer in map(self.ledger.offers.get, self.ledger.acknowledged) if offer)
        closed = Counter(code for client in self.clients for code in client.closed_with)
        refused = reduce(add, (client.refused_with for client in self.clients))
        return (
            f"events offered {len(self.ledger.offers)}, acknowledged {len(self.ledger.acknowledged)} ({mail} letters), "
            f"resent {self.ledger.resent}, longest wait for an answer {self.ledger.longest_wait:.1f} s; "
            f"clients {len(self.clients)}: {self.figures}; closed with {dict(closed)}, refused with {dict(refused)}"
        )


class Storm:
    """Does harm to nodes and to Redis, one fault after the other, and sees that it is overcome."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.cluster = load.cluster
        self.rng = random.Random(load.rng.random())
        self.done: Counter[str] = Counter()
        self._kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "node killed": lambda: self._kill_node(self.rng.uniform(0, 1)),
            "node killed for longer than its lease": lambda: self._kill_node(LEASE + 1),
            "node stopped": lambda: self._stop_node(TIMEOUT + self.rng.uniform(0.3, 1)),
            "node stopped for longer than its lease": lambda: self._stop_node(LEASE + self.rng.uniform(0.5, 2)),
            "Redis killed": lambda: self._kill_redis(self.rng.uniform(0, 1.5)),
            "Redis stopped": lambda: self._stop_redis(self.rng.uniform(0.2, 0.8) * TIMEOUT),
            "Redis stopped for longer than the timeout": lambda: self._stop_redis(self.rng.uniform(1.3, 3) * TIMEOUT),
            "node and Redis killed": self._kill_both,
            "connections to Redis cut": self._cut_connections,
        }
        self._next: list[str] = []

    async def once(self) -> None:
        """One fault, at a moment of its own."""
        ledger = self.load.ledger
        await self.load.more_is_acknowledged(self.rng.choice([1, self.rng.randint(1, 300)]))
        if not self._next:
            self._next = self.rng.sample(list(self._kinds), len(self._kinds))
        kind = self._next.pop()
        ledger.is_shaken = True
        ledger.life += 1
        await self._kinds[kind]()
        self.done[kind] += 1
        # Now and then the next one comes before this one is overcome.
        if self.rng.random() < 0.75:
            await self.overcome()

    async def overcome(self) -> None:
        """Wait until everything is as it should be."""
        await asyncio.to_thread(self.cluster.until_ready)
        await self.load.more_is_acknowledged(20)
        for client in self.load.clients:
            await self.load.until(lambda client=client: client.is_here, f"{client.reader} is here")
        self.load.ledger.is_shaken = False
        self.load.ledger.life += 1

    async def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.load.check()
            await asyncio.sleep(0.02)

    async def _kill_node(self, away: float) -> None:
        node = self.rng.choice(self.cluster.nodes)
        await asyncio.to_thread(node.end)
        await self._wait(away)
        await asyncio.to_thread(node.start)

    async def _stop_node(self, away: float) -> None:
        process = self.rng.choice(self.cluster.nodes).process.process
        process.send_signal(signal.SIGSTOP)
        try:
            await self._wait(away)
        finally:
            process.send_signal(signal.SIGCONT)

    async def _kill_redis(self, away: float) -> None:
        await asyncio.to_thread(self.cluster.redis.kill)
        await self._wait(away)
        await asyncio.to_thread(self.cluster.redis.start)

    async def _stop_redis(self, away: float) -> None:
        self.cluster.redis.pause()
        try:
            await self._wait(away)
        finally:
            self.cluster.redis.go_on()

    async def _kill_both(self) -> None:
        await asyncio.gather(self._kill_node(self.rng.uniform(0, 0.5)), self._kill_redis(self.rng.uniform(0, 1)))

    async def _cut_connections(self) -> None:
        """Those for commands, or those for announcements, or both."""
        with RedisPeer(self.cluster.redis.port) as redis:
            for kind in self.rng.choice([("pubsub",), ("normal",), ("normal", "pubsub")]):
                redis.ask("CLIENT", "KILL", "TYPE", kind)

    def __str__(self) -> str:
        return f"faults {self.done.total()}: " + ", ".join(f"{kind} {count}" for kind, count in self.done.items())


async def storm(load: Load, storm: Storm, faults: int) -> None:
    await load.begin()
    try:
        for _ in range(faults):
            await storm.once()
        await storm.overcome()
        await load.stop_sending()
        await load.compare()
        await everybody_is_announced_gone(load)
    finally:
        await load.end()


async def everybody_is_announced_gone(load: Load) -> None:
    """All have left: each person is announced gone, whatever was announced before."""

    def present() -> set[tuple[str, str]]:
        told = presence_in(load.cluster.stored_events())
        for rows in told.values():
            check_presence(rows)
        return {(tenant, user) for tenant, rows in told.items() for user, online in dict(rows).items() if online}

    end = time.monotonic() + GRACE + LEASE + DEADLINE
    while left := await asyncio.to_thread(present):
        assert time.monotonic() < end, f"they have left, but nobody was told: {left}"
        await asyncio.sleep(0.2)


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_whatever_fails(
    make_cluster: Callable[..., Cluster], seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    load = Load(make_cluster(), seed)
    faults = Storm(load)
    begin = time.monotonic()
    try:
        asyncio.run(storm(load, faults, FAULTS))
    finally:
        with capsys.disabled():
            print(f"\n{faults}; {load} ({time.monotonic() - begin:.0f} s, seed {seed})")  # noqa: T201 - the figures
    reasons = [reason for client in load.clients for reason in client.reader.reasons]
    assert not reasons
    assert (load.figures.resets, load.figures.gaps) == (0, 0)
    assert not load.ledger.refused
