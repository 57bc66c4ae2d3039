"""Sources with spools, gateways and the links between them are killed at random: nothing is doubled, nothing lost.

The recent event ids are of no help here: the events that a spool still has are given new ids whenever their source or
its link has ended, as after a pause of any length.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from checker import Ledger, Message, Offer, Reader, StoredEvent, Viewer, Violation, stored_events
from cluster import LEASE, Cluster
from processes import DEADLINE, Process
from redis_server import RedisServer
from restartable import RestartableGateway
from roaming import RoamingClient
from switched_link import SwitchedLink

from callcenter_ws.broker.sqlite.schema import seq_of

FAULTS = int(os.environ.get("CALLCENTER_WS_SOURCE_FAULTS", "6"))
DAEMON = Path(__file__).with_name("source_daemon.py")
TENANTS = ("acme", "globex")
SOURCES = 3
NUMBERS_PER_PROCESS = 1_000_000
TIMEOUT_SECONDS = 3.0
SETTINGS = """
history_events = 1000000
memory_events = 100
[limits]
outbox = 64
rate = 100000
burst = 100000
"""


class SourceProcess:
    """A source that is killed and started again with its spool.

    Attributes:
        kept: numbers of the events that must arrive: they were acknowledged, or found in the spool after a kill.
        lines: all that its processes have printed.
    """

    def __init__(self, name: str, link: SwitchedLink, folder: Path) -> None:
        self.name = name
        self.link = link
        self.spool = folder / f"{name}.spool"
        self.kept: set[int] = set()
        self.starts = 0
        self.errors: list[Message] = []
        self._process: Process | None = None

    def start(self, *options: str) -> None:
        command = [sys.executable, str(DAEMON), f"unix:{self.link.path}", "--spool", str(self.spool)]
        first = self.starts * NUMBERS_PER_PROCESS + 1
        more = ["--name", self.name, "--tenants", ",".join(TENANTS), "--first", str(first)]
        self._process = Process([*command, *more, *options])
        self.starts += 1

    def send_rest(self) -> None:
        """Run a process that sends what is in the spool, and nothing else."""
        self.start("--drain")
        assert self._process is not None
        status = self._process.wait()
        assert status == 0, self._process.output[-2_000:]
        self.kill()
        assert self.spooled() == []

    def kill(self) -> None:
        """Kill the process, and give the events in its spool new ids."""
        assert self._process is not None
        self._process.stop(signal.SIGKILL)
        for line in self._process.lines:
            self._note(line)
        self._process = None
        self.kept |= set(self.spooled(rename=True))

    def _note(self, line: str) -> None:
        try:
            printed = json.loads(line)
        except ValueError:
            # Cut by the kill, or a traceback.
            if line.startswith("{"):
                return
            printed = {"error": line}
        if "acknowledged" in printed:
            self.kept.add(printed["acknowledged"])
        elif "state" not in printed:
            self.errors.append(printed)

    def spooled(self, *, rename: bool = False) -> list[int]:
        """Return the numbers of the events in the spool."""
        if not self.spool.exists():
            return []
        with contextlib.closing(sqlite3.connect(self.spool, timeout=30)) as db, db:
            if not db.execute("SELECT * FROM sqlite_schema WHERE name = 'source'").fetchall():
                return []
            if rename:
                db.execute("UPDATE event SET event_id = substr(event_id, 1, 40) || '~k' || ?", (self.starts,))
            payloads = db.execute("SELECT payload FROM event ORDER BY key").fetchall()
        return [number_of(json.loads(payload)) for (payload,) in payloads]


def number_of(payload: dict[str, Any]) -> int:
    return int(payload["title"].partition(":")[2])


class SourceLedger(Ledger):
    """Accepts what arrives, and records it; the events are compared with the sources at the end."""

    def observe(self, viewer: Viewer, message: Message) -> Offer:
        offer = Offer(message["tenant_id"], message["type"], message["payload"], message["id"])
        return self.place(offer, message["seq"], f"received by {viewer}")

    def place(self, offer: Offer, seq: int, what: str) -> Offer:
        """Check that an event, and no other, is at this position only."""
        self._place(offer.tenant, seq, offer.event_id, what)
        known = self.offers.setdefault(offer.event_id, offer)
        if known != offer:
            raise Violation(f"{offer.event_id} is {offer} and {known}")
        return known


class SourceScenario:
    """Sources, gateways and consumers, and the faults."""

    def __init__(
        self, nodes: Sequence[RestartableGateway], folder: Path, seed: int, redis: RedisServer | None = None
    ) -> None:
        self.rng = random.Random(seed)
        self.redis = redis
        self.nodes = nodes
        self.ledger = SourceLedger()
        self.faults: Counter[str] = Counter()
        self.sources = []
        for number in range(SOURCES):
            link = SwitchedLink(folder / f"link-{number}", [node.amp_path for node in nodes], self._fork())
            self.sources.append(SourceProcess(f"source-{number}", link, folder))
        self.consumers = [self._consumer(tenant, number) for tenant in TENANTS for number in range(2)]

    def _fork(self) -> random.Random:
        return random.Random(self.rng.random())

    def _consumer(self, tenant: str, number: int) -> RoamingClient:
        viewer = Viewer(tenant, "supervisor", f"{tenant}-{number}")
        reader = Reader(self.ledger, viewer, changes_nodes=len(self.nodes) > 1)
        most = 300 * number
        return RoamingClient(self.nodes, reader, self._fork(), max_messages=most, timeout=TIMEOUT_SECONDS)

    async def run(self, faults: int) -> None:
        """Start everything, and let the faults happen."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(16))
        for consumer in self.consumers:
            consumer.start()
        for consumer in self.consumers:
            await consumer.until(lambda consumer=consumer: consumer.reader.position is not None)
        for source in self.sources:
            await source.link.open()
            source.start()
        try:
            for _ in range(faults):
                await self._until_more_arrives()
                await self._cause_fault()
            await self._finish()
        finally:
            for source in self.sources:
                if source._process is not None:
                    source.kill()
                await source.link.close()
            for consumer in self.consumers:
                consumer.abort()

    async def _until_more_arrives(self) -> None:
        consumer = self.consumers[0]
        count = consumer.reader.counts.messages + self.rng.randint(1, 60)
        await consumer.until(lambda: consumer.reader.counts.messages >= count, 2 * DEADLINE)
        # At a random place of what is under way.
        await asyncio.sleep(self.rng.uniform(0, 0.2))

    async def _cause_fault(self) -> None:
        shared = ["kill redis", "freeze redis", "freeze gateway"] if self.redis is not None else []
        fault = self.rng.choice(
            ["kill source", "kill source", "cut link", "cut link", "kill gateway", "kill both", *shared]
        )
        self.faults[fault] += 1
        source = self.rng.choice(self.sources)
        if fault in shared:
            await self._cause_shared_fault(fault)
            return
        if fault == "cut link":
            for _ in range(self.rng.randint(1, 3)):
                source.link.cut()
                await asyncio.sleep(self.rng.uniform(0, 0.3))
            return
        if fault != "kill gateway":
            await asyncio.to_thread(source.kill)
        if fault != "kill source":
            node = self.rng.choice(self.nodes)
            await asyncio.to_thread(node.end)
            self.ledger.process_number += 1
            await asyncio.to_thread(node.start)
        if fault != "kill gateway":
            source.start()

    async def _cause_shared_fault(self, fault: str) -> None:
        """Kill Redis, or let it or a gateway stand still, for longer than the others wait for it."""
        assert self.redis is not None
        if fault == "kill redis":
            await asyncio.to_thread(self.redis.kill)
            await asyncio.sleep(self.rng.uniform(0, 1))
            await asyncio.to_thread(self.redis.start)
        elif fault == "freeze redis":
            self.redis.pause()
            await asyncio.sleep(self.rng.uniform(0, LEASE + 1))
            self.redis.resume()
        else:
            node = self.rng.choice(self.nodes)
            os.kill(node.pid, signal.SIGSTOP)
            await asyncio.sleep(self.rng.uniform(0, LEASE + 1))
            os.kill(node.pid, signal.SIGCONT)

    async def _finish(self) -> None:
        """Let each source end without a fault, empty its spool, and let the consumers read to the end."""
        for source in self.sources:
            await asyncio.to_thread(source.kill)
            await asyncio.to_thread(source.send_rest)
        for consumer in self.consumers:
            await consumer.reconnect()

    def check(self, found: Sequence[StoredEvent]) -> str:
        """Compare what the sources have sent with what is stored, and with what the consumers received."""
        numbers: dict[tuple[str, str], list[int]] = defaultdict(list)
        for tenant, place, event_id, type_, payload in found:
            self.ledger.place(Offer(tenant, type_, json.loads(payload), event_id), seq_of(place), "stored")
            if type_ == "alert":
                title = json.loads(payload)["title"]
                numbers[tenant, title.partition(":")[0]].append(number_of({"title": title}))
        for (tenant, name), sent in numbers.items():
            if sent != sorted(set(sent)):
                twice = [number for number, count in Counter(sent).items() if count > 1]
                raise Violation(f"{name} in {tenant}: doubled {twice[:5]}, or out of order")
        for source in self.sources:
            arrived = {number for (_, name), sent in numbers.items() if name == source.name for number in sent}
            if lost := source.kept - arrived:
                raise Violation(f"{source.name}: {len(lost)} events are lost, as {sorted(lost)[:5]}")
            assert not source.errors, source.errors[:5]
        for consumer in self.consumers:
            consumer.reader.compare()
            reader = consumer.reader
            assert not reader.reasons and not reader.counts.gaps, (reader.reasons, reader.counts)
        arrived_count = sum(map(len, numbers.values()))
        kept = sum(len(source.kept) for source in self.sources)
        starts = sum(source.starts for source in self.sources)
        received = sum(consumer.reader.counts.messages for consumer in self.consumers)
        return (
            f"faults {dict(self.faults)}; processes {starts}; due {kept}, arrived {arrived_count}; received {received}"
        )


def run_scenario(
    scenario: SourceScenario, stored: Callable[[], list[StoredEvent]], capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    asyncio.run(scenario.run(FAULTS))
    summary = scenario.check(stored())
    with capsys.disabled():
        print(f"\n{summary} (seed {seed})")  # noqa: T201 - the counts are of interest


@pytest.mark.slow
def test_sources_and_their_gateway_are_killed(
    make_gateway: Callable[..., RestartableGateway],
    tmp_path: Path,
    seed: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gateway = make_gateway(SETTINGS)
    gateway.start()
    scenario = SourceScenario([gateway], tmp_path, seed)
    run_scenario(scenario, lambda: stored_events(gateway.store), capsys, seed)


@pytest.mark.slow
def test_sources_two_nodes_and_their_redis_are_killed_and_frozen(
    make_cluster: Callable[..., Cluster], tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = make_cluster(nodes=2)
    cluster.start()
    scenario = SourceScenario(cluster.nodes, tmp_path, seed, cluster.redis)
    run_scenario(scenario, cluster.stored_events, capsys, seed)
