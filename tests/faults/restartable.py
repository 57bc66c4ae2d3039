"""A real gateway that can be killed and started again on the same file, at the same addresses."""

from __future__ import annotations

import json
import random
import secrets
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
from processes import DEADLINE, TWISTD, Process


def until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Return what ``condition`` returns once it is true; fail after ``deadline`` seconds."""
    end = time.monotonic() + deadline
    pause = threading.Event()
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        pause.wait(0.02)
    raise AssertionError(f"waited {deadline:g} s in vain for: {what}")


def steady_port() -> int:
    """A TCP port that stays free while nobody listens.

    Not one of those that the system gives to clients: a client that tries to come back to such a port may be given
    that very port, and be connected to itself.
    """
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(low // 2, low), 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


class RestartableGateway:
    """A gateway and the folder that it lives in.

    Args:
        settings: more of the TOML file.
        store: the store's file.
        url: the store, if it is no file.
        secret: what tokens are signed with.
    """

    def __init__(
        self,
        folder: Path,
        settings: str = "",
        store: Path | None = None,
        *,
        url: str | None = None,
        secret: str | None = None,
    ) -> None:
        self.folder = folder
        self.store = store or folder / "events.sqlite"
        self.port = steady_port()
        self.amp_path = folder / "amp.sock"
        self.process: Process | None = None
        self.output = ""
        self._secret = secret or secrets.token_hex(32)
        (folder / "secret").write_text(self._secret)
        (folder / "secret").chmod(0o600)
        self.config = folder / "callcenter-ws.toml"
        self.config.write_text(
            f'[web]\nlisten = ["tcp:{self.port}:interface=127.0.0.1"]\n'
            f'[amp]\nlisten = ["unix:{self.amp_path}"]\n'
            '[jwt]\nsecret_file = "secret"\n'
            f'[store]\nurl = "{url or f"sqlite:{self.store}"}"\n' + settings
        )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> str:
        """All that every process has printed."""
        return self.output + ("" if self.process is None else self.process.output)

    def launch(self) -> Process:
        """Start the process, and wait for nothing."""
        assert self.process is None
        self.process = Process([str(TWISTD), "-n", "--pidfile=", "callcenter-ws", "--config", str(self.config)])
        return self.process

    def start(self) -> None:
        """Start the process and wait until it serves."""
        self.launch().expect(r"callcenter-ws \S+ serves")

    def fail_to_start(self) -> str:
        """Start the process, which has to end with status 1; return what it printed."""
        process = self.launch()
        status = process.wait()
        self._forget()
        assert status == 1, self.output
        return process.output

    def end(self, number: int = signal.SIGKILL) -> int:
        """End the process with a signal and return its exit status."""
        assert self.process is not None
        status = self.process.stop(number)
        self._forget()
        return status

    def _forget(self) -> None:
        assert self.process is not None
        self.output += self.process.output
        self.process = None

    def token(self, role: str, **claims: Any) -> str:
        """A valid token; a claim of None is left out."""
        now = int(time.time())
        all_claims = {"sub": f"{role}-1", "tenant_id": "acme", "role": role, "iat": now, "exp": now + 3600, **claims}
        return jwt.encode({key: value for key, value in all_claims.items() if value is not None}, self._secret, "HS256")

    def http(
        self, path: str, *, token: str | None = None, body: Any = None, timeout: float = DEADLINE
    ) -> tuple[int, Any]:
        """Return status and decoded JSON of a request."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data)
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def publish(self, body: Any, timeout: float = DEADLINE) -> tuple[int, Any]:
        """Hand events in over HTTP."""
        return self.http("/ws/events", token=self.token("service", tenant_id="*"), body=body, timeout=timeout)
