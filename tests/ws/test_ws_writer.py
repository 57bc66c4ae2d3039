"""Every way of writing makes the same stream: through Twisted, straight to the socket, plain and TLS."""

# The names that Twisted calls.
# ruff: noqa: N802

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from tls_material import certificate_and_key
from twisted.internet.interfaces import IPushProducer
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from callcenter_ws.ws.writer import DIRECT_BYTES, PublicWriter, SocketWriter, TlsWriter, writer_for

_OP_ALLOW_CLIENT_RENEGOTIATION = 1 << 8
"""SSL_CTX_set_options(3). Twisted leaves it out; who embeds the gateway with a context of his own may not."""


class Reactor(Clock):
    """Knows who wants to write, and has a test say when."""

    def __init__(self) -> None:
        super().__init__()
        self.writers: set[Any] = set()
        self.readers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    def addWriter(self, writer: Any) -> None:
        self.writers.add(writer)

    def removeWriter(self, writer: Any) -> None:
        self.writers.discard(writer)

    def turn(self) -> None:
        """One turn: timers, then whoever wants to write or read and can."""
        self.advance(0)
        for act, descriptors in (("doWrite", self.writers), ("doRead", self.readers)):
            for descriptor in list(descriptors):
                why = getattr(descriptor, act)()
                if why is not None:
                    descriptor.connectionLost(Failure(why if isinstance(why, Exception) else CONNECTION_DONE))


@implementer(IPushProducer)
class Application(Protocol):
    """What stands where the gateway's protocol does."""

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


class Line:
    """A connection of the gateway's, down to a real socket, and the peer at its other end.

    Attributes:
        writer: the way that is tested.
    """

    def __init__(self, *, direct: bool) -> None:
        self.reactor = Reactor()
        self.application = Application()
        self._ours, self._theirs = socket.socketpair()
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        self._theirs.setblocking(False)
        self.tcp: Any = Connection(self._ours, self._protocol(), self.reactor)  # type: ignore[arg-type]
        # What is left for a Server to do once it has accepted a socket.
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
        """As the core does: directly while that is possible."""
        send = self.writer.direct()
        if send is None:
            self.write(data)
            return
        try:
            taken = send(data)
        except OSError:
            taken = 0
        if taken != len(data):
            self.write(data[taken:])

    def read(self, most: int = 1 << 20) -> None:
        """The peer takes some bytes."""
        self.got += self._take(most)

    def _take(self, most: int) -> bytes:
        try:
            return self._theirs.recv(most)
        except (BlockingIOError, ConnectionResetError):
            return b""

    def settle(self) -> None:
        """Let everything through."""
        idle = 0
        while idle < 3:
            before = len(self.got)
            self.reactor.turn()
            self.read()
            idle = 0 if len(self.got) > before or self.reactor.writers else idle + 1

    def hang_up(self) -> None:
        """The peer goes, with a reset if it has not read everything."""
        self._theirs.close()

    def close(self) -> None:
        self._theirs.close()
        if not self.tcp.disconnected:
            self.tcp.connectionLost(Failure(CONNECTION_DONE))


class TlsLine(Line):
    """The same over TLS, with a peer that decrypts."""

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
        factory = TLSMemoryBIOFactory(options, False, wrapped, self.reactor)  # type: ignore[arg-type]
        protocol = factory.buildProtocol(None)  # type: ignore[arg-type] - nobody looks at the address
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
        """Carry what the peer has to say, and what it is told, as far as the sockets take it."""
        with suppress(SSL.WantReadError, BlockingIOError):
            self._theirs.send(self.peer.bio_read(65_536))
        self.reactor.turn()
        records = super()._take(65_536)
        if records:
            self.peer.bio_write(records)

    def _take(self, most: int) -> bytes:
        records = super()._take(most)
        if records:
            self.peer.bio_write(records)
        parts = []
        try:
            while True:
                parts.append(self.peer.recv(65_536))
        except (SSL.WantReadError, SSL.ZeroReturnError, SSL.SysCallError):
            return b"".join(parts)


class OldTlsLine(TlsLine):
    """TLS 1.2, in which a handshake may begin anew amid the data."""

    version = TLSVersion.TLSv1_2


LINES = [Line, TlsLine, OldTlsLine]
WAYS = [(line, direct) for line in LINES for direct in (False, True)]


@contextmanager
def opened(line_class: type[Line], direct: bool) -> Iterator[Line]:
    line = line_class(direct=direct)
    try:
        yield line
    finally:
        line.close()


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0].__name__}-{'direct' if way[1] else 'public'}")
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    with opened(*request.param) as line:
        yield line


def test_each_line_is_written_to_in_the_way_that_it_allows() -> None:
    for line_class, kind in ((Line, SocketWriter), (TlsLine, TlsWriter)):
        with opened(line_class, True) as line:
            assert isinstance(line.writer, kind)


def test_an_unknown_transport_is_written_to_by_its_public_name() -> None:
    transport = StringTransport()
    writer_for(transport).write(b"abc")
    assert transport.value() == b"abc"


@pytest.mark.parametrize("name", ["_tempDataLen", "dataBuffer"])
def test_a_transport_that_has_lost_what_is_looked_at_is_written_to_by_its_public_name(name: str) -> None:
    with opened(Line, False) as line:

        class Renamed(type(line.tcp)):  # type: ignore[misc] - the class of this Twisted
            def __getattribute__(self, wanted: str) -> Any:
                if wanted == name:
                    raise AttributeError(wanted)
                return super().__getattribute__(wanted)

        line.tcp.__class__ = Renamed
        assert isinstance(writer_for(line.tcp), PublicWriter)
        line.tcp.__class__ = Connection


def test_what_fits_is_in_the_socket_at_once() -> None:
    for line_class in LINES:
        with opened(line_class, True) as line:
            line.write(b"x" * 300)
            assert not line.reactor.writers
            line.read()
            assert line.got == b"x" * 300


@pytest.mark.parametrize("size", [1, 300, 16_384, 16_385, 70_000, DIRECT_BYTES, DIRECT_BYTES + 1, 3_000_000])
def test_a_piece_of_any_size_arrives(line: Line, size: int) -> None:
    pieces = [os.urandom(size) for _ in range(3)]
    for piece in pieces:
        line.write(piece)
    line.settle()
    assert line.got == b"".join(pieces)


def test_it_is_paused_when_much_waits_and_resumed_when_that_is_gone(line: Line) -> None:
    while not line.application.paused:
        line.write(b"x" * 50_000)
    line.settle()
    assert line.application.resumed


def test_what_others_write_keeps_its_place_behind_what_waits(line: Line) -> None:
    line.write(b"a" * 500_000)
    line.transport.write(b"b" * 10)
    line.write(b"c" * 10)
    line.settle()
    assert line.got == b"a" * 500_000 + b"b" * 10 + b"c" * 10


def test_what_was_written_before_the_end_arrives_before_it(line: Line) -> None:
    line.write(b"a" * 300_000)
    line.transport.unregisterProducer()
    line.transport.loseConnection()
    line.settle()
    assert line.got == b"a" * 300_000


def test_nothing_comes_behind_the_end(line: Line) -> None:
    line.transport.unregisterProducer()
    line.transport.loseConnection()
    line.write(b"late" if isinstance(line, TlsLine) else b"")
    line.settle()
    assert line.got == b""


def test_a_peer_that_is_gone_is_lost_and_nothing_raises(line: Line) -> None:
    line.write(b"x" * 100_000)
    line.hang_up()
    for _ in range(5):
        line.write(b"x" * 1_000)
        line.reactor.turn()
    assert line.application.lost is not None
    line.write(b"to nobody")


def test_after_an_abort_nothing_is_written_and_nothing_raises(line: Line) -> None:
    line.transport.abortConnection()
    line.write(b"x" * 1_000)
    line.reactor.turn()
    line.write(b"x" * 1_000)
    assert line.application.lost is not None


@pytest.mark.parametrize("direct", [False, True])
def test_a_handshake_that_begins_anew_holds_the_data_back_and_loses_none(direct: bool) -> None:
    with opened(OldTlsLine, direct) as line:
        assert isinstance(line, TlsLine)
        line.write(b"before ")
        assert line.peer.renegotiate()
        with suppress(SSL.WantReadError):
            line.peer.do_handshake()
        # From here on the peer reads on, as it must: data may come amid the handshake.
        for _ in range(10):
            line.write(b"meanwhile ")
            line.exchange()
            line.read()
        assert not line.peer.renegotiate_pending()
        assert line.peer.total_renegotiations() == 1
        line.settle()
        assert line.got == b"before " + b"meanwhile " * 10


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
@given(line_class=st.sampled_from(LINES), play=st.lists(steps, max_size=30))
def test_the_stream_is_the_same_whatever_the_socket_takes_and_when(
    line_class: type[Line], play: list[tuple[str, int]]
) -> None:
    with opened(line_class, True) as line:
        expected = b""
        for number, (act, size) in enumerate(play):
            if act in ("write", "send", "public"):
                piece = (b"%d." % number * size)[:size]
                expected += piece
                {"write": line.write, "send": line.send, "public": line.transport.write}[act](piece)
            elif act == "read":
                line.read(size)
            else:
                line.reactor.turn()
            assert expected.startswith(line.got)
        line.settle()
        assert line.got == expected
