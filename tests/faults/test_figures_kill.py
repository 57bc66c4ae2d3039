"""Processes that derive figures are killed at random under load; every figure equals a fold of the exported stream."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from os import environ
from pathlib import Path

import pytest
from cluster import Cluster, RedisPeer, is_ready
from figure_checks import PERIODS, FigureChecks, Parameters
from figure_load import ORDERLY, TENANTS, FigureLoad, FigureViewer
from restartable import RestartableGateway, until

KILLS = int(environ.get("CALLCENTER_WS_KILLS", "0"))
"""How many faults each run has; 0: a few."""

CHECKED_AFTER = 8
"""After so many faults, the figures are compared, and the run goes on."""

LEASE = 3
SETTINGS = f"""
history_events = 100000
memory_events = 100
timeout = 1.0
[limits]
rate = 100000
burst = 100000
drain_timeout = 1
[statistics]
enabled = true
lease = {LEASE}
[tenants.globex.statistics]
time_zone = "Asia/Kathmandu"
service_level_method = "answered_of_all"
[tenants.globex.statistics.queues.sales]
service_level_seconds = 5
[[tenants.acme.alerts]]
name = "waits"
queues = ["*"]
metric = "calls_waiting"
raise = {{ above = 20, for = 1 }}
clear = {{ at_most = 10, for = 1 }}
"""


class FigureRun:
    """Senders, viewers and faults of one run."""

    def __init__(self, nodes: Sequence[RestartableGateway], seed: int, folder: Path) -> None:
        self.nodes = nodes
        self.rng = random.Random(seed)
        self.load = FigureLoad(nodes, self.rng)
        self.checks = FigureChecks(nodes, folder)
        self.viewers = [FigureViewer(node, tenant) for node in nodes for tenant in TENANTS]
        self.faults: Counter[str] = Counter()
        self._begin = time.monotonic()

    def run(self, faults: Sequence[Callable[[], None]], count: int) -> None:
        """Cause faults in random order, each about equally often, and compare at the end of each part."""
        for viewer in self.viewers:
            viewer.start()
        self.load.start()
        left: list[Callable[[], None]] = []
        for number in range(count):
            left = left or self.rng.sample(faults, len(faults))
            self.load.wait_for_more(self.rng.choice((1, 200, self.rng.randint(1, 1_000))))
            fault = left.pop()
            self.faults[fault.__name__] += 1
            fault()
            if number % CHECKED_AFTER == CHECKED_AFTER - 1 and number < count - 1:
                self._compare(self.rng.sample(PERIODS, 1))
                self.load.resume()
        self._compare(PERIODS if KILLS else PERIODS[2:3])
        self._compare_viewers()

    def _compare(self, periods: Sequence[Parameters]) -> None:
        self.load.hold()
        for node in self.nodes:
            until(lambda node=node: is_ready(node), f"{node.folder.name} is ready")
        self.checks.compare(periods)

    def _compare_viewers(self) -> None:
        """Clients of all nodes have the same figures in the end, and no older figure came after a newer one."""
        here = len(TENANTS)
        for number, viewer in enumerate(self.viewers[here:]):
            other = self.viewers[number % here]
            until(lambda viewer=viewer, other=other: viewer.figures == other.figures, "clients have the same figures")
        for viewer in self.viewers:
            assert not viewer.older, viewer.older
            assert {"queue.stats", "agent.stats", "tenant.stats"} <= viewer.received.keys()

    def end(self) -> None:
        """End all threads that are left."""
        for thread in (*self.viewers, *self.load.senders):
            thread.ends.set()

    def __str__(self) -> str:
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        return (
            f"figures: {faults}; events accepted {self.load.accepted}, resent {self.load.resent}; "
            f"figures compared {self.checks.compared}, "
            f"sent to clients {sum(sum(viewer.received.values()) for viewer in self.viewers)} "
            f"({time.monotonic() - self._begin:.0f} s)"
        )


class NodeFaults:
    """Faults of the nodes of a run.

    Args:
        others_serve: whether other nodes accept events while one is away.
    """

    def __init__(self, run: FigureRun, *, others_serve: bool) -> None:
        self._run = run
        self._others_serve = others_serve
        self._rng = run.rng

    def kill(self) -> None:
        """Kill a node, and start it again."""
        self._restart([self._rng.choice(self._run.nodes)], signal.SIGKILL)

    def kill_twice(self) -> None:
        """Kill a node, and again soon after its start: while it loads, or folds what was published before."""
        node = self._rng.choice(self._run.nodes)
        node.end()
        node.start()
        self._run.load.wait_for_more(1)
        self._restart([node], signal.SIGKILL)

    def terminate(self) -> None:
        """Have a node end in order, and start it again."""
        self._restart([self._rng.choice(self._run.nodes)], signal.SIGTERM)

    def kill_all(self) -> None:
        """Kill all nodes at once, and start them again."""
        self._restart(self._run.nodes, signal.SIGKILL)

    def _restart(self, nodes: Sequence[RestartableGateway], number: int) -> None:
        for node in nodes:
            node.end(number)
        if self._others_serve and len(nodes) < len(self._run.nodes):
            self._run.load.wait_for_more(self._rng.choice((1, 100, 400)))
        for node in nodes:
            node.start()


class ClusterFaults(NodeFaults):
    """Faults of a cluster: also of nodes that are stopped, and of Redis."""

    def __init__(self, run: FigureRun, cluster: Cluster) -> None:
        super().__init__(run, others_serve=True)
        self._cluster = cluster

    def stop(self) -> None:
        """Stop a node until others have taken its claims, and let it go on."""
        node = self._rng.choice(self._run.nodes)
        assert node.process is not None
        node.process.process.send_signal(signal.SIGSTOP)
        after = self._claimed_until()[0] + 1000 * LEASE
        until(lambda: min(self._claimed_until()[1:]) > after, "all claims were made by the others")
        node.process.process.send_signal(signal.SIGCONT)

    def _claimed_until(self) -> list[int]:
        """Return the time in Redis, and until when each tenant is claimed, in milliseconds."""
        with RedisPeer(self._cluster.redis.port) as peer:
            names = [f"callcenter-ws:{{{tenant}}}:figurelease" for tenant in (*TENANTS, ORDERLY)]
            return [int(peer.ask("TIME")[0]) * 1000, *(int(peer.ask("HGET", name, "until") or 0) for name in names)]

    def drop_links(self) -> None:
        """Close all connections to Redis."""
        with RedisPeer(self._cluster.redis.port) as peer:
            for kind in ("normal", "pubsub"):
                peer.ask("CLIENT", "KILL", "TYPE", kind)

    def pause_redis(self) -> None:
        """Have Redis answer nothing: shortly, or for longer than the nodes wait, or than a lease."""
        with RedisPeer(self._cluster.redis.port) as peer:
            peer.ask("CLIENT", "PAUSE", str(self._rng.choice((200, 1500, 1000 * LEASE + 500))), "ALL")

    def restart_redis(self) -> None:
        """Kill Redis, which has written everything to its file, and start it again."""
        self._cluster.redis.kill()
        self._cluster.redis.start()


def errors(log: str) -> list[str]:
    """Return lines of errors, without those that say that Redis was away."""
    lines = [line for line in log.splitlines() if "#error]" in line or "#critical]" in line or "Traceback" in line]
    return [line for line in lines if "the store is not ready" not in line]


@pytest.mark.slow
def test_figures_with_a_file(
    make_gateway: Callable[..., RestartableGateway], seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = make_gateway(SETTINGS)
    gateway.start()
    run = FigureRun([gateway], seed, tmp_path)
    faults = NodeFaults(run, others_serve=False)
    try:
        run.run([faults.kill, faults.kill, faults.kill_twice, faults.terminate], KILLS or 3)
    finally:
        run.end()
        with capsys.disabled():
            print(f"\n{run} (seed {seed})")  # noqa: T201 - the counts are of interest
    assert not errors(gateway.log), errors(gateway.log)


@pytest.mark.slow
def test_figures_with_redis(
    make_cluster: Callable[..., Cluster], seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = make_cluster(SETTINGS, nodes=2)
    cluster.start()
    run = FigureRun(cluster.nodes, seed, tmp_path)
    faults = ClusterFaults(run, cluster)
    of_nodes = [faults.kill, faults.stop, faults.terminate]
    of_redis = [faults.drop_links, faults.pause_redis, faults.restart_redis]
    try:
        run.run([*of_nodes, *of_redis, faults.kill_twice, faults.kill_all] if KILLS else of_nodes, KILLS or 3)
    finally:
        run.end()
        with capsys.disabled():
            print(f"\n{run} (seed {seed})")  # noqa: T201 - the counts are of interest
    found = [line for node in cluster.nodes for line in errors(node.log)]
    assert not found, found
