"""The expositions of real gateways: one process with a file and TLS, and a node with workers on a Redis."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from metrics_world import MetricsWorld
from processes import DEADLINE, TWISTD, Process, free_port, wait_until
from prometheus_client.parser import text_string_to_metric_families
from redis_server import RedisServer
from tls_material import make_certificate

from callcenter_ws.ops.peer_metrics import PeerMetrics
from callcenter_ws.runtime.peer_limits import PeerLimits
from callcenter_ws.testing import FakeClock


class Gateway(Process):
    """``twistd callcenter-ws`` with a port for metrics."""

    def __init__(self, folder: Path, settings: str, *arguments: str, listen: str = "tcp:0:interface=127.0.0.1") -> None:
        self.metrics_port = free_port()
        (folder / "secret").write_text("x" * 64)
        (folder / "secret").chmod(0o600)
        (folder / "callcenter-ws.toml").write_text(
            f"[web]\nlisten = [{json.dumps(listen)}]\n"
            f'metrics_listen = "tcp:{self.metrics_port}:interface=127.0.0.1"\n'
            f'[amp]\nlisten = ["unix:{folder}/amp.sock:mode=600"]\n[jwt]\nsecret_file = "secret"\n{settings}'
        )
        config = ["--config", str(folder / "callcenter-ws.toml")]
        super().__init__([str(TWISTD), "-n", "--pidfile=", "callcenter-ws", *config, *arguments])

    def exposition(self, pattern: str) -> str:
        """Return the exposition once it contains ``pattern``."""
        return str(wait_until(lambda: self._matching(pattern), f"{pattern} in the metrics"))

    def _matching(self, pattern: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=DEADLINE) as answer:
                text: str = answer.read().decode()
        except OSError:
            assert self.process.poll() is None, self.output
            return ""
        return text if re.search(pattern, text, re.MULTILINE) else ""


@pytest.fixture(scope="session")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The exposition of one process with a file and TLS, after a refused event."""
    folder = tmp_path_factory.mktemp("single")
    chain, key = make_certificate(folder)
    gateway = Gateway(folder, "", listen=f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={chain}")
    try:
        gateway.expect("callcenter-ws serves")
        yield gateway.exposition("^callcenter_ws_ready 1.0$")
    finally:
        gateway.stop()


@pytest.fixture(scope="session")
def with_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The exposition of a node with two workers on a Redis."""
    folder = tmp_path_factory.mktemp("workers")
    redis = RedisServer()
    redis.start()
    node = None
    try:
        node = Gateway(folder, f'[store]\nurl = "{redis.url}"\n', "--workers", "2")
        node.exposition(r'^callcenter_ws_ready\{worker="1"\} 1\.0$')
        yield node.exposition(r'^callcenter_ws_ready\{worker="2"\} 1\.0$')
    finally:
        if node is not None:
            node.stop()
        redis.stop()


@pytest.fixture(scope="session")
def families(single: str, with_workers: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels of each family, by the name of its samples; of a histogram, without its suffixes."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for text in (single, with_workers, _with_all_labels()):
        for family in text_string_to_metric_families(text):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels} - {"worker", "le"}
            known = found.get(name, ("", frozenset()))[1]
            found[name] = (family.type, known | labels)
    return found


def _with_all_labels() -> str:
    """Return an exposition of the families that have no samples before something happens."""
    world, limits = MetricsWorld(), PeerLimits.create(FakeClock())
    hub = world.hub
    hub.connections_by["agent", "ws"] = 1
    world.metrics.add(PeerMetrics(limits))
    counts = (
        hub.handshakes_refused,
        hub.requests_refused,
        world.amp_refused,
        limits.refused,
        limits.proxies.unreadable,
    )
    for one in counts:
        one["other"] = 1
    return world.metrics.render().decode()
