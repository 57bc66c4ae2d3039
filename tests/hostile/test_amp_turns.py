"""The work of one turn of the reactor on what AMP peers send, whatever they send."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from amp_doubles import SECRET, Gateway
from doubles import SteppingClock
from turn_reactor import TurnReactor
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.protocols import amp

from callcenter_ws.amp.protocol import GatewayAMP
from callcenter_ws.amp.session import MAX_UNAUTHENTICATED_COMMANDS, PeerSession
from callcenter_ws.runtime.turns import UNITS_PER_TURN

READ = 65_536


def box(**fields: bytes) -> bytes:
    return amp.AmpBox({key.encode(): value for key, value in fields.items()}).serialize()


PING = box(_command=b"Ping", _ask=b"1")
HELLO = box(_command=b"Authenticate", _ask=b"0", token=SECRET)


class Transport(StringTransportWithDisconnection):
    """An in-memory transport that may be paused twice, as a socket may."""

    def pauseProducing(self) -> None:
        self.producerState = "paused"

    def resumeProducing(self) -> None:
        self.producerState = "producing"

    abortConnection = StringTransportWithDisconnection.loseConnection  # noqa: N815 - Twisted's name


class Hostile:
    """An AMP server and a reactor whose turns the test runs."""

    def __init__(self) -> None:
        self.clock = SteppingClock()
        self.gateway = Gateway(self.clock)
        self.reactor = TurnReactor()
        self.limits = self.gateway.factory.limits = self.reactor.limits(self.clock)

    def connect(self, address: Any = None) -> Transport:
        address = address or IPv4Address("TCP", "192.0.2.7", 5000)
        transport = Transport(hostAddress=address, peerAddress=address)
        transport.protocol = self.gateway.factory.buildProtocol(address)
        transport.protocol.makeConnection(transport)
        return transport

    def daemon(self) -> Transport:
        transport = self.connect()
        transport.protocol.dataReceived(HELLO)
        transport.clear()
        return transport

    def run(self) -> list[int]:
        """Run turns until nothing waits; return the work of each."""
        done = []
        while not self.limits.turns.is_idle:
            done.append(self.reactor.turn())
            self.clock.turn()
        return done


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Hostile:
    """Return a server whose work is the number of boxes that were dispatched."""
    hostile = Hostile()
    dispatch = PeerSession.ampBoxReceived

    def counted(self: PeerSession, received: amp.AmpBox) -> None:
        hostile.reactor.work += 1
        dispatch(self, received)

    monkeypatch.setattr(PeerSession, "ampBoxReceived", counted)
    return hostile


def test_small_boxes_of_a_daemon_are_dispatched_a_few_per_turn(hostile: Hostile) -> None:
    daemon = hostile.daemon()
    count = READ // len(PING)
    before = hostile.reactor.work
    daemon.protocol.dataReceived(PING * count)
    assert hostile.reactor.work - before <= UNITS_PER_TURN
    assert daemon.producerState == "paused"
    assert max(hostile.run()) <= UNITS_PER_TURN
    assert hostile.reactor.work - before == count
    assert len(amp.parseString(daemon.value())) == count
    assert daemon.producerState == "producing"


def test_many_daemons_do_no_more_in_a_turn_than_one_and_take_turns(hostile: Hostile) -> None:
    daemons = [hostile.daemon() for _ in range(20)]
    hostile.run()
    before = hostile.reactor.work
    for daemon in daemons:
        daemon.protocol.dataReceived(PING * 1_000)
    assert hostile.reactor.work - before <= UNITS_PER_TURN + 1
    for _ in range(20):
        assert hostile.reactor.turn() <= UNITS_PER_TURN
        hostile.clock.turn()
    answers = [len(amp.parseString(daemon.value())) for daemon in daemons]
    assert min(answers) > 0
    assert max(answers) <= min(answers) + 32


def test_peers_that_have_not_authenticated_get_few_boxes_in_all(hostile: Hostile) -> None:
    for _ in range(30):
        hostile.connect().protocol.dataReceived(PING * (READ // len(PING)))
    assert hostile.reactor.work <= UNITS_PER_TURN
    hostile.run()
    assert hostile.reactor.work <= 30 * MAX_UNAUTHENTICATED_COMMANDS


def test_a_daemon_is_answered_while_others_of_its_address_flood(hostile: Hostile) -> None:
    daemon = hostile.daemon()
    for _ in range(30):
        flooding = hostile.connect()
        flooding.protocol.dataReceived(PING * (READ // len(PING)))
    daemon.protocol.dataReceived(PING)
    for _ in range(2):
        hostile.reactor.turn()
    assert len(amp.parseString(daemon.value())) == 1


def test_boxes_of_many_keys_count_for_more(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = 0
    receive = GatewayAMP.proto_key

    def counted(self: GatewayAMP, string: bytes) -> str:
        nonlocal keys
        keys += 1
        return receive(self, string)

    monkeypatch.setattr(GatewayAMP, "proto_key", counted)
    big = box(_command=b"Ping", _ask=b"1", **{f"k{number}": b"" for number in range(60)})
    peers = [hostile.connect(UNIXAddress(b"/run/gateway.sock")) for _ in range(10)]
    for peer in peers:
        peer.protocol.dataReceived(big * (READ // len(big)))
    in_turn = [keys]
    while not hostile.limits.turns.is_idle:
        before = keys
        hostile.reactor.turn()
        hostile.clock.turn()
        in_turn.append(keys - before)
    assert max(in_turn) <= 16 * 63
    assert keys == 10 * (READ // len(big)) * 63


def test_thousands_of_keys_in_a_box_end_the_connection(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = hostile.daemon()
    endless = b"".join(struct.pack(">H", 5) + b"%05d" % number + b"\0\0" for number in range(7_000))
    daemon.protocol.dataReceived(endless)
    hostile.clock.turn()
    assert not daemon.connected
    assert hostile.reactor.work == 1  # the Authenticate before it
