"""``nats-server`` with its WebSocket listener: clients speak its protocol within frames, the publisher over TCP."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bench.certificate import Certificate
from bench.gateway import DEADLINE
from bench.loader import ClientGroup, Loader
from bench.peers.peer import Peer
from bench.peers.server import Transport
from bench.peers.server_process import Process, find_program, free_ports

SUBJECT = "acme"
_READ_BYTES = 65_536
_CONFIG = """\
listen: "127.0.0.1:{port}"
websocket {{
    listen: "127.0.0.1:{websocket}"
    {security}
}}
"""


class Nats(Peer):
    """A running nats-server."""

    name = "nats-server"

    def __init__(self, folder: Path, loader: Loader, certificate: Certificate | None) -> None:
        program = find_program("nats-server")
        folder.mkdir()
        port, websocket = free_ports(2)
        security = "no_tls: true"
        if certificate:
            security = f'tls {{ cert_file: "{certificate.chain}", key_file: "{certificate.key}" }}'
        config = folder / "nats.conf"
        config.write_text(_CONFIG.format(port=port, websocket=websocket, security=security))
        process = Process([program, "--config", str(config)], folder)
        process.await_listening(port, websocket)
        transport = Transport.TLS if certificate else Transport.PLAIN
        super().__init__(process, loader, transport, websocket, "/", f"nats={SUBJECT}")
        self._publisher = socket.create_connection(("127.0.0.1", port), DEADLINE)
        self._publisher.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._publisher.settimeout(None)
        self._publisher.sendall(b'CONNECT {"verbose":false,"pedantic":false,"lang":"python","version":"1"}\r\n')

    def await_open(self, group: ClientGroup) -> None:
        """Wait until the subscription of each client is in force; the loader subscribes after the handshake."""
        group.wait("pong", 1)

    def feed(self, messages: Sequence[bytes]) -> None:
        """Send a PUB for each message in one write."""
        lines = [b"PUB %b %d\r\n%b\r\n" % (SUBJECT.encode(), len(message), message) for message in messages]
        self._publisher.sendall(b"".join(lines))

    def read_answers(self) -> None:
        """Answer the server's PING."""
        with suppress(BlockingIOError):
            if b"PING\r\n" in self._publisher.recv(_READ_BYTES, socket.MSG_DONTWAIT):
                self._publisher.sendall(b"PONG\r\n")

    def close(self) -> None:
        """Close the publisher, and end the server."""
        self._publisher.close()
        super().close()
