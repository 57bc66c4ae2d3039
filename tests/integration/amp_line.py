"""AMP calls without Twisted (a box is a list of length-prefixed keys and values)."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import BinaryIO


def call(path: Path, command: bytes, **arguments: bytes) -> dict[bytes, bytes]:
    """Call one command over a new connection to a unix socket, and return the box of its answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        return call_over(connection, command, **arguments)


def call_over(connection: socket.socket, command: bytes, **arguments: bytes) -> dict[bytes, bytes]:
    """Call one command over a connection, plain or TLS, and return the box of its answer."""
    box = {b"_ask": b"1", b"_command": command, **{name.encode(): value for name, value in arguments.items()}}
    packed = b"".join(len(text).to_bytes(2, "big") + text for pair in box.items() for text in pair) + b"\0\0"
    connection.sendall(packed)
    with connection.makefile("rb") as stream:
        return dict(iter(lambda: (key := _text(stream), _text(stream) if key else b""), (b"", b"")))


def _text(stream: BinaryIO) -> bytes:
    return stream.read(int.from_bytes(stream.read(2), "big"))
