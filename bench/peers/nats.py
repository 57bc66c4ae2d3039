"""``nats-server``, with its WebSocket listener: clients speak its protocol within frames. It is fed by plain TCP."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bench.certificate import Certificate
from bench.gateway import DEADLINE
from bench.loader import Crowd, Loader
from bench.peers.contestant import Transport
from bench.peers.peer import Peer
from bench.peers.process import Process, find_program, free_ports

SUBJECT = "acme"
_READ = 65_536
_CONFIG = """\
listen: "127.0.0.1:{port}"
websocket {{
    listen: "127.0.0.1:{websocket}"
    {security}
}}
"""


class Nats(Peer):
    """A server that runs."""

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

    def await_open(self, crowd: Crowd) -> None:
        """Wait until each one's subscription, which is part of coming in, is in force."""
        crowd.wait("pong", 1)

    def feed(self, messages: Sequence[bytes]) -> None:
        """Many PUB in one write."""
        lines = [b"PUB %b %d\r\n%b\r\n" % (SUBJECT.encode(), len(message), message) for message in messages]
        self._publisher.sendall(b"".join(lines))

    def take(self) -> None:
        """The server asks now and then whether the sender is alive."""
        with suppress(BlockingIOError):
            if b"PING\r\n" in self._publisher.recv(_READ, socket.MSG_DONTWAIT):
                self._publisher.sendall(b"PONG\r\n")

    def close(self) -> None:
        """Hang up, and end it."""
        self._publisher.close()
        super().close()
