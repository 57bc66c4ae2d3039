"""Fixtures: gateways that can be killed, and the seed of random numbers."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from restartable import RestartableGateway
from small_disk import SmallDisk, can_make_immutable


@pytest.fixture
def seed(capsys: pytest.CaptureFixture[str]) -> int:
    """Return the seed of the test, from ``CALLCENTER_WS_SEED`` if it is set; printed when the test fails."""
    number = int(os.environ.get("CALLCENTER_WS_SEED") or random.SystemRandom().randrange(2**32))
    print(f"CALLCENTER_WS_SEED={number}")  # noqa: T201 - pytest shows it with the failure
    return number


@pytest.fixture
def make_gateway(tmp_path: Path) -> Iterator[Callable[..., RestartableGateway]]:
    """Return a function that makes gateways, not started; finally end them and check their logs."""
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
    """Mount a disk of six megabytes. Request it before ``make_gateway``, whose gateways must end first."""
    disk = SmallDisk(tmp_path / "disk", 6)
    yield disk
    disk.unmount()


@pytest.fixture
def immutable_folder(tmp_path: Path) -> Iterator[Path]:
    """Make a folder whose files can be made immutable. Request it before ``make_gateway``, as ``small_disk``."""
    for parent in (tmp_path, Path("/var/tmp"), Path(__file__).parent):
        with tempfile.TemporaryDirectory(dir=parent, prefix=".immutable-") as name:
            if can_make_immutable(Path(name)):
                yield Path(name)
                return
    pytest.skip("files cannot be made immutable here, neither in the temporary folders nor beside the tests")


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Return a function that makes clusters, not started; finally end them and check their logs."""
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
