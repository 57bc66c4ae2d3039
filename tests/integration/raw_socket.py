"""A WebSocket client at the level of bytes, which can violate the protocol, over a real socket."""

from __future__ import annotations

import base64
import json
import os
import socket
from typing import Any

DEADLINE = 30.0


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    """Return a frame from a client (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        length = bytes([size])
    elif size < 65_536:
        length = b"\x7e" + size.to_bytes(2, "big")
    else:
        length = b"\x7f" + size.to_bytes(8, "big")
    head = bytes([fin << 7 | rsv << 4 | opcode, length[0] | masked << 7]) + length[1:]
    # A mask of zeros is valid.
    return head + bytes(4 * masked) + payload


def message(type_: str, payload: dict[str, Any] | None = None, **more: Any) -> bytes:
    """Return a message as a text frame."""
    return frame(1, json.dumps({"type": type_, "payload": payload or {}, **more}).encode())


class RawPeer:
    """One connection to a gateway.

    Args:
        receive_buffer: size of the socket's receive buffer in bytes; 0 for the system's default.
        connected: a connected socket, plain or TLS, in place of a new one to ``port``.
    """

    def __init__(self, port: int, *, receive_buffer: int = 0, connected: socket.socket | None = None) -> None:
        self._buffer = b""
        if connected is not None:
            self.socket = connected
            return
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(("127.0.0.1", port))

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *reason: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.socket.sendall(data)

    def handshake(
        self, path: str = "/ws", *, token: str | None = None, method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str]]:
        """Send an opening handshake; return the status and headers of the response."""
        all_headers = {
            "Host": "gateway.example",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            **({} if token is None else {"Authorization": f"Bearer {token}"}),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        self.send(
            "\r\n".join([f"{method} {path} HTTP/1.1", *map(": ".join, all_headers.items()), "", ""]).encode("latin-1")
        )
        return self.read_head()

    def read_head(self) -> tuple[int, dict[str, str]]:
        """Read the head of an HTTP response; return its status and headers."""
        while b"\r\n\r\n" not in self._buffer:
            assert self._receive(), f"closed after {self._buffer!r}"
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        return int(first.split(" ")[1]), {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}

    def read(self, count: int) -> bytes:
        """Read exactly ``count`` bytes."""
        while len(self._buffer) < count:
            assert self._receive(), f"closed after {self._buffer!r}"
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def read_frame(self) -> tuple[int, bytes]:
        """Read a frame; return its opcode and payload."""
        first, size = self.read(2)
        assert first & 0xF0 == 0x80 and size < 128, "expected an unmasked, unfragmented frame without reserved bits"
        extended = {126: 2, 127: 8}.get(size, 0)
        if extended:
            size = int.from_bytes(self.read(extended), "big")
        return first & 15, self.read(size)

    def read_message(self) -> Any:
        """Read a text frame as JSON."""
        opcode, payload = self.read_frame()
        assert opcode == 1, (opcode, payload)
        return json.loads(payload)

    def read_close(self) -> int:
        """Read a close frame and return its code."""
        opcode, payload = self.read_frame()
        assert opcode == 8, (opcode, payload)
        return int.from_bytes(payload[:2], "big")

    def read_end(self) -> bytes:
        """Read until the gateway closes or resets the connection; return the data."""
        try:
            while self._receive():
                pass
        except ConnectionResetError:
            pass
        data, self._buffer = self._buffer, b""
        return data

    def _receive(self) -> bool:
        data = self.socket.recv(65_536)
        self._buffer += data
        return bool(data)
