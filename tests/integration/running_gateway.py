"""A real gateway: ``twistd -n callcenter-ws`` in a separate process, on ports that the operating system chooses."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from processes import DEADLINE, TWISTD, wait_until
from websockets.sync.client import ClientConnection, connect


@dataclass
class RunningGateway:
    """A gateway process and its addresses."""

    process: subprocess.Popen[str]
    folder: Path
    secret: str
    lines: list[str] = field(default_factory=list)
    ports: dict[str, list[int]] = field(default_factory=dict)
    scheme: str = "http"
    reader: threading.Thread | None = None
    sockets: list[ClientConnection] = field(default_factory=list)

    @property
    def port(self) -> int:
        """The first port of the site."""
        return self.ports["GatewaySite"][0]

    @property
    def amp_path(self) -> Path:
        """The AMP unix socket."""
        return self.folder / "amp.sock"

    @property
    def log(self) -> str:
        """The output of the process so far."""
        return "".join(self.lines)

    def url(self, path: str) -> str:
        """Return the URL of an HTTP path."""
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def token(self, role: str = "agent", **claims: Any) -> str:
        """Return a valid token; a claim of None is left out."""
        now = int(time.time())
        all_claims = {"sub": f"{role}-1", "tenant_id": "acme", "role": role, "iat": now, "exp": now + 600, **claims}
        if role == "visitor":
            all_claims.setdefault("session_id", "chat-1")
        return jwt.encode({key: value for key, value in all_claims.items() if value is not None}, self.secret, "HS256")

    def connect(self, role: str = "agent", path: str | None = None, token: str | None = None, **options: Any) -> Client:
        """Open a WebSocket with a token in the Authorization header, and read the welcome."""
        claims = options.pop("claims", {})
        path = path or ("/ws/public" if role == "visitor" else "/ws")
        headers = {"Authorization": f"Bearer {token or self.token(role, **claims)}", **options.pop("headers", {})}
        client = Client(self.raw_connect(path, additional_headers=headers, **options))
        client.welcome = client.receive()
        assert client.welcome["type"] == "welcome"
        return client

    def open(self, path: str, **options: Any) -> Client:
        """Open a WebSocket with the given options, and read nothing."""
        return Client(self.raw_connect(path, **options))

    def raw_connect(self, path: str, **options: Any) -> ClientConnection:
        """Open a WebSocket with the given options, and read nothing."""
        scheme = "wss" if self.scheme == "https" else "ws"
        # Not as a context manager: a test has many of them open at the same time.
        options.setdefault("legacy", True)
        # Its thread would outlive a test that leaves the connection open.
        options.setdefault("ping_interval", None)
        opened = connect(f"{scheme}://127.0.0.1:{self.port}{path}", open_timeout=DEADLINE, **options)
        self.sockets.append(opened)
        return opened

    def http(
        self,
        path: str,
        *,
        method: str = "GET",
        token: str | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Return status and decoded JSON (or text) of a request."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url(path), data=data, method=method, headers=dict(headers or {}))
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def publish(self, type_: str, payload: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """Publish one event over HTTP and return the response."""
        token = self.token("service", tenant_id="*")
        event = {"tenant_id": "acme", "type": type_, "payload": payload, **fields}
        status, answer = self.http("/ws/events", method="POST", token=token, body=event)
        assert status == 200, answer
        return answer

    def wait_until_delivered(self) -> None:
        """Wait until all earlier events have been stored and delivered, including ``presence.changed``."""
        self.publish("alert", {"title": "t", "message": "m"}, tenant_id="no-clients")

    def abandon_clients(self) -> None:
        """Cut the connections that tests have left open: clients that do not read would delay the end."""
        for opened in self.sockets:
            Client(opened).abandon()

    def stop(self) -> int:
        """Stop the process with SIGTERM and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(DEADLINE)
        if self.reader is not None:
            self.reader.join(DEADLINE)
        return status


class Client:
    """A JSON client, on a WebSocket of the ``websockets`` library."""

    welcome: dict[str, Any]

    def __init__(self, opened: ClientConnection) -> None:
        self.socket = opened

    def abandon(self) -> None:
        """Cut the connection, without a closing handshake."""
        with contextlib.suppress(OSError):
            self.socket.socket.shutdown(socket.SHUT_RDWR)

    def receive(self) -> dict[str, Any]:
        """Return the next message."""
        message = self.socket.recv(timeout=DEADLINE)
        assert isinstance(message, str)
        decoded = json.loads(message)
        assert isinstance(decoded, dict)
        return decoded

    def receive_type(self, type_: str) -> dict[str, Any]:
        """Return the next message of a type; messages before it are dropped."""
        while True:
            message = self.receive()
            if message["type"] == type_:
                return message

    def send(self, type_: str, payload: dict[str, Any] | None = None, **more: Any) -> None:
        """Send a message."""
        self.socket.send(json.dumps({"type": type_, "payload": payload or {}, **more}))

    def request(self, type_: str, payload: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a message with an id and return the response; messages before it are dropped."""
        request_id = secrets.token_hex(4)
        self.send(type_, payload, id=request_id)
        while True:
            message = self.receive()
            if message.get("in_reply_to") == request_id:
                return message

    def received_before_pong(self) -> list[dict[str, Any]]:
        """Send a ping and return the messages received before the pong."""
        request_id = secrets.token_hex(4)
        self.send("ping", id=request_id)
        messages = []
        while True:
            message = self.receive()
            if message.get("in_reply_to") == request_id:
                return messages
            messages.append(message)

    def close_code(self) -> int:
        """Read to the end and return the close code."""
        try:
            while True:
                self.socket.recv(timeout=DEADLINE)
        except TimeoutError:
            raise AssertionError("the socket was not closed") from None
        except Exception:
            assert self.socket.protocol.close_rcvd is not None
            return self.socket.protocol.close_rcvd.code


def run_gateway(
    folder: Path, settings: str = "", *arguments: str, web: str = "tcp:0:interface=127.0.0.1", amp: Sequence[str] = ()
) -> RunningGateway:
    """Start a gateway and wait until it listens; ``amp`` are AMP endpoints in addition to its unix socket."""
    secret = secrets.token_hex(32)
    (folder / "secret").write_text(secret)
    (folder / "secret").chmod(0o600)
    config = folder / "callcenter-ws.toml"
    escaped = web.replace("\\", "\\\\")
    config.write_text(
        f'[web]\nlisten = ["{escaped}"]\nallowed_origins = ["https://app.example"]\n'
        f"[amp]\nlisten = {json.dumps([f'unix:{folder}/amp.sock:mode=660', *amp])}\n"
        '[jwt]\nsecret_file = "secret"\n[cluster]\nnode_id = "test-node"\n' + settings
    )
    command = [str(TWISTD), "-n", "--pidfile=", "callcenter-ws", "--config", str(config), *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, cwd="/", env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    gateway = RunningGateway(process, folder, secret, scheme="https" if web.startswith("ssl:") else "http")
    gateway.reader = threading.Thread(target=_read_log, args=(gateway,), daemon=True)
    gateway.reader.start()
    try:
        wait_until(lambda: "GatewaySite" in gateway.ports or process.poll() is not None, "the site to listen")
        assert process.poll() is None, gateway.log
        wait_until(gateway.amp_path.exists, "the AMP socket")
        wait_until(
            lambda: len(re.findall(r"AmpServerFactory.* starting on", gateway.log)) > len(amp),
            "the other AMP endpoints",
        )
    except BaseException:
        process.kill()
        # Otherwise the end of the tests would report the process once more.
        process.wait()
        raise
    return gateway


def _read_log(gateway: RunningGateway) -> None:
    assert gateway.process.stdout is not None
    with gateway.process.stdout as log:
        for line in log:
            gateway.lines.append(line)
            started = re.search(r"(\w+)(?: \([^)]*\))* starting on (\d+)", line)
            if started:
                gateway.ports.setdefault(started[1], []).append(int(started[2]))
