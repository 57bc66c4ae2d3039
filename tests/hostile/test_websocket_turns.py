"""The work of one turn of the reactor on what WebSocket clients send, whatever they send."""

from __future__ import annotations

from typing import Any

import pytest
from turn_reactor import TurnReactor
from ws_world import PING, TEXT, Peer, WebSocketWorld, encode, request, text

from callcenter_ws.errors import CloseCode
from callcenter_ws.ws.protocol import STEPS_PER_TURN, GatewayProtocol

READ = 65_536

FLOODS = {
    "pings": encode(PING),
    "empty texts": encode(TEXT, b"{}"),
    "requests": text("ping"),
    "fragments": encode(TEXT, b"a", fin=False) + encode(0, b"a", fin=False) * 60 + encode(0, b"a"),
}


class Hostile:
    """A gateway whose clients are connected before the test runs the turns of its reactor."""

    def __init__(self, clients: int) -> None:
        self.world = WebSocketWorld(connections_per_user=0, rate=1_000_000, burst=1_000_000, bad_messages=1_000_000)
        self.peers = [self.world.client() for _ in range(clients)]
        self.reactor = TurnReactor()
        self.limits = self.reactor.limits(self.world.clock)
        self.world.factory.context.peer_limits = self.world.site.limits = self.limits

    def send(self, peer: Peer, data: bytes) -> None:
        peer.transport.protocol.dataReceived(data)


@pytest.fixture
def count_steps(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that counts the steps of Autobahn's parser as work."""
    step = GatewayProtocol.processData

    def count(hostile: Hostile) -> None:
        def counted(self: GatewayProtocol) -> bool:
            hostile.reactor.work += 1
            return step(self)

        monkeypatch.setattr(GatewayProtocol, "processData", counted)

    return count


@pytest.mark.parametrize("kind", FLOODS)
@pytest.mark.parametrize("clients", [1, 20])
def test_small_frames_are_parsed_a_few_per_turn(kind: str, clients: int, count_steps: Any) -> None:
    hostile = Hostile(clients)
    count_steps(hostile)
    flood = FLOODS[kind]
    for peer in hostile.peers:
        hostile.send(peer, flood * (READ // len(flood)))
    assert hostile.reactor.work <= 64
    assert all(peer.transport.producerState == "paused" for peer in hostile.peers)
    assert max(hostile.reactor.turns_until_idle(hostile.limits)) <= 64
    assert hostile.reactor.work > 64


def test_a_client_is_answered_while_others_flood() -> None:
    hostile = Hostile(21)
    *flooding, client = hostile.peers
    for peer in flooding:
        hostile.send(peer, FLOODS["empty texts"] * 8_000)
    hostile.reactor.turn()
    client.take()
    hostile.send(client, text("ping", id="p"))
    turns = 0
    while not client.transport.value():
        hostile.reactor.turn()
        hostile.world.clock.turn()
        turns += 1
        assert turns <= 1 + 20 * STEPS_PER_TURN // 48
    assert client.messages()[0]["in_reply_to"] == "p"


def test_with_the_defaults_a_flood_is_cut_off_after_few_frames(count_steps: Any) -> None:
    hostile = Hostile(0)
    hostile.world = WebSocketWorld()
    hostile.peers = [hostile.world.client()]
    hostile.limits = hostile.reactor.limits(hostile.world.clock)
    hostile.world.factory.context.peer_limits = hostile.limits
    count_steps(hostile)
    (peer,) = hostile.peers
    hostile.send(peer, FLOODS["pings"] * 10_000)
    list(hostile.reactor.turns_until_idle(hostile.limits))
    assert hostile.reactor.work < 300
    assert peer.take()[-1].close_code == CloseCode.RATE_LIMITED


def test_frames_behind_a_handshake_wait_for_turns_too(count_steps: Any) -> None:
    hostile = Hostile(0)
    count_steps(hostile)
    peer = hostile.world.peer()
    handshake = request(Authorization="Bearer agent:acme:u1")
    hostile.send(peer, handshake + FLOODS["pings"] * 9_000)
    assert hostile.reactor.work <= 64
    assert max(hostile.reactor.turns_until_idle(hostile.limits)) <= 64


def test_a_lost_client_gets_no_turn() -> None:
    hostile = Hostile(1)
    (peer,) = hostile.peers
    hostile.send(peer, FLOODS["pings"] * 9_000)
    assert not hostile.limits.turns.is_idle
    peer.disconnect()
    assert hostile.limits.turns.is_idle
