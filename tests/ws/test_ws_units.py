"""Messages that take more work than others count as more units of a turn."""

from __future__ import annotations

import pytest
from ws_world import WebSocketWorld, text


@pytest.mark.parametrize(
    ("message", "units"),
    [
        (text("ping"), 2),
        (text("auth", {"token": "agent:acme:u1"}), 5),
        (text("subscribe", {"events": ["call.*"] * 400}), 8),
        (text("unsubscribe", {"events": ["call.*"] * 400}), 8),
    ],
    ids=["ping", "auth", "subscribe", "unsubscribe"],
)
def test_units_of_a_message(world: WebSocketWorld, message: bytes, units: int) -> None:
    peer = world.client()
    turns = world.peer_limits.turns
    before = turns.left
    peer.transport.protocol.dataReceived(message)
    assert before - turns.left >= units


def test_units_of_the_first_message(world: WebSocketWorld) -> None:
    peer = world.unauthenticated()
    turns = world.peer_limits.turns
    before = turns.left
    peer.transport.protocol.dataReceived(text("auth", {"token": "agent:acme:u1"}))
    assert before - turns.left >= 5
