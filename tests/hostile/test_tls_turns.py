"""The work of one turn of the reactor on TLS handshakes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from tls_material import make_certificate
from turn_reactor import TurnReactor
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.tls import server_contexts
from callcenter_ws.runtime.tls_turns import TurnTLSFactory, TurnTLSTransport
from callcenter_ws.runtime.turns import Turns

MAX_HANDSHAKES_PER_TURN = 6


class Echo(Protocol):
    """Sends back what it receives."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class Client:
    """A TLS client and the server's side of its connection."""

    def __init__(self, factory: TurnTLSFactory) -> None:
        self._tls = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        self._tls.set_connect_state()
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.7", 40_000))
        self.server: Any = factory.buildProtocol(self.transport.getPeer())
        self.server.makeConnection(self.transport)

    def step(self) -> None:
        """Send what the client has to send, after reading what the server has sent."""
        if self.transport.value():
            self._tls.bio_write(self.transport.value())
            self.transport.clear()
        with suppress(SSL.WantReadError):
            self._tls.do_handshake()
        with suppress(SSL.WantReadError):
            self.server.dataReceived(self._tls.bio_read(65_536))

    def send(self, data: bytes) -> None:
        self._tls.send(data)
        self.server.dataReceived(self._tls.bio_read(65_536))

    def read(self) -> bytes:
        self._tls.bio_write(self.transport.value())
        self.transport.clear()
        return self._tls.recv(65_536)


@pytest.fixture
def reactor() -> TurnReactor:
    return TurnReactor()


@pytest.fixture
def factory(tmp_path: Path, reactor: TurnReactor, monkeypatch: pytest.MonkeyPatch) -> TurnTLSFactory:
    """Return a factory; the work of the reactor is the number of handshake steps that OpenSSL computes."""
    certificate, key = make_certificate(tmp_path)
    contexts = server_contexts(EndpointDescription.parse(f"ssl:8443:certKey={certificate}:privateKey={key}"))
    compute = TurnTLSTransport._checkHandshakeStatus

    def counted(self: TurnTLSTransport) -> None:
        reactor.work += 1
        compute(self)

    factory = TurnTLSFactory(contexts, Factory.forProtocol(Echo), Turns(reactor.call_soon))
    factory._clock = Clock()  # Twisted collects small writes until the next turn
    monkeypatch.setattr(TurnTLSTransport, "_checkHandshakeStatus", counted)
    return factory


def run(reactor: TurnReactor, factory: TurnTLSFactory) -> list[int]:
    done = []
    while not factory.turns.is_idle:
        done.append(reactor.turn())
    return done


def test_a_hundred_client_hellos_are_answered_a_few_per_turn(reactor: TurnReactor, factory: TurnTLSFactory) -> None:
    clients = [Client(factory) for _ in range(100)]
    reactor.work = 0
    for client in clients:
        client.step()
    assert reactor.work <= MAX_HANDSHAKES_PER_TURN
    assert max(run(reactor, factory)) <= MAX_HANDSHAKES_PER_TURN
    assert all(client.transport.value() for client in clients)


def test_a_connection_that_waited_works(reactor: TurnReactor, factory: TurnTLSFactory) -> None:
    clients = [Client(factory) for _ in range(20)]
    for _ in range(4):
        for client in clients:
            client.step()
        run(reactor, factory)
    for number, client in enumerate(clients):
        client.send(b"hello %d" % number)
        factory._clock.advance(0)
        assert client.read() == b"hello %d" % number
        assert client.transport.producerState == "producing"


def test_a_lost_connection_gets_no_turn(reactor: TurnReactor, factory: TurnTLSFactory) -> None:
    clients = [Client(factory) for _ in range(20)]
    for client in clients:
        client.step()
    for client in clients:
        client.server.connectionLost(Failure(ConnectionDone()))
    assert factory.turns.is_idle
