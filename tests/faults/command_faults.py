"""Kills and suspends sources, nodes and Redis, and cuts connections, some at the same time."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from cluster import LEASE
from command_agents import CommandClient
from command_source_process import SourceProcess
from redis_server import RedisServer
from restartable import RestartableGateway

AT_ONCE = 3
MAX_PAUSE_SECONDS = 1.0
MAX_DONE_BETWEEN = 20
MAX_WAIT_SECONDS = 5.0
SOURCE_SUSPENDED_SECONDS = 8.0
"""Longer than the deadline of the commands, so that some find it over when the source goes on."""

NODE_SUSPENDED_SECONDS = 9.0
"""So long that other nodes have closed by then what this one was about to do."""


class CommandFaults:
    """Faults at random; each target has one at a time.

    Args:
        redis: that of the nodes, if they have one.
    """

    def __init__(
        self,
        sources: Sequence[SourceProcess],
        nodes: Sequence[RestartableGateway],
        clients: Sequence[CommandClient],
        redis: RedisServer | None,
        rng: random.Random,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._sources = sources
        self._nodes = nodes
        self._clients = clients
        self._redis = redis
        self._rng = rng
        self._hit: dict[int, asyncio.Task[None]] = {}
        self._kinds: list[tuple[str, Callable[[], object], Callable[[Any], Coroutine[Any, Any, None]]]] = [
            ("source killed", self._source, self._kill_source),
            ("source killed", self._source, self._kill_source),
            ("source stopped", self._source, self._stop_source),
            ("source suspended", self._source, self._suspend_source),
            ("link cut", self._source, self._cut_link),
            ("link cut", self._source, self._cut_link),
            ("node killed", self._node, self._kill_node),
            ("node killed", self._node, self._kill_node),
            ("node stopped", self._node, self._stop_node),
            ("node suspended", self._node, self._suspend_node),
            ("clients cut", lambda: self._clients, self._cut_clients),
        ]
        if redis is not None:
            self._kinds += [
                ("Redis killed", lambda: self._redis, self._kill_redis),
                ("Redis suspended", lambda: self._redis, self._suspend_redis),
            ]

    async def cause(self, seconds: float, done: Callable[[], int]) -> None:
        """Cause faults for some time, and wait for the end of the last ones.

        Args:
            done: returns how many commands are done; raises what has failed.
        """
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                await asyncio.sleep(self._rng.uniform(0, MAX_PAUSE_SECONDS))
                await self._wait_for_more(done)
                self._begin()
        finally:
            await asyncio.gather(*self._hit.values())

    async def _wait_for_more(self, done: Callable[[], int]) -> None:
        """Let some commands be done in between, also on a slow machine; some faults follow one another at once."""
        enough = done() + self._rng.choice([0, self._rng.randint(1, MAX_DONE_BETWEEN)])
        end = time.monotonic() + MAX_WAIT_SECONDS
        while time.monotonic() < end:
            if done() >= enough:
                return
            await asyncio.sleep(0.02)

    def _begin(self) -> None:
        for target, task in list(self._hit.items()):
            if task.done():
                task.result()
                del self._hit[target]
        name, choose, hit = self._rng.choice(self._kinds)
        target = choose()
        if len(self._hit) < AT_ONCE and id(target) not in self._hit:
            self.counts[name] += 1
            self._hit[id(target)] = asyncio.create_task(hit(target))

    def _source(self) -> SourceProcess:
        return self._rng.choice(self._sources)

    def _node(self) -> RestartableGateway:
        return self._rng.choice(self._nodes)

    async def _wait(self, most: float) -> None:
        await asyncio.sleep(self._rng.choice([0, self._rng.uniform(0, most)]))

    async def _kill_source(self, source: SourceProcess) -> None:
        await asyncio.to_thread(source.kill)
        await self._wait(3)
        source.start()

    async def _stop_source(self, source: SourceProcess) -> None:
        await asyncio.to_thread(source.kill, signal.SIGTERM)
        source.start()

    async def _suspend_source(self, source: SourceProcess) -> None:
        source.send_signal(signal.SIGSTOP)
        await asyncio.sleep(self._rng.choice([self._rng.uniform(0, 2), SOURCE_SUSPENDED_SECONDS]))
        source.send_signal(signal.SIGCONT)

    async def _cut_link(self, source: SourceProcess) -> None:
        for _ in range(self._rng.randint(1, 3)):
            source.link.cut()
            await asyncio.sleep(self._rng.uniform(0, 0.3))

    async def _cut_clients(self, clients: Sequence[CommandClient]) -> None:
        for client in clients:
            if self._rng.random() < 0.5:
                client.cut()

    async def _kill_node(self, node: RestartableGateway) -> None:
        await asyncio.to_thread(node.end)
        await self._wait(LEASE + 1)
        await asyncio.to_thread(node.start)

    async def _stop_node(self, node: RestartableGateway) -> None:
        """Have a node close its clients in order."""
        await asyncio.to_thread(node.end, signal.SIGTERM)
        await asyncio.to_thread(node.start)

    async def _suspend_node(self, node: RestartableGateway) -> None:
        os.kill(node.pid, signal.SIGSTOP)
        await asyncio.sleep(self._rng.choice([self._rng.uniform(0, LEASE + 1), NODE_SUSPENDED_SECONDS]))
        os.kill(node.pid, signal.SIGCONT)

    async def _kill_redis(self, redis: RedisServer) -> None:
        await asyncio.to_thread(redis.kill)
        await asyncio.sleep(self._rng.uniform(0, 1))
        await asyncio.to_thread(redis.start)

    async def _suspend_redis(self, redis: RedisServer) -> None:
        redis.pause()
        await asyncio.sleep(self._rng.uniform(0, 3))
        redis.resume()
