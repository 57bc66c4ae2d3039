"""Runs a peer's process, and finds programs and free ports."""

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

from bench.failure import InvalidRun, Unavailable
from bench.gateway import DEADLINE

_PAUSE_SECONDS = 0.01
_PORT = re.compile(r"^listening on (\d+)$", re.MULTILINE)


def find_program(name: str, kind: str = "") -> str:
    """Return the path of an installed program.

    Raises:
        Unavailable: if it is not installed.
    """
    found = shutil.which(name, path=os.environ.get("PATH", os.defpath))
    if found is None:
        raise not_installed(kind or name)
    return found


def not_installed(name: str) -> Unavailable:
    """Return the error for a peer that cannot be measured because ``name`` is missing."""
    return Unavailable(f"{name} is not installed; bench/setup installs it")


def free_ports(count: int) -> list[int]:
    """Return TCP ports that are free at the moment."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


class Process:
    """A process whose output goes to the file ``log`` in its folder.

    Attributes:
        pid: the process id; the process may have children.
    """

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self._log = folder / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a program of this package, or an installed server
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )
        self.pid = self._process.pid

    def await_port(self) -> int:
        """Wait for the line "listening on PORT" of the process, and return the port.

        Raises:
            InvalidRun: if the process ends, or after ``DEADLINE``.
        """
        end = time.monotonic() + DEADLINE
        while not (found := _PORT.search(self._log.read_text())):
            self._check(end)
        return int(found[1])

    def await_listening(self, *ports: int) -> None:
        """Wait until these ports accept connections.

        Raises:
            InvalidRun: if the process ends, or after ``DEADLINE``.
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
            raise InvalidRun(f"{self._process.args!r} does not start:\n{self._log.read_text()[-4_000:]}")
        time.sleep(_PAUSE_SECONDS)

    def await_children(self) -> list[int]:
        """Wait until the process has started child processes; return their ids.

        Raises:
            InvalidRun: if the process ends, or after ``DEADLINE``.
        """
        end = time.monotonic() + DEADLINE
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        while not (found := children.read_text().split()):
            self._check(end)
        return [int(pid) for pid in found]

    def stop(self) -> None:
        """End the process.

        Raises:
            InvalidRun: if it had ended before.
        """
        ended_before = self._process.poll() is not None
        self._process.terminate()
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if ended_before:
            raise InvalidRun(f"{self._process.args!r} ended before it was stopped:\n{self._log.read_text()[-4_000:]}")
