"""Agents at three nodes issue commands, while sources, nodes, links and Redis die or stand still at random.

Each command has one outcome, none is executed twice or late, and all see one order.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cluster import SETTINGS, Cluster
from command_scenario import COMMAND_SETTINGS, CommandScenario

SECONDS = float(os.environ.get("CALLCENTER_WS_COMMAND_SECONDS", "15"))


@pytest.mark.slow
def test_each_command_has_one_outcome_whatever_dies(
    make_cluster: Callable[..., Cluster], tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = make_cluster(SETTINGS + COMMAND_SETTINGS)
    cluster.start()
    scenario = CommandScenario(cluster.nodes, tmp_path, seed, cluster.redis)
    asyncio.run(scenario.run(SECONDS))
    summary = scenario.check(cluster.stored_events)
    with capsys.disabled():
        print(f"\n{summary} (seed {seed})")  # noqa: T201 - the counts are of interest
