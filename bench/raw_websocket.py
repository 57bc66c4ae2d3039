"""A WebSocket client on a blocking socket, for attacks and probes: it sends what it is told to, valid or not."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from bench.failure import InvalidRun
from bench.gateway import DEADLINE

_READ_BYTES = 65_536
_MASK = b"\0\0\0\0"
"""A masking key that changes nothing (RFC 6455 section 5.3)."""

TEXT, PING, PONG = 0x1, 0x9, 0xA


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return a complete masked frame (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 65_536:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    return head + _MASK + payload


def handshake(path: str, token: str | None, origin: str | None = None) -> bytes:
    """Return the bytes of a handshake request."""
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: localhost",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    lines += [f"Authorization: Bearer {token}"] if token else []
    lines += [f"Origin: {origin}"] if origin else []
    return "\r\n".join([*lines, "", ""]).encode()


class RawWebSocket:
    """One connection.

    Args:
        path: with the query.
        receive_buffer: the size of the socket's receive buffer in bytes, for clients that shall not read.

    Raises:
        InvalidRun: if the handshake is refused.
        OSError: if there is no connection.
    """

    def __init__(
        self,
        port: int,
        path: str,
        token: str | None = None,
        *,
        origin: str | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(DEADLINE)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(handshake(path, token, origin))
        self._received = b""
        while b"\r\n\r\n" not in self._received:
            self._read()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        status = head.partition(b"\r\n")[0]
        if b" 101 " not in status:
            raise InvalidRun(f"the handshake was answered {status!r}")

    def _read(self) -> None:
        received = self.socket.recv(_READ_BYTES)
        if not received:
            raise ConnectionResetError("the gateway has closed the connection")
        self._received += received

    def messages(self) -> Iterator[bytes]:
        """Yield the payloads of the frames that arrive.

        Raises:
            OSError: if the connection ends, or nothing arrives for ``DEADLINE`` seconds.
        """
        while True:
            payload = self._next()
            if payload is None:
                self._read()
            else:
                yield payload

    def _next(self) -> bytes | None:
        data = self._received
        if len(data) < 2:
            return None
        size, start = data[1], 2
        if size == 126:
            if len(data) < 4:
                return None
            (size,), start = struct.unpack_from("!H", data, 2), 4
        elif size == 127:
            if len(data) < 10:
                return None
            (size,), start = struct.unpack_from("!Q", data, 2), 10
        if len(data) < start + size:
            return None
        self._received = data[start + size :]
        return data[start : start + size]

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
