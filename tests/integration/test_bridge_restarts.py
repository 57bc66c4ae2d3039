"""A bridge that is killed, and a link that is cut, while many calls go on: what clients see of them."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bridge_world import Bridge, Exchange, source, write_config
from running_gateway import RunningGateway
from test_bridge_service import exchange, history, processes, start_bridge, start_node, wait_for

sys.path.append(str(Path(__file__).parents[1] / "bridge"))

from listed_exchange import messages_of

__all__ = ["exchange", "processes", "start_bridge", "start_node"]

FAULTS = 6
MISSED = 15
"""So many events are sent while the bridge is away."""

SCENARIO = "62-burst"


def texts(scenario: str) -> list[str]:
    """Return the events of a capture as the exchange sends them."""
    found = []
    for message, _ in messages_of(scenario):
        lines = [(name, value) for name in message.headers for value in message.all(name)]
        found.append("\n".join(f"{name}: {value}" for name, value in lines))
    return found


def calls_of(gateway: RunningGateway) -> list[dict[str, Any]]:
    return [event for event in history(gateway) if "call_id" in event["payload"]]


def check(events: list[dict[str, Any]]) -> None:
    ids = Counter(event["id"] for event in events)
    assert len(ids) > 60
    assert max(ids.values()) == 1
    told: dict[str, list[str]] = {}
    for event in events:
        told.setdefault(event["payload"]["call_id"], []).append(event["type"])
    for call_id, types in told.items():
        assert (types[0], types[-1]) == ("call.incoming", "call.ended"), (call_id, types)
        assert types.count("call.incoming") == types.count("call.ended") == 1, (call_id, types)
        assert types.count("queue.joined") == types.count("queue.left"), (call_id, types)
        assert types.count("call.abandoned") <= 1, (call_id, types)


def wait_until_handled(exchange: Exchange, gateway: RunningGateway, user_id: str) -> None:
    """Wait until the bridge has handled, or found in the lists, what the exchange has sent."""
    exchange.add_member(f"PJSIP/{user_id}", name="A Mark")
    wait_for(gateway, f"queue.member.added {user_id}")


@pytest.mark.parametrize("fault", ["the bridge is killed", "the link is cut"])
def test_each_call_is_told_once(
    fault: str,
    tmp_path: Path,
    exchange: Exchange,
    start_node: Callable[[], RunningGateway],
    start_bridge: Callable[..., Bridge],
) -> None:
    gateway = start_node()
    config = write_config(tmp_path, tmp_path / "amp.sock", source(tmp_path, "pbx1", exchange.port))
    bridge = start_bridge(config)
    wait_for(gateway, "source.up pbx1")
    sent = texts(SCENARIO)
    rng = random.Random(fault)
    faults = sorted(rng.sample(range(20, len(sent) - 20), FAULTS))
    ends = iter([*faults[1:], len(sent)])
    for text in sent[: faults[0]]:
        exchange.do("send_text", text)
    for number, first in enumerate(faults):
        if number % 2:
            # Else what was sent last may be lost on the way.
            wait_until_handled(exchange, gateway, f"30{number}")
        if fault == "the link is cut":
            exchange.do("cut")
        else:
            bridge.process.kill()
            bridge.wait()
            bridge = start_bridge(config)
        for place, text in enumerate(sent[first : next(ends)]):
            if place == MISSED:
                wait_until_handled(exchange, gateway, f"40{number}")
            exchange.do("send_text", text)
    wait_until_handled(exchange, gateway, "500")
    check(calls_of(gateway))
