"""A TLS connection that is lost, or is none, leaves nothing for a garbage collection."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from tls_material import certificate_and_key
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from callcenter_ws.runtime.tls_turns import TurnTLSFactory, TurnTLSTransport
from callcenter_ws.runtime.turns import Turns

CONNECTIONS = 20


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


def left() -> int:
    """Return the number of TLS connections that a garbage collection finds."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return sum(isinstance(each, TurnTLSTransport) for each in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


@pytest.mark.usefixtures("no_garbage_collection")
@pytest.mark.parametrize(
    "first_bytes",
    [
        pytest.param(None, id="nothing"),
        pytest.param(bytes.fromhex("16030100c8010000c40303") + b"\1" * 30, id="half a ClientHello"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no TLS"),
        pytest.param(bytes.fromhex("1603010020010000") + b"x" * 29, id="a wrong ClientHello"),
    ],
)
def test_a_connection_without_a_handshake(first_bytes: bytes | None) -> None:
    clock = Clock()
    turns = Turns(lambda call: clock.callLater(0, call))
    certificate, key = certificate_and_key()
    options = CertificateOptions(privateKey=key, certificate=certificate)  # type: ignore[arg-type]
    factory = TurnTLSFactory(options, Factory.forProtocol(Protocol), turns, clock)  # type: ignore[arg-type]
    gc.freeze()
    for _ in range(CONNECTIONS):
        transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.7", 40_000))
        server: Any = factory.buildProtocol(transport.getPeer())
        server.makeConnection(transport)
        if first_bytes is not None:
            server.dataReceived(first_bytes)
        # A real transport does this first.
        transport.producer = None
        server.connectionLost(Failure(ConnectionDone()))
        clock.advance(1)
    del transport, server
    assert left() == 0
