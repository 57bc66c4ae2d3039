"""A server that sends a script to one client after the other, in pieces of any size."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from typing import Any

DEADLINE = 30.0
ANSWER = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
ACCEPTED = ANSWER + b"\r\n"


def frame(text: bytes, first_byte: int = 0x81) -> bytes:
    if len(text) < 126:
        return struct.pack("!BB", first_byte, len(text)) + text
    if len(text) < 65_536:
        return struct.pack("!BBH", first_byte, 126, len(text)) + text
    return struct.pack("!BBQ", first_byte, 127, len(text)) + text


def event_text(seq: int, size: int = 10, **payload: Any) -> bytes:
    payload = {"seq": 1, "note": "x" * size, **payload}
    envelope = {"type": "call.incoming", "tenant_id": 'a "b', "id": "1", "seq": seq, "payload": payload}
    return json.dumps(envelope, separators=(",", ":")).encode()


def event(seq: int, size: int = 10, **payload: Any) -> bytes:
    return frame(event_text(seq, size, **payload))


def control(type_: str, **payload: Any) -> bytes:
    return frame(json.dumps({"type": type_, "payload": payload}, separators=(",", ":")).encode())


class ScriptedServer:
    """Accepts clients one after the other, sends the script to each in pieces, and records what it receives."""

    def __init__(self, script: bytes, piece: int, *, clients: int = 1, context: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._piece = piece
        self._clients = clients
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.received = b""
        self.resumed: list[bool] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        for _ in range(self._clients):
            client, _ = self._listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context:
                client = self._context.wrap_socket(client, server_side=True, suppress_ragged_eofs=True)
                self.resumed.append(bool(client.session_reused))
            with client:
                self._serve_client(client)

    def _serve_client(self, client: socket.socket) -> None:
        self.received = b""
        while b"\r\n\r\n" not in self.received:
            self.received += client.recv(65_536)
        for start in range(0, len(self._script), self._piece):
            client.sendall(self._script[start : start + self._piece])
        while data := client.recv(65_536):
            self.received += data

    def join(self) -> None:
        self._thread.join(DEADLINE)
        self._listener.close()
        assert not self._thread.is_alive()
