"""The expositions of real gateways: one process with a file and TLS, and a node with workers on a Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bridge_metrics_world import count_everything, exposition, new_bridge
from metrics_world import MetricsWorld
from monitored_gateway import Gateway, gateway_on_redis
from prometheus_client.parser import text_string_to_metric_families
from tls_material import make_certificate

from callcenter_ws.ops.peer_metrics import PeerMetrics
from callcenter_ws.runtime.peer_limits import PeerLimits
from callcenter_ws.testing import FakeClock


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
    with gateway_on_redis(tmp_path_factory.mktemp("workers")) as node:
        yield node.exposition(r'^callcenter_ws_ready\{worker="2"\} 1\.0$')


@pytest.fixture(scope="session")
def of_a_bridge(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The exposition of a bridge, with all families."""
    bridge = new_bridge(tmp_path_factory.mktemp("bridge"))
    count_everything(bridge)
    return exposition(bridge)


@pytest.fixture(scope="session")
def families(single: str, with_workers: str, of_a_bridge: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels of each family, by the name of its samples; of a histogram, without its suffixes."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for text in (single, with_workers, of_a_bridge, _with_all_labels()):
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
