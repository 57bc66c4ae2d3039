"""Restarts with thousands of clients that follow the protocol, and daemons that use ``callcenter_ws.remote``."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from checker import check_presence, presence_in, stored_events
from cluster import Cluster
from crowd import Crowd, clients_from_environment, stated_rates
from processes import RemoteDaemon
from restartable import RestartableGateway

from callcenter_ws.delivery.drain import DrainPlan

CLIENTS = clients_from_environment()
TENANTS = [f"t{number}" for number in range(10)]
DRAIN = 8.0
INTERVAL_SECONDS = 0.2
"""Between two events of a daemon. Each is for one tenant, so that a tenth of the clients receive it."""

LIMITS = f"""
history_events = 100000
timeout = 10
[limits]
drain_timeout = {DRAIN}
presence_grace = 60
connections_per_user = 0
connections_per_ip = 0
unauthenticated_per_network = 2000
"""
"""All clients come from one address."""
QUIET = "[log]\nconnections = false\n"


class Daemons:
    """One daemon at each node, which publishes while it is allowed to."""

    def __init__(self, nodes: Sequence[RestartableGateway]) -> None:
        self._daemons = [RemoteDaemon(f"unix:{node.amp_path}") for node in nodes]
        self._calls: list[tuple[RemoteDaemon, int, str]] = []
        self._tenants = itertools.cycle(TENANTS)
        self._is_stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._publish())

    def _start_call(self, daemon: RemoteDaemon, tenant: str) -> None:
        number = daemon.start_call("send_alert", tenant, "title", f"{len(self._calls)}")
        self._calls.append((daemon, number, tenant))

    async def _publish(self) -> None:
        while not self._is_stopped.is_set():
            for daemon in self._daemons:
                self._start_call(daemon, next(self._tenants))
            await asyncio.sleep(INTERVAL_SECONDS)

    async def stop(self) -> dict[str, list[int]]:
        """Publish a last event for each tenant; return the positions of all events, by tenant."""
        self._is_stopped.set()
        assert self._task is not None
        await self._task
        earlier = await asyncio.to_thread(self._positions)
        for tenant in TENANTS:
            self._start_call(self._daemons[0], tenant)
        last = await asyncio.to_thread(self._positions)
        return {tenant: sorted(earlier[tenant]) + last[tenant] for tenant in TENANTS}

    def _positions(self) -> dict[str, list[int]]:
        """Return the positions of what was published since the last call; nothing may have been refused."""
        found: dict[str, list[int]] = {tenant: [] for tenant in TENANTS}
        for daemon, number, tenant in self._calls:
            answer = daemon.response(number)
            assert "result" in answer, answer
            found[tenant].append(answer["result"]["seq"])
        self._calls = []
        return found

    def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
        for daemon in self._daemons:
            daemon.stop()


async def run(
    nodes: Sequence[RestartableGateway], seed: int, until_ready: Callable[[], object], stored: Callable[[], Any]
) -> str:
    """Restart each node once; return what happened."""
    crowd, daemons = Crowd(nodes, CLIENTS, TENANTS, seed), Daemons(nodes)
    try:
        await crowd.arrive()
        daemons.start()
        for number, node in enumerate(nodes):
            await crowd.until_all_connected()
            began = time.monotonic()
            assert await asyncio.to_thread(node.end, signal.SIGTERM) == -signal.SIGTERM
            stopped = time.monotonic() - began
            await asyncio.to_thread(node.start)
            await asyncio.to_thread(until_ready)
            check_rate(crowd.drains.get(number, []), node.log, len(nodes) > 1)
            print(f"restart {number}: stopped in {stopped:.1f} s, {len(crowd.drains[number])} clients; {crowd}")  # noqa: T201 - shown with the failure
        await crowd.until_all_connected()
        published = await daemons.stop()
        await crowd.until_received({tenant: seqs[-1] for tenant, seqs in published.items()})
        compared = crowd.compare(published)
        check_users(await asyncio.to_thread(stored))
        return f"{CLIENTS} clients, {compared} messages, {crowd}"
    finally:
        await crowd.leave()
        daemons.end()


def check_rate(waits: list[int], log: str, others_take_over: bool) -> None:
    """Check that within no 100 ms more clients are asked to reconnect than the manual and the log state."""
    clients, rate = stated_rates(log)[-1]
    plan = DrainPlan.make(clients, DRAIN, others_take_over=others_take_over)
    assert rate == plan.max_connects()
    assert rate <= 1 + clients * 0.1 / (0.8 * DRAIN)
    # A client that is being closed for another reason is not told.
    assert 0.9 * clients <= len(waits) <= clients
    assert most_within(waits, 100) <= rate


def most_within(moments: Iterable[int], window: int) -> int:
    """Return the largest number of moments within a window of so many milliseconds."""
    ordered, first, most = sorted(moments), 0, 0
    for last, moment in enumerate(ordered):
        while ordered[first] <= moment - window:
            first += 1
        most = max(most, last - first + 1)
    return most


def check_users(events: Any) -> None:
    """Check that the users who are announced at all were never announced offline."""
    announced = presence_in(events)
    assert sum(map(len, announced.values())) >= CLIENTS // 50
    for rows in announced.values():
        assert all(online for _, online in check_presence(rows))


def report(capsys: pytest.CaptureFixture[str], text: str, began: float) -> None:
    with capsys.disabled():
        print(f"\n{text} ({time.monotonic() - began:.0f} s)")  # noqa: T201


@pytest.mark.slow
def test_one_node_is_restarted_under_its_clients(
    make_gateway: Callable[..., RestartableGateway], seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = make_gateway(LIMITS + QUIET)
    began = time.monotonic()
    gateway.start()
    happened = asyncio.run(run([gateway], seed, lambda: None, lambda: stored_events(gateway.store)))
    report(capsys, f"one restart: {happened}", began)


@pytest.mark.slow
def test_a_cluster_is_restarted_node_by_node(
    make_cluster: Callable[..., Cluster], seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = make_cluster(LIMITS + QUIET)
    began = time.monotonic()
    cluster.start()
    happened = asyncio.run(run(cluster.nodes, seed, cluster.until_ready, cluster.stored_events))
    report(capsys, f"three restarts: {happened}", began)
