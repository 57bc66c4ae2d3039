"""A rolling restart of all nodes, as for an upgrade."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

import pytest
from checker import Reader, Viewer, check_presence, presence_in
from cluster import DRAIN, Cluster
from restartable import RestartableGateway
from roaming import RoamingClient
from test_cluster import Load

from callcenter_ws.delivery.drain import DrainPlan

CROWD = 20
"""Additional clients at the node that is restarted."""

PAUSE = 1.0
"""The shortest delay in seconds after which a drained client may reconnect."""


class Crowd:
    """Clients of one node, which reconnect to any node when it is drained."""

    def __init__(self, load: Load, node: RestartableGateway, name: str) -> None:
        self.clients = [self._client(load, node, f"{name}-{number}") for number in range(CROWD)]
        self._nodes = load.cluster.nodes

    def _client(self, load: Load, node: RestartableGateway, user: str) -> RoamingClient:
        reader = Reader(load.ledger, Viewer("acme", "agent", user, queues=("sales",)), changes_nodes=True)
        # Without a short timeout: on a slow machine, too, it stays at the node until it is drained.
        return RoamingClient(node, reader, random.Random(user))

    async def arrive(self) -> None:
        for client in self.clients:
            client.start()
        for client in self.clients:
            await client.until(lambda client=client: client.is_up_to_date)
            client.use_nodes(self._nodes)


async def restart_each(load: Load) -> None:
    await load.begin()
    try:
        for number, node in enumerate(load.cluster.nodes):
            crowd = Crowd(load, node, f"crowd{number}")
            await crowd.arrive()
            load.clients += crowd.clients
            await load.more_is_acknowledged(100)
            await restart(load, node, crowd)
            await load.more_is_acknowledged(100)
        await load.stop_sending()
        await load.compare()
    finally:
        await load.end()


async def restart(load: Load, node: RestartableGateway, crowd: Crowd) -> None:
    """Restart a node; its clients are drained with different delays, and all reconnect."""
    before = [client.reader.counts.connections for client in crowd.clients]
    drained = [len(client.reader.drains) for client in load.clients]
    begin = time.monotonic()
    assert await asyncio.to_thread(node.end, signal.SIGTERM) == -signal.SIGTERM
    await asyncio.to_thread(node.start)
    await asyncio.to_thread(load.cluster.until_ready)
    for client, count in zip(crowd.clients, before, strict=True):
        await load.until(
            lambda client=client, count=count: client.reader.counts.connections > count, "it has reconnected"
        )
        await load.until(lambda client=client: client.is_up_to_date, f"{client.reader} is here")
    assert time.monotonic() - begin > PAUSE
    pairs = zip(load.clients, drained, strict=True)
    check_spread([wait for client, known in pairs for wait in client.reader.drains[known:]])


def check_spread(drains: list[int]) -> None:
    """Check that the delays are spread over the whole window, and that no two are equal."""
    assert len(drains) == len(set(drains)) >= CROWD, drains
    window = 1000 * DrainPlan.make(CROWD, DRAIN, others_take_over=True).reconnect_window
    assert all(1000 * PAUSE <= wait <= 1000 * PAUSE + window for wait in drains), drains
    assert max(drains) - min(drains) > 0.8 * window, drains
    quarters = Counter(int((wait - 1000 * PAUSE) * 4 / window) for wait in drains)
    assert len(quarters) == 4 and max(quarters.values()) <= 0.4 * len(drains), drains


@pytest.mark.slow
def test_a_rolling_restart_loses_nothing_and_keeps_users_online(
    make_cluster: Callable[..., Cluster], seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = make_cluster()
    load = Load(cluster, seed)
    announced: dict[str, list[tuple[str, bool]]] = {}

    async def run() -> None:
        await restart_each(load)
        announced.update(presence_in(await asyncio.to_thread(cluster.stored_events)))

    begin = time.monotonic()
    try:
        asyncio.run(run())
    finally:
        with capsys.disabled():
            print(f"\nthree restarts; {load} ({time.monotonic() - begin:.0f} s, seed {seed})")  # noqa: T201
    assert (load.counts.resets, load.counts.gaps, load.counts.unflagged) == (0, 0, 0)
    assert not load.ledger.refused
    # All reconnected in time, so no user was announced offline.
    for rows in announced.values():
        assert all(online for (_, online) in check_presence(rows))
