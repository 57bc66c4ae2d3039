"""A real redis-server on a free port, for one test or many."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import hiredis
from processes import free_port

DEADLINE = 30.0


class RedisServer:
    """One server with a folder and a port of its own.

    Args:
        options: further configuration, as ``{"appendonly": "no"}``.
    """

    def __init__(self, folder: Path | None = None, port: int | None = None, **options: str) -> None:
        self._own_folder = folder is None
        self.folder = Path(tempfile.mkdtemp(prefix="redis-")) if folder is None else folder
        self.port = free_port() if port is None else port
        # Each command is written to the file before it is answered, so that a killed server loses nothing. With
        # "everysec" Redis answers first while an fsync is in progress, which takes long on a busy disk.
        self.options = {"appendonly": "yes", "appendfsync": "no", "save": "", **options}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        binary = shutil.which("redis-server")
        assert binary, "redis-server is not installed; tests/run installs it"
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        for name, value in self.options.items():
            command += [f"--{name}", value]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + DEADLINE
        while not self._answers():
            assert time.monotonic() < deadline, (self.folder / "redis.log").read_text()
            assert self.process is None or self.process.poll() is None, (self.folder / "redis.log").read_text()
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            return self.command("PING") in (b"+PONG\r\n",)
        except OSError:
            return False

    def command(self, *words: str) -> bytes:
        """Send one command over a new connection; return the first bytes of the reply."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as peer:
            parts = [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
            peer.sendall(f"*{len(words)}\r\n{''.join(parts)}".encode())
            return peer.recv(65_536)

    def ask(self, *words: str) -> Any:
        """Send one command over a new connection; return its reply, decoded."""
        reader = hiredis.Reader()
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE) as peer:
            peer.sendall(hiredis.pack_command(words))
            while (reply := reader.gets()) is False:
                reader.feed(peer.recv(65_536))
        assert not isinstance(reply, hiredis.ReplyError), reply
        return reply

    def all_keys(self, pattern: str = "*") -> set[str]:
        """Return the names of all keys."""
        found: set[str] = set()
        cursor = "0"
        while True:
            position, names = self.ask("SCAN", cursor, "MATCH", pattern, "COUNT", "1000")
            found.update(name.decode() for name in names)
            cursor = position.decode()
            if cursor == "0":
                return found

    def wait_for_info(self, line: str) -> None:
        """Wait until the answer of ``INFO`` contains this."""
        deadline = time.monotonic() + DEADLINE
        while line.encode() not in self.command("INFO", "everything"):
            assert time.monotonic() < deadline, line
            time.sleep(0.01)

    def send_signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self) -> None:
        self.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Kill the server, and remove its folder."""
        self.kill()
        if self._own_folder and os.path.isdir(self.folder):
            shutil.rmtree(self.folder)
