"""An AMP server on in-memory transports, with a real broker behind it and a recording Directory beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from amp_doubles import Gateway
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.protocols import amp

from callcenter_ws.testing import FakeClock


class Transport(StringTransportWithDisconnection):
    """A transport in memory that tells its protocol when it is closed, and may be read by nobody.

    Attributes:
        taken: how many of the bytes written the operating system has taken; None: all.
    """

    disconnected = False
    taken: int | None = None

    @property
    def dataBuffer(self) -> bytes:  # noqa: N802 - Twisted's name
        return b"" if self.taken is None else self.value()[self.taken :]

    def loseConnection(self) -> None:
        if not self.disconnected:
            self.disconnected = True
            super().loseConnection()

    abortConnection = loseConnection  # noqa: N815 - Twisted's name

    def pauseProducing(self) -> None:
        # Pausing twice, or after the end, is harmless on a socket.
        self.producerState = "paused"

    def resumeProducing(self) -> None:
        self.producerState = "producing"


class Peer:
    """One raw connection to the server, from the peer's side."""

    def __init__(self, server: Server, address: Any) -> None:
        self.clock = server.clock
        self.transport = Transport(hostAddress=address, peerAddress=address)
        self.protocol = server.factory.buildProtocol(address)
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)
        self._read = 0
        self._tag = 0

    @property
    def connected(self) -> bool:
        self.clock.turn()
        return not self.transport.disconnected

    @property
    def read_from(self) -> bool:
        """Whether the server reads from this peer."""
        self.clock.turn()
        return self.transport.producerState == "producing"

    def send(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def stop_reading(self) -> None:
        """Take nothing more of what is written from now on."""
        self.transport.taken = len(self.transport.value())
        self.transport.producer.pauseProducing()

    def read_on(self) -> None:
        """Take everything that was written."""
        self.transport.taken = None
        self.transport.producer.resumeProducing()

    def boxes(self) -> list[dict[bytes, bytes]]:
        """The boxes that came since the last call."""
        data = self.transport.value()[self._read :]
        self._read += len(data)
        return amp.parseString(data)

    def box(self, command: type[amp.Command] | bytes, **arguments: Any) -> bytes:
        """The bytes of a question."""
        self._tag += 1
        if isinstance(command, bytes):
            box = amp.AmpBox({key.encode(): value for key, value in arguments.items()})
            name = command
        else:
            box, name = command.makeArguments(arguments, None), command.commandName
        box[b"_command"] = name
        box[b"_ask"] = b"%d" % self._tag
        return box.serialize()

    def ask(self, command: type[amp.Command] | bytes, **arguments: Any) -> dict[str, Any] | tuple[bytes, str]:
        """Call a command; return its response, or the error's code and text."""
        self.send(self.box(command, **arguments))
        (answer,) = self.boxes()
        if b"_error" in answer:
            assert answer[b"_error"] == b"%d" % self._tag
            return answer[b"_error_code"], answer[b"_error_description"].decode()
        assert answer.pop(b"_answer") == b"%d" % self._tag
        return command.parseResponse(answer, None)


class Server(Gateway):
    """A gateway that stands still between the steps of a test."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        super().__init__(self.clock)

    def tcp(self) -> Peer:
        return Peer(self, IPv4Address("TCP", "192.0.2.7", 5000))

    def unix(self) -> Peer:
        return Peer(self, UNIXAddress(b"/run/callcenter-ws.sock"))


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def server_class() -> type[Server]:
    return Server


@pytest.fixture
def warnings_logged() -> Iterator[Callable[[], list[str]]]:
    """What was logged at warning level or above, as a reader of the log sees it."""

    with capturedLogs() as captured:
        yield lambda: [formatEvent(event) for event in captured if event["log_level"] >= LogLevel.warn]
