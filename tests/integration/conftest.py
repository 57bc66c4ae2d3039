"""Fixtures that start real gateways: each is a separate process, on ports that the operating system chooses."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from processes import wait_until
from running_gateway import RunningGateway, run_gateway


@pytest.fixture
def start_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningGateway]]:
    """Starts gateways that end with the test; a traceback in the log of one fails the test."""
    yield from _starter(tmp_path_factory)


@pytest.fixture
def two_nodes(start_gateway: Callable[..., Any], server: Any) -> Callable[..., list[Any]]:
    """Starts two nodes with a common secret; each knows the other."""

    def start(*settings: str) -> list[Any]:
        prefix = f"test-{time.monotonic_ns()}"
        nodes: list[Any] = []
        for number in range(2):
            common = ["--set", f"jwt.secret_file={nodes[0].folder}/secret"] if nodes else []
            for setting in (f"store.url={server.url}", f"store.key_prefix={prefix}", f"cluster.node_id=node-{number}"):
                common += ["--set", setting]
            nodes.append(start_gateway("", *common, *(part for setting in settings for part in ("--set", setting))))
            nodes[-1].secret = nodes[0].secret
        wait_until(lambda: len(server.ask("ZRANGE", f"{prefix}:{{nodes}}:leases", "0", "-1")) == 2, "both leases")
        for node in nodes:
            wait_until(lambda node=node: node.http("/readyz")[0] == 200, "the node is ready")
        return nodes

    return start


@pytest.fixture(scope="module")
def start_shared_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningGateway]]:
    """Like ``start_gateway``, for gateways that all tests of a module share."""
    yield from _starter(tmp_path_factory)


def _starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningGateway]]:
    started: list[RunningGateway] = []

    def start(settings: str = "", *arguments: str, **options: Any) -> RunningGateway:
        gateway = run_gateway(tmp_path_factory.mktemp("gw"), settings, *arguments, **options)
        started.append(gateway)
        return gateway

    yield start
    for gateway in started:
        gateway.abandon_clients()
        gateway.stop()
        assert "Traceback" not in gateway.log, gateway.log


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """One gateway with the default settings for all tests of a module."""
    running = run_gateway(tmp_path_factory.mktemp("gw"))
    yield running
    running.abandon_clients()
    status = running.stop()
    assert "Traceback" not in running.log, running.log
    # Twisted ends the process with the signal that stopped it, which the exit status shows.
    assert status == -signal.SIGTERM, running.log
