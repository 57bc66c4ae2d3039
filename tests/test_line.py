"""The relay of the browser tests: what it does to the connections that it relays."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from line import Line
from processes import DEADLINE


class EchoServer:
    """Sends back what each connection sends."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._echo, args=(connection,), daemon=True))
            self._threads[-1].start()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    connection.sendall(data)
            except OSError:
                return

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(DEADLINE)


@pytest.fixture
def line() -> Iterator[Line]:
    server = EchoServer()
    made = Line(server.port)
    yield made
    made.close()
    server.close()


def connection_to(line: Line) -> socket.socket:
    return socket.create_connection(("127.0.0.1", line.port), DEADLINE)


def echo(connection: socket.socket, data: bytes) -> bytes:
    sender = threading.Thread(target=connection.sendall, args=(data,))
    sender.start()
    received = b""
    while len(received) < len(data):
        piece = connection.recv(65_536)
        assert piece, "closed"
        received += piece
    sender.join()
    return received


def test_bytes_pass_both_ways_in_order(line: Line) -> None:
    data = bytes(range(256)) * 20_000
    with connection_to(line) as connection:
        assert echo(connection, data) == data


def test_the_end_of_one_direction_is_passed_on(line: Line) -> None:
    with connection_to(line) as connection:
        connection.sendall(b"last")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b"last"
        assert connection.recv(100) == b""


def test_a_cut_resets_connections_and_accepts_new_ones(line: Line) -> None:
    with connection_to(line) as connection:
        assert echo(connection, b"a") == b"a"
        line.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(100)
    with connection_to(line) as connection:
        assert echo(connection, b"b") == b"b"


def test_a_held_line_takes_bytes_and_passes_nothing_on(line: Line) -> None:
    with connection_to(line) as held, connection_to(line) as other:
        assert echo(held, b"a") == b"a"
        line.hold()
        held.sendall(b"lost")
        with connection_to(line) as new:
            new.sendall(b"lost too")
            # More than the buffers of the system: it can be sent only if the relay reads.
            other.sendall(bytes(20_000_000))
            line.mend()
            with pytest.raises(ConnectionResetError):
                new.recv(100)
        with pytest.raises(ConnectionResetError):
            held.recv(100)
    with connection_to(line) as connection:
        assert echo(connection, b"b") == b"b"


def test_a_refusing_line_listens_again_on_its_port(line: Line) -> None:
    with connection_to(line) as connection:
        line.refuse()
        with pytest.raises(ConnectionResetError):
            connection.recv(100)
    with pytest.raises(ConnectionRefusedError):
        connection_to(line)
    line.mend()
    with connection_to(line) as connection:
        assert echo(connection, b"b") == b"b"


def test_a_delayed_line_passes_everything_on(line: Line) -> None:
    line.delay(0.05)
    with connection_to(line) as connection:
        assert echo(connection, b"abc" * 1000) == b"abc" * 1000
