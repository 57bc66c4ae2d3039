"""Connections that begin with the header of the PROXY protocol."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, eventAsText

from callcenter_ws.runtime.client_address import TrustedProxies
from callcenter_ws.runtime.peer_limits import PeerLimits
from callcenter_ws.runtime.proxied_connections import ProxiedFactory
from callcenter_ws.testing import FakeClock

PROXY = IPv4Address("TCP", "192.0.2.10", 50_000)
HEADER = b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 443\r\n"
TIMEOUT = 10.0


class Recorder(Protocol):
    """A client's protocol, which records what it receives."""

    def __init__(self) -> None:
        self.received = b""
        self.peer: Any = None

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.peer = self.transport.getPeer()

    def dataReceived(self, data: bytes) -> None:
        self.received += data


class Recorders(ServerFactory):
    """Builds recorders for addresses, which it records; ``full``: it builds none."""

    def __init__(self) -> None:
        self.addresses: list[Any] = []
        self.full = False

    def buildProtocol(self, addr: Any) -> Recorder | None:
        self.addresses.append(addr)
        return None if self.full else Recorder()


class Transport(StringTransport):
    """A transport to which the protocol of a connection can be switched."""

    protocol: Any = None
    aborting = False

    def abortConnection(self) -> None:  # noqa: N802 - Twisted's name
        self.aborting = True


@dataclass
class ProxiedWorld:
    """A port for the PROXY protocol, without a network."""

    clock: Clock = field(default_factory=Clock)
    clients: Recorders = field(default_factory=Recorders)

    def __post_init__(self) -> None:
        self.limits = PeerLimits.create(FakeClock(), proxies=TrustedProxies(["192.0.2.0/24"]))
        self.factory = ProxiedFactory(self.clients, self.limits, self.clock, TIMEOUT)

    def connect(self, peer: Any = PROXY) -> Transport | None:
        """Connect a peer; return None if the port closes the connection."""
        protocol = self.factory.buildProtocol(peer)
        if protocol is None:
            return None
        transport = Transport(peerAddress=peer, hostAddress=IPv4Address("TCP", "192.0.2.1", 443))
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return transport


@pytest.fixture
def log_events() -> Iterator[list[Any]]:
    """Every event that is logged during the test."""
    with capturedLogs() as events:
        yield events


@pytest.fixture
def world() -> ProxiedWorld:
    return ProxiedWorld()


@pytest.fixture
def connection(world: ProxiedWorld) -> Transport:
    transport = world.connect()
    assert transport is not None
    return transport


def test_the_client_is_the_peer(world: ProxiedWorld, connection: Transport) -> None:
    connection.protocol.dataReceived(HEADER)
    assert connection.protocol.peer == IPv4Address("TCP", "203.0.113.7", 40_000)
    assert world.clients.addresses == [connection.protocol.peer]
    connection.protocol.dataReceived(b"more")
    assert connection.protocol.received == b"more"


def test_an_ipv6_client(world: ProxiedWorld, connection: Transport) -> None:
    connection.protocol.dataReceived(b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n")
    assert world.clients.addresses == [IPv6Address("TCP", "2001:db8::7", 1)]


def test_what_follows_the_header_in_the_same_segment(connection: Transport) -> None:
    connection.protocol.dataReceived(HEADER + b"GET /")
    assert connection.protocol.received == b"GET /"


def test_a_header_byte_by_byte(world: ProxiedWorld, connection: Transport) -> None:
    for byte in HEADER + b"GET":
        connection.protocol.dataReceived(bytes([byte]))
    assert connection.protocol.received == b"GET"
    assert len(world.clients.addresses) == 1


def test_the_proxys_own_connection(world: ProxiedWorld, connection: Transport) -> None:
    connection.protocol.dataReceived(b"PROXY UNKNOWN\r\nGET /")
    assert world.clients.addresses == [PROXY]
    assert connection.protocol.peer == PROXY
    assert connection.protocol.received == b"GET /"


def test_the_header_may_take_some_time(world: ProxiedWorld, connection: Transport) -> None:
    world.clock.advance(TIMEOUT - 0.1)
    connection.protocol.dataReceived(HEADER)
    world.clock.advance(TIMEOUT)
    assert not connection.disconnecting
    assert not world.clock.getDelayedCalls()


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n", HEADER[:5] + b"x", b"PROXY " + b"x" * 200, b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff"],
)
def test_garbage(world: ProxiedWorld, connection: Transport, data: bytes, log_events: list[Any]) -> None:
    protocol = connection.protocol
    protocol.dataReceived(data)
    assert connection.aborting
    (line,) = [eventAsText(event) for event in log_events]
    assert "refused a connection of the proxy 192.0.2.10 to the port 443: " in line
    # What arrives until the connection is closed.
    protocol.dataReceived(HEADER)
    assert not world.clients.addresses
    assert not world.limits.budget.sockets
    assert not world.clock.getDelayedCalls()


@pytest.mark.parametrize("data", [b"", HEADER[:-1], b"\r\n\r\n"])
def test_no_header_in_time(world: ProxiedWorld, connection: Transport, data: bytes, log_events: list[Any]) -> None:
    protocol = connection.protocol
    world.clock.advance(TIMEOUT / 2)
    protocol.dataReceived(data)
    assert not connection.aborting
    world.clock.advance(TIMEOUT / 2)
    assert connection.aborting
    assert "it sent no header in time" in eventAsText(log_events[-1])
    protocol.dataReceived(HEADER)
    assert not world.clients.addresses


@pytest.mark.parametrize(
    "peer", [IPv4Address("TCP", "203.0.113.7", 1), IPv6Address("TCP", "2001:db8::7", 1), UNIXAddress("/run/x.sock")]
)
def test_an_untrusted_peer(world: ProxiedWorld, peer: Any, log_events: list[Any]) -> None:
    assert world.connect(peer) is None
    (line,) = [eventAsText(event) for event in log_events]
    assert "web.trusted_proxies does not list this one" in line


def test_an_ipv4_peer_of_an_ipv6_socket(world: ProxiedWorld) -> None:
    assert world.connect(IPv6Address("TCP", "::ffff:192.0.2.10", 1)) is not None


def test_many_untrusted_peers_are_logged_in_bounds(world: ProxiedWorld, log_events: list[Any]) -> None:
    for _ in range(1_000):
        world.connect(IPv4Address("TCP", "203.0.113.7", 1))
    assert len(log_events) == 20


def test_the_sockets_without_a_header_are_bounded(world: ProxiedWorld) -> None:
    transports = [world.connect() for _ in range(2_001)]
    assert world.limits.budget.sockets == 2_000
    assert transports[0] is not None
    assert transports[0].aborting
    assert transports[1] is not None
    assert not transports[1].aborting


def test_a_connection_that_is_closed_before_its_header(
    world: ProxiedWorld, connection: Transport, log_events: list[Any]
) -> None:
    connection.protocol.dataReceived(HEADER[:9])
    connection.protocol.connectionLost()
    assert not world.limits.budget.sockets
    assert not world.clock.getDelayedCalls()
    assert not log_events


def test_a_full_gateway(world: ProxiedWorld, connection: Transport) -> None:
    world.clients.full = True
    connection.protocol.dataReceived(HEADER)
    assert connection.aborting
