"""The work on large messages: how many are handled in one turn of the reactor, and what of them is decoded."""

from __future__ import annotations

import json

import pytest
from test_websocket_turns import Hostile
from turn_reactor import TurnReactor
from ws_world import TEXT, WebSocketWorld, encode

from callcenter_ws.requests.dispatcher import Dispatcher
from callcenter_ws.requests.request import read_request
from callcenter_ws.runtime.turns import UNITS_PER_TURN
from callcenter_ws.ws.protocol import BYTES_PER_UNIT

UNREAD = {f"{number:x}": 1 for number in range(55_000)}
HALF_A_MEGABYTE = encode(TEXT, json.dumps({"type": "ping", "payload": UNREAD}, separators=(",", ":")).encode())


class LargeMessages(Hostile):
    """Clients that may send large messages at any rate."""

    def __init__(self, clients: int) -> None:
        super().__init__(0)
        unlimited = dict.fromkeys(("byte_rate", "user_byte_rate", "tenant_byte_rate"), 2**40)
        self.world = WebSocketWorld(connections_per_user=0, **unlimited)
        self.peers = [self.world.client() for _ in range(clients)]
        self.reactor = TurnReactor()
        self.limits = self.reactor.limits(self.world.clock)
        self.world.factory.context.peer_limits = self.world.site.limits = self.limits


def test_few_large_messages_are_handled_in_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = LargeMessages(20)
    receive = Dispatcher.receive

    def counted(self: Dispatcher, payload: bytes) -> None:
        hostile.reactor.work += len(payload) // BYTES_PER_UNIT
        receive(self, payload)

    monkeypatch.setattr(Dispatcher, "receive", counted)
    cost = len(HALF_A_MEGABYTE) // BYTES_PER_UNIT
    assert cost > UNITS_PER_TURN
    for peer in hostile.peers:
        hostile.send(peer, HALF_A_MEGABYTE)
    # One message uses up the turn, and what it used too much is missing in the next one.
    assert hostile.reactor.work <= cost
    assert max(hostile.reactor.turns_until_idle(hostile.limits)) <= cost
    hostile.world.clock.turn()
    assert [peer.messages()[-1]["type"] for peer in hostile.peers] == ["pong"] * 20


def test_only_declared_fields_are_decoded() -> None:
    """A number that cannot be decoded is not noticed where nobody reads it."""
    for text in (
        b'{"type":"ping","payload":{"x":1e999,"y":[1e999]},"z":{"a":1e999}}',
        b'{"type":"ping","payload":{"x":%b}}' % (b"9" * 100_000),
        b'{"type":"ping","payload":{"x":[%b]}}' % b",".join([b"1e300"] * 80_000),
    ):
        request = read_request(text)
        assert request.checked_type() == "ping"
        assert request.checked_id() is None
