"""``examples/legacy_sync.py`` in a process of its own, on Python 3 and, where it is installed, on Python 2.7."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest_twisted
from amp_doubles import LoopbackGateway
from twisted.internet.utils import getProcessOutputAndValue

EXAMPLE = Path(__file__).parents[2] / "examples" / "legacy_sync.py"
CALL = {"unique_id": "1.1", "caller_id": "+32", "destination": "100", "status": "waiting", "queue_name": "sales"}


async def tell(python: str, tmp_path: Path, *options: str, **lists: Any) -> tuple[list[str], str, int]:
    """Run the example with lists by scope."""
    paths = []
    for scope, entities in lists.items():
        path = tmp_path / f"{scope}.json"
        path.write_text(json.dumps(entities))
        paths.append(str(path))
    arguments = [f"unix:{tmp_path}/amp.sock", "--source", "dialer", "--instance", "one", *options, *paths]
    out, err, code = await getProcessOutputAndValue(python, [str(EXAMPLE), *arguments], env=os.environ)
    return out.decode().splitlines(), err.decode(), code


def events(gateway: LoopbackGateway) -> list[str]:
    return [one.event.type.name for one in gateway.delivered if one.event.type.name != "source.up"]


@pytest_twisted.ensureDeferred
async def test_lists_are_told_and_told_again(python: str, gateway: LoopbackGateway, tmp_path: Path) -> None:
    agents = [
        {"user_id": str(number), "username": "Zoé", "state": "available", "note": "x" * 100} for number in range(1_500)
    ]
    lists: dict[str, Any] = {"agents": agents, "calls": [CALL]}
    assert await tell(python, tmp_path, **lists) == (["agents: 1500 events", "calls: 2 events"], "", 0)
    assert events(gateway) == ["agent.login"] * 1_500 + ["call.incoming", "queue.joined"]
    assert json.loads(gateway.delivered[1].event.payload)["username"] == "Zoé"
    lists = {"agents": agents[1:], "calls": [{**CALL, "status": "answered", "agent_id": "7"}]}
    assert await tell(python, tmp_path, **lists) == (["agents: 1 events", "calls: 2 events"], "", 0)
    assert events(gateway)[1_502:] == ["agent.logout", "queue.left", "call.answered"]
    assert await tell(python, tmp_path, calls=[]) == (["calls: 1 events"], "", 0)
    assert gateway.delivered[-1].event.type.name == "call.ended"


@pytest_twisted.ensureDeferred
async def test_what_is_refused_is_named(python: str, gateway: LoopbackGateway, tmp_path: Path) -> None:
    lines, errors, code = await tell(python, tmp_path, agents=[{"user_id": "7"}])
    assert (lines, errors, code) == ([], "INVALID_EVENT: entities[0].username: required\n", 1)
    _, errors, code = await tell(python, tmp_path, users=[])
    assert errors.startswith("INVALID_EVENT: scope: expected one of agents, calls")
