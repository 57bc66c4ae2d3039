"""Runs a Redis for gateways that share a store."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from bench.failure import InvalidRun, Unavailable
from bench.gateway import DEADLINE

_PAUSE_SECONDS = 0.01


class Redis:
    """A redis-server on a unix socket, with ``appendonly yes`` and ``appendfsync everysec``.

    Raises:
        Unavailable: if redis-server is not installed.
        InvalidRun: if it does not start.
    """

    def __init__(self, folder: Path) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            raise Unavailable("redis-server is not installed; bench/setup installs it")
        folder.mkdir()
        self._path = folder / "redis.sock"
        with (folder / "log").open("w") as log:
            options = ["--port", "0", "--unixsocket", str(self._path), "--appendonly", "yes", "--save", ""]
            self._process = subprocess.Popen(  # noqa: S603 - the system's redis-server
                [binary, *options, "--dir", str(folder)], stdout=log, stderr=subprocess.STDOUT
            )
        self.pid = self._process.pid
        self._await_answer(folder / "log")

    def _await_answer(self, log: Path) -> None:
        end = time.monotonic() + DEADLINE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                self._process.kill()
                raise InvalidRun(f"Redis does not start:\n{log.read_text()}")
            time.sleep(_PAUSE_SECONDS)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as peer:
            try:
                peer.connect(str(self._path))
                peer.sendall(b"PING\r\n")
                return peer.recv(16).startswith(b"+PONG")
            except OSError:
                return False

    def settings(self, prefix: str) -> dict[str, Any]:
        """Return the gateway's settings for this Redis; gateways with the same prefix are nodes of one cluster."""
        return {"store.url": f"unix:{self._path}", "store.key_prefix": prefix}

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(DEADLINE)
