"""All writers produce the same stream of bytes, over plain sockets and TLS."""

# The names that Twisted calls.

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from fake_reactor import FakeReactor
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from tls_material import certificate_and_key
from twisted.internet.interfaces import IPushProducer
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import BufferingTLSTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from callcenter_ws.runtime.tls_turns import TurnTLSFactory
from callcenter_ws.runtime.turns import Turns
from callcenter_ws.ws.writer import MAX_DIRECT_BYTES, PublicWriter, SocketWriter, TlsWriter, writer_for

_OP_ALLOW_CLIENT_RENEGOTIATION = 1 << 8
"""See SSL_CTX_set_options(3). Twisted does not set it, but an embedding program with a context of its own may."""


@implementer(IPushProducer)
class Application(Protocol):
    """Takes the place of GatewayProtocol."""

    def __init__(self) -> None:
        self.paused = 0
        self.resumed = 0
        self.lost: Failure | None = None
        self.received = b""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.registerProducer(self, True)  # type: ignore[attr-defined] - mypy cannot read zope.interface

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = Failure(CONNECTION_DONE)) -> None:  # noqa: B008 - Twisted's signature
        self.lost = reason

    def pauseProducing(self) -> None:
        self.paused += 1

    def resumeProducing(self) -> None:
        self.resumed += 1

    def stopProducing(self) -> None:
        pass


class WriterConnection:
    """A connection of the gateway with a real socket and a writer, and its peer.

    Attributes:
        writer: the tested writer.
    """

    def __init__(self, *, direct: bool) -> None:
        self.reactor = FakeReactor()
        self.application = Application()
        self._ours, self._theirs = socket.socketpair()
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        self._theirs.setblocking(False)
        self.tcp: Any = Connection(self._ours, self._protocol(), self.reactor)  # type: ignore[arg-type]
        # Server does this for an accepted socket.
        self.tcp.connected = True
        self.tcp.startReading()
        self.tcp.protocol.makeConnection(self.tcp)
        self.transport: Any = self.application.transport or self.tcp
        self._shake_hands()
        self.writer = writer_for(self.transport) if direct else PublicWriter(self.transport)
        self.write = self.writer.write
        self.got = b""

    def _protocol(self) -> Any:
        return self.application

    def _shake_hands(self) -> None:
        pass

    def send(self, data: bytes) -> None:
        """Write as a group does: directly while that is possible."""
        send = self.writer.direct()
        if send is None:
            self.write(data)
            return
        try:
            sent = send(data)
        except OSError:
            sent = 0
        if sent != len(data):
            self.write(data[sent:])

    def read(self, limit: int = 1 << 20) -> None:
        """Read some bytes as the peer."""
        self.got += self._receive(limit)

    def _receive(self, limit: int) -> bytes:
        try:
            return self._theirs.recv(limit)
        except (BlockingIOError, ConnectionResetError):
            return b""

    def settle(self) -> None:
        """Run the reactor and read until all data has arrived."""
        idle = 0
        while idle < 3:
            before = len(self.got)
            self.reactor.turn()
            self.read()
            idle = 0 if len(self.got) > before or self.reactor.writers else idle + 1

    def disconnect(self) -> None:
        """Close the peer's socket: with a reset if it has unread data."""
        self._theirs.close()

    def close(self) -> None:
        self._theirs.close()
        if not self.tcp.disconnected:
            self.tcp.connectionLost(Failure(CONNECTION_DONE))


class TlsWriterConnection(WriterConnection):
    """A WriterConnection over TLS."""

    version: TLSVersion = TLSVersion.TLSv1_3

    def _protocol(self) -> Any:
        certificate, key = certificate_and_key()
        options = CertificateOptions(
            privateKey=key,  # type: ignore[arg-type] - pyOpenSSL takes these now, and warns of its own
            certificate=certificate,  # type: ignore[arg-type]
            lowerMaximumSecurityTo=self.version,
        )
        options.getContext().set_options(_OP_ALLOW_CLIENT_RENEGOTIATION)
        wrapped = Factory.forProtocol(lambda: self.application)  # type: ignore[arg-type] - a factory is asked for
        # As the gateway wraps its connections.
        turns = Turns(lambda call: self.reactor.callLater(0, call))
        factory = TurnTLSFactory(options, wrapped, turns, self.reactor)  # type: ignore[arg-type]
        protocol = factory.buildProtocol(None)  # type: ignore[arg-type] - the address is not used
        assert isinstance(protocol, BufferingTLSTransport)
        return protocol

    def _shake_hands(self) -> None:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.peer = SSL.Connection(context, None)
        self.peer.set_connect_state()
        self._drive_handshake()
        self.transport = self.application.transport

    def _drive_handshake(self) -> None:
        for _ in range(20):
            with suppress(SSL.WantReadError):
                self.peer.do_handshake()
            self.exchange()

    def exchange(self) -> None:
        """Transfer TLS records in both directions, as far as the sockets accept them."""
        with suppress(SSL.WantReadError, BlockingIOError):
            self._theirs.send(self.peer.bio_read(65_536))
        self.reactor.turn()
        records = super()._receive(65_536)
        if records:
            self.peer.bio_write(records)

    def _receive(self, limit: int) -> bytes:
        records = super()._receive(limit)
        if records:
            self.peer.bio_write(records)
        parts = []
        try:
            while True:
                parts.append(self.peer.recv(65_536))
        except (SSL.WantReadError, SSL.ZeroReturnError, SSL.SysCallError):
            return b"".join(parts)


class OldTlsWriterConnection(TlsWriterConnection):
    """A WriterConnection over TLS 1.2, which supports renegotiation."""

    version = TLSVersion.TLSv1_2


CONNECTIONS = [WriterConnection, TlsWriterConnection, OldTlsWriterConnection]
VARIANTS = [(connection, direct) for connection in CONNECTIONS for direct in (False, True)]


@contextmanager
def opened(connection_class: type[WriterConnection], direct: bool) -> Iterator[WriterConnection]:
    connection = connection_class(direct=direct)
    try:
        yield connection
    finally:
        connection.close()


@pytest.fixture(params=VARIANTS, ids=lambda variant: f"{variant[0].__name__}-{'direct' if variant[1] else 'public'}")
def connection(request: pytest.FixtureRequest) -> Iterator[WriterConnection]:
    with opened(*request.param) as connection:
        yield connection


def test_the_writer_matches_the_transport() -> None:
    for connection_class, kind in ((WriterConnection, SocketWriter), (TlsWriterConnection, TlsWriter)):
        with opened(connection_class, True) as connection:
            assert isinstance(connection.writer, kind)


def test_an_unknown_transport_gets_a_public_writer() -> None:
    transport = StringTransport()
    writer_for(transport).write(b"abc")
    assert transport.value() == b"abc"


@pytest.mark.parametrize("name", ["_tempDataLen", "dataBuffer"])
def test_a_transport_without_the_private_attributes_gets_a_public_writer(name: str) -> None:
    with opened(WriterConnection, False) as connection:

        class Renamed(type(connection.tcp)):  # type: ignore[misc] - the class of this Twisted
            def __getattribute__(self, wanted: str) -> Any:
                if wanted == name:
                    raise AttributeError(wanted)
                return super().__getattribute__(wanted)

        connection.tcp.__class__ = Renamed
        assert isinstance(writer_for(connection.tcp), PublicWriter)
        connection.tcp.__class__ = Connection


def test_data_that_fits_is_sent_at_once() -> None:
    for connection_class in CONNECTIONS:
        with opened(connection_class, True) as connection:
            connection.write(b"x" * 300)
            assert not connection.reactor.writers
            connection.read()
            assert connection.got == b"x" * 300


@pytest.mark.parametrize("size", [1, 300, 16_384, 16_385, 70_000, MAX_DIRECT_BYTES, MAX_DIRECT_BYTES + 1, 3_000_000])
def test_a_piece_of_any_size_arrives(connection: WriterConnection, size: int) -> None:
    pieces = [os.urandom(size) for _ in range(3)]
    for piece in pieces:
        connection.write(piece)
    connection.settle()
    assert connection.got == b"".join(pieces)


def test_the_producer_is_paused_and_resumed(connection: WriterConnection) -> None:
    while not connection.application.paused:
        connection.write(b"x" * 50_000)
    connection.settle()
    assert connection.application.resumed


def test_data_written_to_the_transport_keeps_its_order(connection: WriterConnection) -> None:
    connection.write(b"a" * 500_000)
    connection.transport.write(b"b" * 10)
    connection.write(b"c" * 10)
    connection.settle()
    assert connection.got == b"a" * 500_000 + b"b" * 10 + b"c" * 10


def test_data_written_before_the_close_arrives(connection: WriterConnection) -> None:
    connection.write(b"a" * 300_000)
    connection.transport.unregisterProducer()
    connection.transport.loseConnection()
    connection.settle()
    assert connection.got == b"a" * 300_000


def test_nothing_is_sent_after_the_close(connection: WriterConnection) -> None:
    connection.transport.unregisterProducer()
    connection.transport.loseConnection()
    connection.write(b"late" if isinstance(connection, TlsWriterConnection) else b"")
    connection.settle()
    assert connection.got == b""


def test_writing_to_a_disconnected_peer_does_not_raise(connection: WriterConnection) -> None:
    connection.write(b"x" * 100_000)
    connection.disconnect()
    for _ in range(5):
        connection.write(b"x" * 1_000)
        connection.reactor.turn()
    assert connection.application.lost is not None
    connection.write(b"discarded")


def test_writing_after_an_abort_does_nothing(connection: WriterConnection) -> None:
    connection.transport.abortConnection()
    connection.write(b"x" * 1_000)
    connection.reactor.turn()
    connection.write(b"x" * 1_000)
    assert connection.application.lost is not None


@pytest.mark.parametrize("direct", [False, True])
def test_data_written_during_a_renegotiation_is_sent_after_it(direct: bool) -> None:
    with opened(OldTlsWriterConnection, direct) as connection:
        assert isinstance(connection, TlsWriterConnection)
        connection.write(b"before ")
        assert connection.peer.renegotiate()
        with suppress(SSL.WantReadError):
            connection.peer.do_handshake()
        # The peer must read from here on: data may arrive during the handshake.
        for _ in range(10):
            connection.write(b"meanwhile ")
            connection.exchange()
            connection.read()
        assert not connection.peer.renegotiate_pending()
        assert connection.peer.total_renegotiations() == 1
        connection.settle()
        assert connection.got == b"before " + b"meanwhile " * 10


steps = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 3_000)),
    st.tuples(st.just("write"), st.integers(60_000, 140_000)),
    st.tuples(st.just("send"), st.integers(1, 3_000)),
    st.tuples(st.just("send"), st.integers(60_000, 130_000)),
    st.tuples(st.just("public"), st.integers(1, 3_000)),
    st.tuples(st.just("read"), st.integers(1, 60_000)),
    st.tuples(st.just("turn"), st.just(0)),
)


@settings(max_examples=200, deadline=None)
@given(connection_class=st.sampled_from(CONNECTIONS), play=st.lists(steps, max_size=30))
def test_the_stream_is_the_same_for_any_sequence_of_partial_writes(
    connection_class: type[WriterConnection], play: list[tuple[str, int]]
) -> None:
    with opened(connection_class, True) as connection:
        expected = b""
        for number, (act, size) in enumerate(play):
            if act in ("write", "send", "public"):
                piece = (b"%d." % number * size)[:size]
                expected += piece
                {"write": connection.write, "send": connection.send, "public": connection.transport.write}[act](piece)
            elif act == "read":
                connection.read(size)
            else:
                connection.reactor.turn()
            assert expected.startswith(connection.got)
        connection.settle()
        assert connection.got == expected
