"""Agents, supervisors, a service, sources and nodes; commands between them, and the faults that hit them."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from checker import StoredEvent, Viewer
from command_agents import Asker, CommandLedger, client_of
from command_checker import mistakes
from command_evidence import CommandEvidence, StreamEvent
from command_faults import CommandFaults
from command_source_process import SourceProcess
from processes import DEADLINE
from redis_server import RedisServer
from restartable import RestartableGateway
from switched_link import SwitchedLink

from callcenter_ws.broker.sqlite.schema import seq_of

TENANTS = ("acme", "globex")
SOURCES = 3
SETTLE_SECONDS = 60.0
SERVICE_EVENTS = ("agent.*", "call.*", "alert", "command.done", "command.failed")
COMMAND_SETTINGS = """
[commands]
enabled = true
rate = 1000
burst = 1000
"""


class CommandScenario:
    """Commands and faults at random, for some time.

    Args:
        redis: that of the nodes; None: there is one node, with a file.
    """

    def __init__(
        self, nodes: Sequence[RestartableGateway], folder: Path, seed: int, redis: RedisServer | None = None
    ) -> None:
        self.rng = random.Random(seed)
        self.nodes = nodes
        self.redis = redis
        self.ledger = CommandLedger()
        # The record that a mailbox item was sent is lost with the process that sent it.
        self.ledger.may_lose_sent_marks = True
        self.evidence = CommandEvidence()
        self.sources = []
        for number in range(SOURCES):
            link = SwitchedLink(folder / f"link-{number}", [node.amp_path for node in nodes], self._fork())
            self.sources.append(SourceProcess(f"s{number}", link, folder, TENANTS, seed))
        self.askers = [asker for tenant in TENANTS for asker in self._askers(tenant)]
        self.clients = [client for asker in self.askers for client in asker.clients]
        self.faults = CommandFaults(self.sources, nodes, self.clients, redis, self._fork())

    def _fork(self) -> random.Random:
        return random.Random(self.rng.random())

    def _askers(self, tenant: str) -> list[Asker]:
        """Return an agent of each source, a supervisor and a service; one agent reads its mailbox only."""
        agents = [source.agents[0] for source in self.sources]
        given: list[tuple[Viewer, list[str], int, dict[str, bool]]] = [
            (Viewer(tenant, "agent", agents[0]), [], 2, {}),
            (Viewer(tenant, "agent", agents[1]), [], 2, {"acknowledges": True}),
            (Viewer(tenant, "agent", agents[2]), [], 1, {"acknowledges": True, "forgets_position": True}),
            (Viewer(tenant, "supervisor", "sue"), [agent for source in self.sources for agent in source.agents], 2, {}),
            (Viewer(tenant, "service", "robot", events=SERVICE_EVENTS), agents, 1, {}),
        ]
        return [self._asker(*described) for described in given]

    def _asker(self, viewer: Viewer, others: list[str], clients: int, options: dict[str, bool]) -> Asker:
        made = [
            client_of(
                self.nodes, self.ledger, self.evidence, viewer, self._fork(), max_messages=150 * number, **options
            )
            for number in range(clients)
        ]
        return Asker(self.evidence, made, self._fork(), others)

    # The run

    async def run(self, seconds: float) -> None:
        """Start everything, and let faults happen for some time; then wait until each command is closed."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(16))
        clients = self.clients
        for source in self.sources:
            await source.link.open()
        try:
            for client in clients:
                client.start()
            for client in clients:
                await client.until(lambda client=client: client.reader.position is not None)
            for source in self.sources:
                source.start()
            await clients[0].until(lambda: len(self.ledger.calls) >= SOURCES * len(TENANTS))
            running = [asyncio.create_task(asker.run()) for asker in self.askers]
            await self.faults.cause(seconds, lambda: self._done(running))
            for asker in self.askers:
                asker.stop()
            await asyncio.wait_for(asyncio.gather(*running), 3 * DEADLINE)
            await asyncio.gather(*[asker.settle(SETTLE_SECONDS) for asker in self.askers])
            await self._finish()
        finally:
            for client in clients:
                client.abort()
            for source in self.sources:
                source.kill()
                await source.link.close()

    def _done(self, running: Sequence[asyncio.Task[None]]) -> int:
        """Return how many commands are done; raise the failure of any asker."""
        for task in running:
            if task.done():
                task.result()
        return self.ledger.done

    async def _finish(self) -> None:
        """Empty the spools, and let the clients read to the end."""
        for source in self.sources:
            await asyncio.to_thread(source.kill)
            await asyncio.to_thread(source.send_rest)
        for client in self.clients:
            await client.reconnect()
            await client.wait_for_pongs()

    # The end

    def check(self, stored: Callable[[], list[StoredEvent]]) -> str:
        """Compare everything, and return what was counted."""
        for tenant, place, event_id, type_, payload in stored():
            event = StreamEvent(tenant, seq_of(place), event_id, type_, json.loads(payload))
            self.ledger.place(event, "stored")
            self.evidence.stored.append(event)
        for source in self.sources:
            self.evidence.executions += source.executions()
            assert not source.errors, source.errors[:5]
        found = mistakes(self.evidence)
        assert not found, "\n".join([f"{len(found)} mistakes", *found[:30]])
        for client in self.clients:
            client.reader.compare()
            assert not client.reader.reasons and not client.reader.counts.gaps, client.reader.reasons
        assert self.ledger.done and self.evidence.executions, "nothing was carried out"
        return self._summary()

    def _summary(self) -> str:
        finals = Counter(f"{answer.state or 'refused'} {answer.code or ''}" for answer in self.evidence.final.values())
        starts = sum(source.starts for source in self.sources)
        asked = sum(map(len, self.evidence.asked.values()))
        return (
            f"faults {dict(self.faults.counts)}; commands {len(self.evidence.asked)}, asked for {asked} times, "
            f"ended {dict(sorted(finals.items()))}; executed {len(self.evidence.executions)}; sources started {starts}"
        )
