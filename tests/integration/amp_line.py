"""One AMP call over a unix socket, without Twisted (a box is a list of length-prefixed keys and values)."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import BinaryIO


def call(path: Path, command: bytes, **arguments: bytes) -> dict[bytes, bytes]:
    """Call one command and return the box of its answer."""
    box = {b"_ask": b"1", b"_command": command, **{name.encode(): value for name, value in arguments.items()}}
    packed = b"".join(len(text).to_bytes(2, "big") + text for pair in box.items() for text in pair) + b"\0\0"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        connection.sendall(packed)
        with connection.makefile("rb") as stream:
            return dict(iter(lambda: (key := _text(stream), _text(stream) if key else b""), (b"", b"")))


def _text(stream: BinaryIO) -> bytes:
    return stream.read(int.from_bytes(stream.read(2), "big"))
