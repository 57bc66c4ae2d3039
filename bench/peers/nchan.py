"""nginx with nchan. Events are published by its WebSocket publisher, many frames in one write."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bench.certificate import Certificate
from bench.failure import InvalidRun
from bench.gateway import DEADLINE
from bench.loader import Loader
from bench.peers.peer import Peer
from bench.peers.server import Transport
from bench.peers.server_process import Process, find_program, free_ports, not_installed

_READ_BYTES = 1 << 20
_MODULES = re.compile(r"--modules-path=(\S+)")
_CONFIG = """\
daemon off;
{user}
load_module "{module}";
worker_processes 1;
worker_rlimit_nofile 20000;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    {temporary}
    nchan_shared_memory_size 128M;
    nchan_message_buffer_length 2000;
    server {{
        listen 127.0.0.1:{port};
        location = /publish {{ nchan_publisher websocket; nchan_channel_id acme; }}
    }}
    server {{
        listen 127.0.0.1:{websocket} {security}
        location = /ws {{
            nchan_subscriber websocket;
            nchan_websocket_ping_interval 54;
            nchan_channel_id acme;
            nchan_subscriber_first_message newest;
        }}
    }}
}}
"""
_HANDSHAKE = (
    b"GET /publish HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class Nchan(Peer):
    """A running nginx: a master process and one worker."""

    name = "nginx nchan"

    def __init__(self, folder: Path, loader: Loader, certificate: Certificate | None) -> None:
        program = find_program("nginx", "nginx with nchan")
        module = _module(program)
        folder.mkdir()
        port, websocket = free_ports(2)
        security = ";"
        if certificate:
            chain, key = certificate
            security = f'ssl; ssl_protocols TLSv1.3; ssl_certificate "{chain}"; ssl_certificate_key "{key}";'
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        config = folder / "nginx.conf"
        text = _CONFIG.format(
            user="user root;" if os.geteuid() == 0 else "",
            module=module,
            temporary=" ".join(f"{kind}_temp_path {kind};" for kind in kinds),
            port=port,
            websocket=websocket,
            security=security,
        )
        config.write_text(text)
        process = Process([program, "-p", str(folder), "-e", "stderr", "-c", str(config)], folder)
        process.await_listening(port, websocket)
        super().__init__(process, loader, Transport.TLS if certificate else Transport.PLAIN, websocket, "/ws")
        # nginx listens before it has started its worker, whose CPU and memory count.
        self.pids = (process.pid, *process.await_children())
        self._publisher = _connect_publisher(port)

    def feed(self, messages: Sequence[bytes]) -> None:
        """Send a frame for each message in one write; the masking key is 0."""
        frames = [struct.pack("!BBHL", 0x81, 0x80 | 126, len(message), 0) + message for message in messages]
        self._publisher.sendall(b"".join(frames))

    def read_answers(self) -> None:
        """Discard the state of the channel, with which nchan answers each message."""
        with suppress(BlockingIOError):
            self._publisher.recv(_READ_BYTES, socket.MSG_DONTWAIT)

    def close(self) -> None:
        """Close the publisher, and end nginx."""
        self._publisher.close()
        super().close()


def _module(program: str) -> Path:
    described = subprocess.run([program, "-V"], capture_output=True, text=True, check=True)  # noqa: S603 - nginx
    found = _MODULES.search(described.stderr)
    module = Path(found[1]) / "ngx_nchan_module.so" if found else Path()
    if not module.is_file():
        raise not_installed("nginx with nchan")
    return module


def _connect_publisher(port: int) -> socket.socket:
    publisher = socket.create_connection(("127.0.0.1", port), DEADLINE)
    publisher.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    publisher.sendall(_HANDSHAKE)
    answer = publisher.recv(_READ_BYTES)
    if not answer.startswith(b"HTTP/1.1 101"):
        raise InvalidRun(f"nchan refuses the publisher's handshake: {answer[:100]!r}")
    publisher.settimeout(None)
    return publisher
