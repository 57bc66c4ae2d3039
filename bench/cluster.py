"""Measures gateways that share a Redis against one with a file: fan-out, latency, ingest, and several workers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from bench.closed_loop import SubscriberGroup
from bench.event import call_center
from bench.failure import InvalidRun, Unavailable
from bench.gateway import Gateway
from bench.gateway_setup import RAISED_LIMITS
from bench.ingest import BATCH, SEND_MODES, IngestRun
from bench.latency import OpenLoop
from bench.loader import Loader
from bench.peers.gateway_server import GatewayServer
from bench.redis import Redis
from bench.report import Delivery, Figure, Report, Row, print_progress
from bench.request import publish_batch, publish_one
from bench.scale import Scale
from bench.sender import Sender
from bench.store import Store

COST_GOAL = 1.25
"""Maximum of the CPU per delivery at a node with Redis, over that of a single node with a file."""

RATE = 200
"""Events per second while latency is measured: low enough that no event waits for another one."""

WORKERS = (1, 2, 4)
FILE, ONE, OTHER = "one node, a file", "one node, Redis", "two nodes, Redis"


class ClusterNode(GatewayServer):
    """A gateway with a store in Redis.

    Args:
        remote_publisher: whether events are published at another node, so that this one receives them from Redis.
    """

    def __init__(
        self, name: str, folder: Path, loader: Loader, settings: dict[str, Any], *, remote_publisher: bool
    ) -> None:
        super().__init__(folder, loader, None, settings)
        self.name = name
        self._publisher: Gateway | None = None
        if remote_publisher:
            self.sender.close()
            self._publisher = Gateway(folder.with_name(f"{folder.name}-publishing"), {**RAISED_LIMITS, **settings})
            self.sender = Sender(self._publisher.amp_path)

    def close(self) -> None:
        """Close the sender, and stop the gateways."""
        super().close()
        if self._publisher is not None:
            self._publisher.stop()


@dataclass(frozen=True, slots=True)
class _RedisStore:
    """A store in Redis, with the interface of ``Store``."""

    redis: Redis
    name: str = "REDIS"

    def settings(self, folder: Path) -> dict[str, Any]:
        return self.redis.settings("ingest")

    def __str__(self) -> str:
        return "Redis"


def measure(folder: Path, scale: Scale) -> Report:
    """Measure nodes that share a Redis against one with a file, and one to four workers; return the report.

    Figures: rate and CPU of delivery with several windows, latency at a fixed rate, ingest, and delivery per number
    of workers. Without Redis the report has a row with the reason only.

    Raises:
        InvalidRun: an event was lost, repeated or out of order, or a client was disconnected.
    """
    report = Report("cluster", f"gateways that share a Redis, {scale.clients:,} subscribers")
    with ExitStack() as stack:
        try:
            redis = stack.enter_context(closing(Redis(folder / "redis")))
        except Unavailable as reason:
            report.rows.append(Row("Redis", unavailable=str(reason)))
            return report
        loader = stack.enter_context(closing(Loader(folder)))
        _measure_delivery(folder, loader, redis, scale, report)
        _measure_ingest(folder, redis, scale, report)
        for workers in WORKERS:
            _measure_workers(folder, loader, redis, workers, scale, report)
    report.notes += [
        f"{ONE}: events are published where the clients are; {OTHER}: at another node, whose CPU is not counted",
        f"latency: {RATE} events per second, from the sender's write",
        "Redis has appendonly yes and appendfsync everysec",
        "workers: processes of one node that share a port; CPU is that of all together",
    ]
    return report


# Deliveries


def _measure_delivery(folder: Path, loader: Loader, redis: Redis, scale: Scale, report: Report) -> None:
    with ExitStack() as stack:
        plain = GatewayServer(folder / "file", loader, None)
        stack.callback(plain.close)
        plain.name = FILE
        nodes: list[GatewayServer] = [plain]
        for name, remote in ((ONE, False), (OTHER, True)):
            settings = redis.settings(f"fan-out-{remote}")
            nodes.append(ClusterNode(name, folder / f"redis-{remote}", loader, settings, remote_publisher=remote))
            stack.callback(nodes[-1].close)
        subscriber_groups = [SubscriberGroup(node, loader, scale.clients) for node in nodes]
        open_loops = [OpenLoop(subscribers) for subscribers in subscriber_groups]
        for number in range(scale.rounds):
            print_progress(f"cluster, delivery: round {number + 1} of {scale.rounds}")
            for window, count in scale.fan_out.items():
                for subscribers in subscriber_groups:
                    report.add_delivery(subscribers.measure(window, count, scale.fan_out_seconds))
            for open_loop in open_loops:
                delivery = open_loop.run("at a rate", RATE, scale.open_loop_seconds)
                if delivery is None:
                    raise InvalidRun(f"{open_loop.name} has lost events")
                report.add_delivery(delivery)
        _add_delivery_results(subscriber_groups, open_loops, scale, report)


def _add_delivery_results(
    subscriber_groups: Sequence[SubscriberGroup], open_loops: Sequence[OpenLoop], scale: Scale, report: Report
) -> None:
    single, *shared = subscriber_groups
    for window in scale.fan_out:
        for subscribers in subscriber_groups:
            label = f"{subscribers.server.name} | {window} outstanding"
            report.rows.append(subscribers.results_by_window[window].row(label))
        base = single.results_by_window[window].measurement
        for subscribers in shared:
            label = f"{subscribers.server.name} / {FILE} | {window} outstanding"
            measurement = subscribers.results_by_window[window].measurement
            report.ratios.append(measurement.over(base, label, maximum=COST_GOAL))
    base_latencies = open_loops[0].results_by_rate["at a rate"].latencies
    for open_loop in open_loops:
        results = open_loop.results_by_rate["at a rate"]
        row = results.row(f"{open_loop.name} | {RATE} events a second")
        pairs = list(zip(results.latencies, base_latencies, strict=True))
        added = [
            Figure(f"{name} added ms", [1e3 * (getattr(one, name) - getattr(other, name)) for one, other in pairs], 2)
            for name in ("p50", "p99")
        ]
        report.rows.append(Row(row.label, [*row.figures, *added]))


# Ingest


def _measure_ingest(folder: Path, redis: Redis, scale: Scale, report: Report) -> None:
    with ExitStack() as stack:
        # Any: IngestRun takes whatever has the methods of Store.
        stores: Sequence[Any] = (Store.NORMAL, _RedisStore(redis))
        runs = [IngestRun(store, folder / f"cluster-ingest-{store.name.lower()}") for store in stores]
        for run in runs:
            stack.callback(run.close)
        events = call_center()
        for number in range(scale.rounds):
            print_progress(f"cluster, ingest: round {number + 1} of {scale.rounds}")
            for mode in SEND_MODES:
                count = scale.singles if mode.batch == 1 else scale.batches
                batches = [list(islice(events, mode.batch)) for _ in range(count)]
                requests = [publish_one(one[0]) if mode.batch == 1 else publish_batch(one) for one in batches]
                for run in runs:
                    run.run(requests, mode, scale.seconds, redis=redis.pid)
        for run in runs:
            report.rows += [one.row(f"{run.store} | {mode}") for mode, one in run.measurements.items()]
            sent = sum(sum(measurement.counts) for measurement in run.measurements.values())
            report.add_delivery(Delivery(f"answered by {run.store}", sent, sent))
        file, shared = runs
        for mode, measurement in shared.measurements.items():
            label = f"{shared.store} / {file.store} | {mode}"
            report.ratios.append(measurement.over(file.measurements[mode], label))
    report.notes.append(f"ingest: events over AMP, in batches of {BATCH} or by single calls; no client is connected")


# Workers


def _measure_workers(folder: Path, loader: Loader, redis: Redis, workers: int, scale: Scale, report: Report) -> None:
    settings = redis.settings(f"workers-{workers}")
    label = "1 worker" if workers == 1 else f"{workers} workers"
    node = GatewayServer(folder / f"workers-{workers}", loader, None, settings, workers=workers)
    with closing(node):
        node.name = label
        subscribers = SubscriberGroup(node, loader, scale.clients)
        for number in range(scale.rounds):
            print_progress(f"cluster, {label}: round {number + 1} of {scale.rounds}")
            for window, count in scale.fan_out.items():
                report.add_delivery(subscribers.measure(window, count, scale.fan_out_seconds))
        for window, results in subscribers.results_by_window.items():
            report.rows.append(results.row(f"{label} | {window} outstanding"))
        subscribers.close()
