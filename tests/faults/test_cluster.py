"""Three nodes and their Redis are killed, stopped and restarted at random, under load."""

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
from checker import Counts, Ledger, Offer, Reader, Viewer, check_presence, presence_in
from cluster import GRACE, LEASE, TIMEOUT, Cluster, RedisPeer
from event_generator import EventGenerator
from processes import DEADLINE
from restartable import RestartableGateway
from roaming import RoamingClient
from senders import AmpSender, DaemonSender, EventQuota, HttpSender

FAULTS = int(os.environ.get("CALLCENTER_WS_FAULTS", "12"))
RATE = 200
"""Events a second, all senders together."""

SIZES = (1, 10, 100, 1_000, 5_000, 70_000)
"""Bytes of alerts; the largest exceed the limit of an announcement."""

CLIENT_TIMEOUT_SECONDS = 3.0
BY_NAME = ("agent.*", "call.*", "queue.*", "chat.*", "alert", "presence.changed")
MAIL_USERS = {"acme": ("n1", "n2", "n3", "absent"), "globex": ("n1",), "initech": ("n1",)}
MOVES_AFTER = 80

# The clients: viewer, maximum number of messages before it moves to another node, and options of its mailbox.
CLIENTS: tuple[tuple[Viewer, int, dict[str, bool]], ...] = (
    (Viewer("acme", "admin", "ada"), MOVES_AFTER, {}),
    (Viewer("acme", "supervisor", "sue"), 0, {}),
    (Viewer("acme", "supervisor", "sam", queues=("sales",)), MOVES_AFTER, {}),
    (Viewer("acme", "agent", "a1"), MOVES_AFTER, {}),
    (Viewer("acme", "agent", "a2", queues=("support",)), MOVES_AFTER, {}),
    (Viewer("acme", "agent", "a3", events=("alert", "call.*")), MOVES_AFTER, {}),
    (Viewer("acme", "wallboard", "wall"), MOVES_AFTER, {}),
    (Viewer("acme", "visitor", "v1", session="chat-1"), MOVES_AFTER, {}),
    (Viewer("acme", "service", "svc", events=BY_NAME), MOVES_AFTER, {}),
    (Viewer("acme", "agent", "n1"), MOVES_AFTER, {"acknowledges": True}),
    (Viewer("acme", "agent", "n2"), MOVES_AFTER, {"acknowledges": True, "forgets_position": True}),
    (Viewer("acme", "agent", "n3"), MOVES_AFTER, {"forgets_position": True}),
    (Viewer("globex", "supervisor", "ada"), MOVES_AFTER, {}),
    (Viewer("globex", "wallboard", "wall", queues=("sales",)), 0, {}),
    (Viewer("globex", "visitor", "v1", session="chat-1"), MOVES_AFTER, {}),
    (Viewer("globex", "agent", "n1"), MOVES_AFTER, {"acknowledges": True}),
    (Viewer("initech", "supervisor", "sam", queues=("support",)), 0, {}),
    (Viewer("initech", "agent", "n1"), MOVES_AFTER, {}),
)


class Load:
    """Senders and clients at all nodes of a cluster.

    Args:
        seed: the seed of all random choices.
    """

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self.cluster = cluster
        self.rng = random.Random(seed)
        self.ledger = Ledger()
        self.quota = EventQuota()
        nodes = cluster.nodes
        self.daemon = DaemonSender(self.rng.choice(nodes), self.ledger, self._events("daemon"), quota=self.quota)
        self.senders = [
            *[self._amp_sender(f"amp{number}") for number in range(3)],
            *[self._http_sender(f"http{number}") for number in range(2)],
            self.daemon,
        ]
        self.clients = [self._client(*described) for described in CLIENTS]
        self._running: list[asyncio.Task[None]] = []

    def _fork(self) -> random.Random:
        return random.Random(self.rng.random())

    def _events(self, name: str) -> Iterator[Offer]:
        return iter(EventGenerator(name, MAIL_USERS, self._fork(), sizes=SIZES))

    def _amp_sender(self, name: str) -> AmpSender:
        paths = [node.amp_path for node in self.cluster.nodes]
        more = {"quota": self.quota, "timeout": CLIENT_TIMEOUT_SECONDS, "max_pause": 0.3}
        return AmpSender(paths, self.ledger, self._events(name), self._fork(), **more)

    def _http_sender(self, name: str) -> HttpSender:
        more = {"quota": self.quota, "timeout": CLIENT_TIMEOUT_SECONDS, "max_pause": 0.3}
        return HttpSender(self.cluster.nodes, self.ledger, self._events(name), self._fork(), **more)

    def _client(self, viewer: Viewer, max_messages: int, mailbox: dict[str, bool]) -> RoamingClient:
        reader = Reader(
            self.ledger, viewer, forgets_position=mailbox.get("forgets_position", False), changes_nodes=True
        )
        acknowledges = mailbox.get("acknowledges", False)
        nodes, rng = self.cluster.nodes, self._fork()
        return RoamingClient(
            nodes, reader, rng, max_messages=max_messages, acknowledges=acknowledges, timeout=CLIENT_TIMEOUT_SECONDS
        )

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
        """Limit the senders to ``RATE`` events a second; unused allowance does not accumulate."""
        while True:
            await asyncio.sleep(0.05)
            if self.quota.left < RATE:
                self.quota.add(RATE // 20)

    async def stop_sending(self) -> None:
        """Stop the senders when all their events are answered."""
        for sender in self.senders:
            sender.stop()
        await asyncio.wait_for(asyncio.gather(*self._running[:-1]), 2 * DEADLINE)

    async def end(self) -> None:
        """Stop the senders at once."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self.daemon.end()

    async def until(self, condition: Callable[[], bool], what: str, deadline: float = DEADLINE) -> None:
        """Wait for a condition, and fail if a sender or a client fails."""
        end = time.monotonic() + deadline
        while not condition():
            self.check()
            assert time.monotonic() < end, f"not within {deadline:g} s: {what}"
            await asyncio.sleep(0.02)

    def check(self) -> None:
        """Raise the failure of any sender or client."""
        for task in self._running:
            if task.done():
                task.result()
        for client in self.clients:
            client.check()

    async def more_is_acknowledged(self, count: int) -> None:
        """Wait for more acknowledgements."""
        enough = len(self.ledger.acknowledged) + count
        await self.until(lambda: len(self.ledger.acknowledged) >= enough, f"{count} more answers")

    # Final checks

    async def compare(self) -> None:
        """Have all clients catch up, and compare what they received with what Redis has."""
        self.ledger.check_store(await asyncio.to_thread(self.cluster.stored_events))
        for client in self.clients:
            # A forgetful client is told at a replay that its mailbox is empty.
            client.reader.resumes_by_request = client.reader.resumes_by_request or client.reader.forgets_position
            await client.reconnect()
            head = self.ledger.head(client.reader.viewer.tenant)
            await client.until(lambda client=client, head=head: client.reader.position[1] >= head)
            if client.acknowledges:
                # Acknowledged items are not sent again.
                await client.reconnect()
                assert not client.reader.mail_on_connection
        self.ledger.check_store(await asyncio.to_thread(self.cluster.stored_events))
        for client in self.clients:
            client.reader.compare()
            client.reader.compare_mail()
        for node in self.cluster.nodes:
            for tenant in MAIL_USERS:
                await self._witness(node, tenant)
        for client in self.clients:
            await client.leave()

    async def _witness(self, node: RestartableGateway, tenant: str) -> None:
        """Read the end of the stream with a new client at one node."""
        reader = Reader(
            self.ledger, Viewer(tenant, "service", "witness", events=(*BY_NAME, "notification")), changes_nodes=True
        )
        first = max(0, self.ledger.head(tenant) - 2_000)
        reader.position, reader._first = (self.ledger.epochs[tenant], first), first
        witness = RoamingClient(node, reader, self._fork(), timeout=CLIENT_TIMEOUT_SECONDS)
        witness.start()
        await witness.until(lambda: witness.is_up_to_date)
        await witness.leave()
        reader.compare(self.ledger.head(tenant))
        assert reader.counts.resumed == 1

    @property
    def counts(self) -> Counts:
        """The sum of the clients' counters."""
        return reduce(add, (client.reader.counts for client in self.clients))

    def __str__(self) -> str:
        mail = sum(offer.is_mail for offer in map(self.ledger.offers.get, self.ledger.acknowledged) if offer)
        closed = Counter(code for client in self.clients for code in client.closed_with)
        refused = reduce(add, (client.refused_with for client in self.clients))
        return (
            f"events offered {len(self.ledger.offers)}, acknowledged {len(self.ledger.acknowledged)} ({mail} letters), "
            f"resent {self.ledger.resent}, longest wait for an answer {self.ledger.longest_wait:.1f} s; "
            f"clients {len(self.clients)}: {self.counts}; closed with {dict(closed)}, refused with {dict(refused)}"
        )


class FaultInjector:
    """Injects faults into nodes and Redis, one after the other, and waits for recovery."""

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
        """Inject one fault at a random moment."""
        ledger = self.load.ledger
        await self.load.more_is_acknowledged(self.rng.choice([1, self.rng.randint(1, 300)]))
        if not self._next:
            self._next = self.rng.sample(list(self._kinds), len(self._kinds))
        kind = self._next.pop()
        ledger.may_lose_sent_marks = True
        ledger.process_number += 1
        await self._kinds[kind]()
        self.done[kind] += 1
        # Some faults are injected before the one before has been recovered from.
        if self.rng.random() < 0.75:
            await self.recover()

    async def recover(self) -> None:
        """Wait until all nodes are ready and all clients are connected."""
        await asyncio.to_thread(self.cluster.until_ready)
        await self.load.more_is_acknowledged(20)
        for client in self.load.clients:
            await self.load.until(lambda client=client: client.is_up_to_date, f"{client.reader} is here")
        self.load.ledger.may_lose_sent_marks = False
        self.load.ledger.process_number += 1

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
            self.cluster.redis.resume()

    async def _kill_both(self) -> None:
        await asyncio.gather(self._kill_node(self.rng.uniform(0, 0.5)), self._kill_redis(self.rng.uniform(0, 1)))

    async def _cut_connections(self) -> None:
        """Cut the connections for commands, for announcements, or both."""
        with RedisPeer(self.cluster.redis.port) as redis:
            for kind in self.rng.choice([("pubsub",), ("normal",), ("normal", "pubsub")]):
                redis.ask("CLIENT", "KILL", "TYPE", kind)

    def __str__(self) -> str:
        return f"faults {self.done.total()}: " + ", ".join(f"{kind} {count}" for kind, count in self.done.items())


async def run(load: Load, injector: FaultInjector, count: int) -> None:
    await load.begin()
    try:
        for _ in range(count):
            await injector.once()
        await injector.recover()
        await load.stop_sending()
        await load.compare()
        await check_all_announced_offline(load)
    finally:
        await load.end()


async def check_all_announced_offline(load: Load) -> None:
    """Check that all users are announced offline after all clients have left."""

    def present() -> set[tuple[str, str]]:
        told = presence_in(load.cluster.stored_events())
        for rows in told.values():
            check_presence(rows)
        return {(tenant, user) for tenant, rows in told.items() for user, online in dict(rows).items() if online}

    end = time.monotonic() + GRACE + LEASE + DEADLINE
    while left := await asyncio.to_thread(present):
        assert time.monotonic() < end, f"users that were not announced offline: {left}"
        await asyncio.sleep(0.2)


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_whatever_fails(
    make_cluster: Callable[..., Cluster], seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    load = Load(make_cluster(), seed)
    faults = FaultInjector(load)
    begin = time.monotonic()
    try:
        asyncio.run(run(load, faults, FAULTS))
    finally:
        with capsys.disabled():
            print(f"\n{faults}; {load} ({time.monotonic() - begin:.0f} s, seed {seed})")  # noqa: T201 - the figures
    reasons = [reason for client in load.clients for reason in client.reader.reasons]
    assert not reasons
    assert (load.counts.resets, load.counts.gaps) == (0, 0)
    assert not load.ledger.refused
