"""Gateways that share a Redis, beside one with a file of its own: fan-out, time on the way, ingest, and workers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from bench.closed_loop import Audience
from bench.event import call_center
from bench.failure import Broken, Unavailable
from bench.gateway import Gateway
from bench.ingest import BATCH, WAYS, Target
from bench.latency import Metronome
from bench.loader import Loader
from bench.peers.own import OwnGateway
from bench.question import publish_batch, publish_one
from bench.redis import Redis
from bench.report import Delivery, Figure, Report, Row, progress
from bench.scale import Scale
from bench.sender import Sender
from bench.stage import RAISED
from bench.store import Store

COST_GOAL = 1.25
"""What a delivery may cost at a node of many, over what it costs where there is one."""

RATE = 200
"""Events a second while the time on the way is measured: so few that nobody waits for anybody."""

WORKERS = (1, 2, 4)
FILE, ONE, OTHER = "one node, a file", "one node, Redis", "two nodes, Redis"


class Clustered(OwnGateway):
    """A gateway whose events are published at another node: it hears of them from Redis alone."""

    def __init__(self, name: str, folder: Path, loader: Loader, settings: dict[str, Any], *, apart: bool) -> None:
        super().__init__(folder, loader, None, settings)
        self.name = name
        self._publishing: Gateway | None = None
        if apart:
            self.sender.close()
            self._publishing = Gateway(folder.with_name(f"{folder.name}-publishing"), {**RAISED, **settings})
            self.sender = Sender(self._publishing.amp_path)

    def close(self) -> None:
        """Hang up, and end the gateways."""
        super().close()
        if self._publishing is not None:
            self._publishing.stop()


@dataclass(frozen=True, slots=True)
class _RedisStore:
    """A Redis in the place of ``Store``."""

    redis: Redis
    name: str = "REDIS"

    def settings(self, folder: Path) -> dict[str, Any]:
        return self.redis.settings("ingest")

    def __str__(self) -> str:
        return "Redis"


def measure(folder: Path, scale: Scale) -> Report:
    """Measure it."""
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
        f"time on the way: {RATE} events a second, from the sender's write on",
        "Redis appends to its file, which it has written to the disk every second (appendfsync everysec)",
        "workers: processes of one node that share a port; CPU is of all of them together",
    ]
    return report


# Deliveries


def _measure_delivery(folder: Path, loader: Loader, redis: Redis, scale: Scale, report: Report) -> None:
    with ExitStack() as stack:
        plain = OwnGateway(folder / "file", loader, None)
        stack.callback(plain.close)
        plain.name = FILE
        nodes: list[OwnGateway] = [plain]
        for name, apart in ((ONE, False), (OTHER, True)):
            settings = redis.settings(f"fan-out-{apart}")
            nodes.append(Clustered(name, folder / f"redis-{apart}", loader, settings, apart=apart))
            stack.callback(nodes[-1].close)
        audiences = [Audience(node, loader, scale.clients) for node in nodes]
        metronomes = [Metronome(audience) for audience in audiences]
        for number in range(scale.rounds):
            progress(f"cluster, delivery: round {number + 1} of {scale.rounds}")
            for window, count in scale.fan_out.items():
                for audience in audiences:
                    report.deliver(audience.measure(window, count, scale.fan_out_seconds))
            for metronome in metronomes:
                delivery = metronome.run("at a rate", RATE, scale.open_loop_seconds)
                if delivery is None:
                    raise Broken(f"{metronome.name} has lost something")
                report.deliver(delivery)
        _tell_delivery(audiences, metronomes, scale, report)


def _tell_delivery(
    audiences: Sequence[Audience], metronomes: Sequence[Metronome], scale: Scale, report: Report
) -> None:
    single, *shared = audiences
    for window in scale.fan_out:
        for audience in audiences:
            report.rows.append(audience.tracks[window].row(f"{audience.contestant.name} | {window} outstanding"))
        for audience in shared:
            label = f"{audience.contestant.name} / {FILE} | {window} outstanding"
            course = audience.tracks[window].course
            report.ratios.append(course.over(single.tracks[window].course, label, most=COST_GOAL))
    base = metronomes[0].paces["at a rate"].latencies
    for metronome in metronomes:
        pace = metronome.paces["at a rate"]
        row = pace.row(f"{metronome.name} | {RATE} events a second")
        added = [
            Figure(f"{name} added ms", [1e3 * (getattr(one, name) - getattr(other, name)) for one, other in pairs], 2)
            for name in ("p50", "p99")
            for pairs in [list(zip(pace.latencies, base, strict=True))]
        ]
        report.rows.append(Row(row.label, [*row.figures, *added]))


# Ingest


def _measure_ingest(folder: Path, redis: Redis, scale: Scale, report: Report) -> None:
    with ExitStack() as stack:
        stores: Sequence[Any] = (Store.NORMAL, _RedisStore(redis))
        targets = [Target(store, folder / f"cluster-ingest-{store.name.lower()}") for store in stores]
        for target in targets:
            stack.callback(target.close)
        events = call_center()
        for number in range(scale.rounds):
            progress(f"cluster, ingest: round {number + 1} of {scale.rounds}")
            for way in WAYS:
                count = scale.singles if way.batch == 1 else scale.batches
                batches = [list(islice(events, way.batch)) for _ in range(count)]
                questions = [publish_one(one[0]) if way.batch == 1 else publish_batch(one) for one in batches]
                for target in targets:
                    target.run(questions, way, scale.seconds, redis=redis.pid)
        for target in targets:
            report.rows += [course.row(f"{target.store} | {way}") for way, course in target.courses.items()]
            sent = sum(sum(course.counts) for course in target.courses.values())
            report.deliver(Delivery(f"answered by {target.store}", sent, sent))
        file, shared = targets
        for way, course in shared.courses.items():
            report.ratios.append(course.over(file.courses[way], f"{shared.store} / {file.store} | {way}"))
    report.notes.append(f"ingest: events over AMP, in batches of {BATCH} or by single calls; nobody is connected")


# Workers


def _measure_workers(folder: Path, loader: Loader, redis: Redis, workers: int, scale: Scale, report: Report) -> None:
    settings = redis.settings(f"workers-{workers}")
    label = "1 worker" if workers == 1 else f"{workers} workers"
    node = OwnGateway(folder / f"workers-{workers}", loader, None, settings, workers=workers)
    with closing(node):
        node.name = label
        audience = Audience(node, loader, scale.clients)
        for number in range(scale.rounds):
            progress(f"cluster, {label}: round {number + 1} of {scale.rounds}")
            for window, count in scale.fan_out.items():
                report.deliver(audience.measure(window, count, scale.fan_out_seconds))
        report.rows += [track.row(f"{label} | {window} outstanding") for window, track in audience.tracks.items()]
        audience.close()
