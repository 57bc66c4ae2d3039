"""Nodes of tiny workers that end with their test, and a Redis for the workers of gateways."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer
from tiny_node import TinyNode


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[Callable[..., TinyNode]]:
    """Starts nodes of tiny workers; a traceback in the output of one fails the test."""
    started: list[TinyNode] = []

    def start(count: int = 2, *endpoints: str, **options: Any) -> TinyNode:
        node = TinyNode(tmp_path, count, *(endpoints or ("tcp:0:interface=127.0.0.1",)), **options)
        started.append(node)
        return node

    yield start
    for node in started:
        node.stop(signal.SIGTERM)
        assert "Traceback" not in node.output, node.output
