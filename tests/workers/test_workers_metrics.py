"""The metrics of all workers as one exposition."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_twisted
from metrics_world import MetricsWorld
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor

from callcenter_ws.workers.handoff import WorkerHandoff
from callcenter_ws.workers.metrics import NodeMetrics, merged


def exposition(accepted: int, *latencies: float) -> str:
    """Return the exposition of one worker."""
    world = MetricsWorld()
    world.ingest.accepted = accepted
    for latency in latencies:
        world.metrics.observe_latency(latency)
    return world.metrics.render().decode()


def values(text: bytes, name: str) -> dict[str | None, float]:
    """Return the samples of one name, by worker."""
    return {
        sample.labels.get("worker"): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name == name
    }


def test_each_sample_names_its_worker() -> None:
    text = merged({1: exposition(3), 2: exposition(5)}, worker_count=2)
    assert values(text, "callcenter_ws_events_accepted_total") == {"1": 3, "2": 5}
    assert set(values(text, "process_start_time_seconds")) == {"1", "2"}
    unlabelled = [line for line in text.decode().splitlines() if line[0] != "#" and "worker=" not in line]
    assert unlabelled == ["callcenter_ws_workers 2.0", "callcenter_ws_workers_wanted 2.0"]


def test_histograms_are_complete() -> None:
    text = merged({1: exposition(0, 0.3, 0.003), 2: exposition(0, 20)}, worker_count=2)
    assert values(text, "callcenter_ws_publish_to_socket_seconds_count") == {"1": 2, "2": 1}
    assert 'callcenter_ws_publish_to_socket_seconds_bucket{le="0.005",worker="1"} 1.0' in text.decode()
    assert 'callcenter_ws_publish_to_socket_seconds_bucket{le="+Inf",worker="2"} 1.0' in text.decode()


def test_each_family_is_declared_once_and_is_contiguous() -> None:
    text = merged({1: exposition(1), 2: exposition(2), 3: exposition(3)}, worker_count=3).decode()
    for kind in ("# TYPE ", "# HELP "):
        declared = [line.split()[2] for line in text.splitlines() if line.startswith(kind)]
        assert len(declared) == len(set(declared))
    single = exposition(1)
    kinds = {line for line in single.splitlines() if line.startswith("# ")}
    assert kinds <= set(text.splitlines())
    families = [family.name for family in text_string_to_metric_families(text)]
    assert len(families) == len(set(families))


def test_missing_workers_are_counted() -> None:
    text = merged({2: exposition(1)}, worker_count=4)
    assert values(text, "callcenter_ws_workers") == {None: 1}
    assert values(text, "callcenter_ws_workers_wanted") == {None: 4}


def node_metrics(folder: Path, number: int, generation: int, accepted: int) -> NodeMetrics:
    handoff = WorkerHandoff(number, 2, generation, False, str(folder), {})
    return NodeMetrics(reactor, handoff, exposition(accepted).encode)


@contextlib.asynccontextmanager
async def answering(*all_metrics: NodeMetrics) -> AsyncIterator[None]:
    for metrics in all_metrics:
        metrics.open()
    try:
        yield
    finally:
        for metrics in all_metrics:
            await metrics.close()


async def accepted(metrics: NodeMetrics) -> dict[str | None, float]:
    return values(await metrics.text(), "callcenter_ws_events_accepted_total")


@pytest_twisted.ensureDeferred
async def test_each_worker_collects_the_metrics_of_all(tmp_path: Path) -> None:
    one, two = node_metrics(tmp_path, 1, 1, 10), node_metrics(tmp_path, 2, 2, 20)
    async with answering(one, two):
        assert await accepted(one) == await accepted(two) == {"1": 10, "2": 20}
    assert os.listdir(tmp_path) == []


@pytest_twisted.ensureDeferred
async def test_a_worker_that_does_not_answer_in_time_is_left_out(tmp_path: Path) -> None:
    one = node_metrics(tmp_path, 1, 1, 10)
    with socket.socket(socket.AF_UNIX) as hung, socket.socket(socket.AF_UNIX) as dead:
        hung.bind(str(tmp_path / "2-2.sock"))
        hung.listen()
        dead.bind(str(tmp_path / "3-3.sock"))
        async with answering(one):
            text = await one.text()
    assert values(text, "callcenter_ws_events_accepted_total") == {"1": 10}
    assert values(text, "callcenter_ws_workers") == {None: 1}


@pytest_twisted.ensureDeferred
async def test_a_worker_being_replaced_is_used_until_it_drains(tmp_path: Path) -> None:
    old, new, other = (node_metrics(tmp_path, *arguments) for arguments in ((1, 9, 99), (1, 10, 0), (2, 2, 7)))
    async with answering(old, new, other):
        for scraped in (old, new, other):
            assert await accepted(scraped) == {"1": 99, "2": 7}
        await old.close()
        for scraped in (old, new, other):
            assert await accepted(scraped) == {"1": 0, "2": 7}
