"""A gateway process that can be killed and restarted with the same file and the same addresses."""

from __future__ import annotations

import json
import random
import re
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

START_SECONDS = 4 * DEADLINE


def until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Wait until ``condition`` returns a true value and return it; fail after ``deadline`` seconds."""
    end = time.monotonic() + deadline
    timer = threading.Event()
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        timer.wait(0.02)
    raise AssertionError(f"waited {deadline:g} s for: {what}")


def stable_port() -> int:
    """Return a TCP port that stays free while no process listens at it.

    Not one of the ephemeral ports: a client that reconnects to such a port may be given the same port as its own, and
    connect to itself.
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
    """A gateway and its directory.

    Args:
        settings: additional text of the TOML file, beginning within ``[store]``.
        store: the store's file.
        url: the URL of the store, if it is no file.
        secret: the key that signs tokens.
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
        self.port = stable_port()
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
        """The output of all processes so far."""
        return self.output + ("" if self.process is None else self.process.output)

    def launch(self) -> Process:
        """Start the process without waiting for it."""
        assert self.process is None
        self.process = Process([str(TWISTD), "-n", "--pidfile=", "callcenter-ws", "--config", str(self.config)])
        return self.process

    def start(self) -> None:
        """Start the process and wait until it accepts connections; several at once take long on a busy machine."""
        process = self.launch()

        def listens() -> bool:
            if process.process.poll() is not None:
                raise AssertionError(f"the process ended:\n{process.output}")
            return re.search(r"callcenter-ws \S+ listens", process.output) is not None

        until(listens, "the gateway listens", START_SECONDS)

    def fail_to_start(self) -> str:
        """Start the process, which must end with status 1; return its output."""
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
        """Return a valid token; a claim of None is omitted."""
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
        """Publish events over HTTP."""
        return self.http("/ws/events", token=self.token("service", tenant_id="*"), body=body, timeout=timeout)

    def amp(self, command: str, **arguments: str) -> dict[str, str]:
        """Call a command over AMP and return its answer, whose values are text."""
        box = {"_ask": "1", "_command": command, **arguments}
        texts = [text.encode() for pair in box.items() for text in pair]
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(DEADLINE)
            connection.connect(str(self.amp_path))
            connection.sendall(b"".join(len(text).to_bytes(2, "big") + text for text in texts) + b"\0\0")
            with connection.makefile("rb") as answer:
                texts = []
                while size := int.from_bytes(answer.read(2), "big"):
                    texts.append(answer.read(size))
        values = dict(zip(*[(text.decode() for text in texts)] * 2, strict=True))
        assert values.pop("_answer", None) == "1", values
        return values
