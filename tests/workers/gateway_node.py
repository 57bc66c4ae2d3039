"""A node of real gateways: ``twistd callcenter-ws --workers N``, on a Redis of its own."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import jwt
from processes import DEADLINE, TWISTD, Process, wait_until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

PLAIN = "tcp:0:interface=127.0.0.1"


class Settings:
    """The settings file of a node, which may be changed while the node runs."""

    def __init__(self, folder: Path, store_url: str) -> None:
        self.folder = folder
        self.file = folder / "callcenter-ws.toml"
        self.secret = secrets.token_hex(32)
        (folder / "secret").write_text(self.secret)
        (folder / "secret").chmod(0o600)
        self._store_url = store_url

    def write(self, listen: str = PLAIN, more_web: str = "", more: str = "") -> None:
        """Write the file; ``more_web`` is added to [web], ``more`` to the end."""
        self.file.write_text(
            f"[web]\nlisten = [{json.dumps(listen)}]\n{more_web}\n"
            f'[amp]\nlisten = ["unix:{self.folder}/amp.sock:mode=660"]\n'
            f'[jwt]\nsecret_file = "secret"\n[cluster]\nnode_id = "pbx1"\n'
            f"[store]\nurl = {json.dumps(self._store_url)}\n{more}"
        )

    def token(self, role: str, **claims: Any) -> str:
        """A valid token."""
        now = int(time.time())
        all_claims = {"sub": f"{role}-1", "tenant_id": "acme", "role": role, "iat": now, "exp": now + 600, **claims}
        return jwt.encode(all_claims, self.secret, "HS256")


class GatewayNode(Process):
    """A supervisor with real workers."""

    def __init__(self, settings: Settings, count: int) -> None:
        self.settings = settings
        config = ["--config", str(settings.file)]
        super().__init__([str(TWISTD), "-n", "--pidfile=", "callcenter-ws", "--workers", str(count), *config])

    def wait_until_served(self, count: int) -> None:
        """Wait until ``count`` more workers serve."""
        for _ in range(count):
            self.expect(r"worker \d+ \(pid \d+\) serves$")

    @property
    def ports(self) -> list[int]:
        """The TCP ports, in the order of the settings."""
        return [
            int(port) for port in re.findall(r"the workers will listen on .*?, \('127.0.0.1', (\d+)\)", self.output)
        ]

    @property
    def worker_pids(self) -> list[int]:
        """The pids of all workers started so far."""
        return [int(pid) for pid in re.findall(r"worker \d+ \(pid (\d+)\) is started", self.output)]

    def get(self, path: str, port: int = 0, **headers: str) -> str:
        """Return the body of an HTTP resource, requested over a new connection."""
        request = urllib.request.Request(f"http://127.0.0.1:{port or self.ports[0]}{path}", headers=headers)
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            text: str = answer.read().decode()
            return text

    def metrics(self, port: int = 0) -> str:
        """Return the metrics of all workers. An answer lacks those of a worker that stands still for a second."""

        def complete() -> str:
            text = self.get("/metrics", port)
            found = dict(re.findall(r"^(callcenter_ws_workers(?:_wanted)?) (\S+)$", text, re.MULTILINE))
            return text if found["callcenter_ws_workers"] == found["callcenter_ws_workers_wanted"] else ""

        text: str = wait_until(complete, "the metrics of all workers")
        return text

    def post(self, path: str, body: bytes, **headers: str) -> None:
        """Send a POST request over a new connection."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[0]}{path}", body, headers)
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            assert answer.status == 200

    def stats(self) -> dict[str, Any]:
        """Return the statistics of one of the workers."""
        token = self.settings.token("admin", tenant_id="*")
        stats: dict[str, Any] = json.loads(self.get("/ws/stats", Authorization=f"Bearer {token}"))
        return stats

    def handshake_status(self, origin: str) -> int:
        """Return the HTTP status of the response to a handshake with that origin."""
        headers = {
            "Authorization": f"Bearer {self.settings.token('agent')}",
            "Origin": origin,
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }
        with closing(http.client.HTTPConnection("127.0.0.1", self.ports[0], timeout=DEADLINE)) as link:
            link.request("GET", "/ws", headers=headers)
            return link.getresponse().status

    def connect(self, **options: Any) -> ClientConnection:
        """Open a WebSocket."""
        headers = {"Authorization": f"Bearer {self.settings.token('agent')}"}
        url = f"ws://127.0.0.1:{self.ports[0]}/ws"
        return connect(url, additional_headers=headers, open_timeout=DEADLINE, legacy=True, **options)


def close_code(client: ClientConnection) -> int | None:
    """Read to the end; return the close code of the gateway, None if it sent none."""
    try:
        while True:
            client.recv(timeout=DEADLINE)
    except ConnectionClosed as closed:
        client.close()
        return closed.rcvd and closed.rcvd.code
