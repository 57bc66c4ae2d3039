"""Gateways that may be killed, and the seed of what is random."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from restartable import RestartableGateway
from small_disk import SmallDisk


@pytest.fixture
def seed(capsys: pytest.CaptureFixture[str]) -> int:
    """What everything random comes from; shown when the test fails, and given again by ``CALLCENTER_WS_SEED``."""
    number = int(os.environ.get("CALLCENTER_WS_SEED") or random.SystemRandom().randrange(2**32))
    print(f"CALLCENTER_WS_SEED={number}")  # noqa: T201 - pytest shows it with the failure
    return number


@pytest.fixture
def make_gateway(tmp_path: Path) -> Iterator[Callable[..., RestartableGateway]]:
    """Makes gateways, which are not started; at the end none of them runs, and none has logged a bug."""
    made: list[RestartableGateway] = []

    def make(settings: str = "", **options: Any) -> RestartableGateway:
        folder = tmp_path / f"gateway-{len(made)}"
        folder.mkdir()
        made.append(RestartableGateway(folder, settings, **options))
        return made[-1]

    yield make
    for gateway in made:
        if gateway.process is not None:
            gateway.end()
        assert "Traceback" not in gateway.log, gateway.log


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of six megabytes. Name it before ``make_gateway``, which has to be done with it first."""
    disk = SmallDisk(tmp_path / "disk", 6)
    yield disk
    disk.unmount()


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Makes clusters, which are not started; at the end none of their processes runs, and none has logged a bug."""
    made: list[Cluster] = []

    def make(*arguments: Any, **options: Any) -> Cluster:
        folder = tmp_path / f"c{len(made)}"
        folder.mkdir()
        made.append(Cluster(folder, *arguments, **options))
        return made[-1]

    yield make
    for cluster in made:
        cluster.end()
    complaints = [line for cluster in made for line in cluster.complaints()]
    assert not complaints, "\n".join(complaints)
