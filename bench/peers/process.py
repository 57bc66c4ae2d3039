"""A server in a process of its own, and the ports that it may have."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from bench.failure import Broken, Unavailable
from bench.gateway import DEADLINE

_PAUSE = 0.01
_PORT = re.compile(r"^listening on (\d+)$", re.MULTILINE)


def find_program(name: str, kind: str = "") -> str:
    """Return the path of an installed program.

    Raises:
        Unavailable: it is not there.
    """
    found = shutil.which(name, path=os.environ.get("PATH", os.defpath))
    if found is None:
        raise not_installed(kind or name)
    return found


def not_installed(name: str) -> Unavailable:
    """Why a peer is left out."""
    return Unavailable(f"{name} is not installed; bench/setup installs it")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [one.getsockname()[1] for one in listening]
    for one in listening:
        one.close()
    return ports


class Process:
    """A process whose output goes to a file.

    Attributes:
        pid: of the process; it may have children.
    """

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._log = folder / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a server of ours, or one that is installed
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )
        self.pid = self._process.pid

    def await_port(self) -> int:
        """Return the port that it says it listens on.

        Raises:
            Broken: it does not say so.
        """
        end = time.monotonic() + DEADLINE
        while not (found := _PORT.search(self._log.read_text())):
            self._check(end)
        return int(found[1])

    def await_listening(self, *ports: int) -> None:
        """Wait until it accepts connections on these ports.

        Raises:
            Broken: it does not come to that.
        """
        end = time.monotonic() + DEADLINE
        for port in ports:
            while True:
                with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), DEADLINE):
                    break
                self._check(end)

    def _check(self, end: float) -> None:
        if self._process.poll() is not None or time.monotonic() > end:
            self._process.kill()
            raise Broken(f"{self._process.args!r} does not start:\n{self._log.read_text()[-4_000:]}")
        time.sleep(_PAUSE)

    def await_children(self) -> list[int]:
        """Wait until it has started other processes; return them.

        Raises:
            Broken: it does not come to that.
        """
        end = time.monotonic() + DEADLINE
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        while not (found := children.read_text().split()):
            self._check(end)
        return [int(pid) for pid in found]

    def stop(self) -> None:
        """End it.

        Raises:
            Broken: it had ended before.
        """
        ended_before = self._process.poll() is not None
        self._process.terminate()
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if ended_before:
            raise Broken(f"{self._process.args!r} ended by itself:\n{self._log.read_text()[-4_000:]}")
