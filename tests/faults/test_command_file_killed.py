"""Agents at one node with a file issue commands, while their sources, the node and links die at random."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from checker import stored_events
from command_scenario import COMMAND_SETTINGS, CommandScenario
from restartable import RestartableGateway

SECONDS = float(os.environ.get("CALLCENTER_WS_COMMAND_SECONDS", "8"))
SETTINGS = """
history_events = 1000000
memory_events = 100
[limits]
outbox = 64
rate = 100000
burst = 100000
"""


@pytest.mark.slow
def test_each_command_has_one_outcome_whatever_dies(
    make_gateway: Callable[..., RestartableGateway], tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = make_gateway(SETTINGS + COMMAND_SETTINGS)
    gateway.start()
    scenario = CommandScenario([gateway], tmp_path, seed)
    asyncio.run(scenario.run(SECONDS))
    summary = scenario.check(lambda: stored_events(gateway.store))
    with capsys.disabled():
        print(f"\n{summary} (seed {seed})")  # noqa: T201 - the counts are of interest
