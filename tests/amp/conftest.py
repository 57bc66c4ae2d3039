"""An AMP server on in-memory transports, with a real broker and a RecordingDirectory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from amp_doubles import Gateway
from doubles import SteppingClock
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.protocols import amp


class Transport(StringTransportWithDisconnection):
    """An in-memory transport that reports its end to the protocol, and whose peer may stop reading.

    Attributes:
        sent_bytes: how many of the written bytes the operating system has accepted; None: all.
    """

    disconnected = False
    sent_bytes: int | None = None

    @property
    def dataBuffer(self) -> bytes:  # noqa: N802 - Twisted's name
        return b"" if self.sent_bytes is None else self.value()[self.sent_bytes :]

    def loseConnection(self) -> None:
        if not self.disconnected:
            self.disconnected = True
            super().loseConnection()

    abortConnection = loseConnection  # noqa: N815 - Twisted's name

    def pauseProducing(self) -> None:
        # As on a socket, pausing twice or after the end of the connection has no effect.
        self.producerState = "paused"

    def resumeProducing(self) -> None:
        self.producerState = "producing"


class Peer:
    """The client's side of one raw connection to the server."""

    def __init__(self, server: Server, address: Any) -> None:
        self.clock = server.clock
        self.turns = server.factory.limits.turns
        self.transport = Transport(hostAddress=address, peerAddress=address)
        self.protocol = server.factory.buildProtocol(address)
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)
        self._parsed_bytes = 0
        self._tag = 0

    @property
    def connected(self) -> bool:
        self.clock.turn()
        return not self.transport.disconnected

    @property
    def server_reads(self) -> bool:
        """Whether the server reads from this peer."""
        self.clock.turn()
        return self.transport.producerState == "producing"

    def send(self, data: bytes) -> None:
        self.protocol.dataReceived(data)
        while not self.turns.is_idle or "batch" in self.protocol._pause_reasons:
            self.clock.turn()

    def stop_reading(self) -> None:
        """Read nothing of what is written from now on."""
        self.transport.sent_bytes = len(self.transport.value())
        self.transport.producer.pauseProducing()

    def read_all(self) -> None:
        """Read everything that was written."""
        self.transport.sent_bytes = None
        self.transport.producer.resumeProducing()

    def boxes(self) -> list[dict[bytes, bytes]]:
        """Return the boxes received since the last call."""
        data = self.transport.value()[self._parsed_bytes :]
        self._parsed_bytes += len(data)
        return amp.parseString(data)

    def box(self, command: type[amp.Command] | bytes, **arguments: Any) -> bytes:
        """Return the bytes of a command."""
        self._tag += 1
        if isinstance(command, bytes):
            box = amp.AmpBox({key.encode(): value for key, value in arguments.items()})
            name = command
        else:
            box, name = command.makeArguments(arguments, None), command.commandName
        box[b"_command"] = name
        box[b"_ask"] = b"%d" % self._tag
        return box.serialize()

    def call(self, command: type[amp.Command] | bytes, **arguments: Any) -> dict[str, Any] | tuple[bytes, str]:
        """Call a command; return its response, or the error's code and text."""
        self.send(self.box(command, **arguments))
        (answer,) = self.boxes()
        if b"_error" in answer:
            assert answer[b"_error"] == b"%d" % self._tag
            return answer[b"_error_code"], answer[b"_error_description"].decode()
        assert answer.pop(b"_answer") == b"%d" % self._tag
        return command.parseResponse(answer, None)


class Server(Gateway):
    """A gateway on a SteppingClock."""

    def __init__(self) -> None:
        self.clock = SteppingClock()
        super().__init__(self.clock)

    def tcp(self) -> Peer:
        return Peer(self, IPv4Address("TCP", "192.0.2.7", 5000))

    def unix(self) -> Peer:
        return Peer(self, UNIXAddress(b"/run/callcenter-ws.sock"))


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    if server.world is not None:
        # Raises what background tasks of the Hub raised.
        server.world.turn()


@pytest.fixture
def server_class() -> type[Server]:
    return Server


@pytest.fixture
def logged_warnings() -> Iterator[Callable[[], list[str]]]:
    """Return the lines logged so far at level warning or above."""

    with capturedLogs() as captured:
        yield lambda: [formatEvent(event) for event in captured if event["log_level"] >= LogLevel.warn]
