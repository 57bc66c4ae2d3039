"""A node of tiny workers, and clients that connect to it."""

from __future__ import annotations

import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from processes import DEADLINE, Process, wait_until

TINY_SUPERVISOR = Path(__file__).with_name("tiny_supervisor.py")


class TinyNode(Process):
    """A supervisor with its workers; ``before`` is a command prefix that starts the supervisor."""

    def __init__(
        self, folder: Path, count: int, *endpoints: str, stop_timeout: float = 20.0, before: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.settings = folder / "tiny.toml"
        self.set_connections(1)
        command = [
            *before,
            sys.executable,
            str(TINY_SUPERVISOR),
            str(folder),
            str(count),
            str(stop_timeout),
            *endpoints,
        ]
        super().__init__(command, {"TMPDIR": str(folder)})
        self.endpoints = endpoints

    def set_mode(self, mode: str) -> None:
        """Set the behaviour of workers that are started from now on; end the mode ``wait`` of those that run."""
        (self.folder / "mode").write_text(mode)

    def set_connections(self, number: int, more: str = "") -> None:
        """Write the settings."""
        self.settings.write_text(f"[limits]\nconnections = {number}\n{more}")

    def used_by(self, number: int) -> int:
        """Return the number of connections that the worker with that number has logged last."""
        return int(re.findall(rf"worker {number}: uses (\d+)$", self.output, re.MULTILINE)[-1])

    def reload(self) -> None:
        """Make the supervisor load the settings again."""
        self.process.send_signal(signal.SIGUSR1)

    @property
    def files(self) -> list[str]:
        """The names of the files in its folder, but for its settings."""
        return sorted(path.name for path in self.folder.iterdir() if path != self.settings)

    @property
    def port(self) -> int:
        """The first TCP port."""
        found = re.search(r"the workers will listen on tcp.*?, (\d+)\)", self.output)
        assert found, self.output
        return int(found[1])

    def pid_of(self, number: int) -> int:
        """Return the pid of the worker with that number that became ready last."""
        return int(re.findall(rf"worker {number} \(pid (\d+)\) serves$", self.output, re.MULTILINE)[-1])

    def serving(self, count: int) -> list[int]:
        """Wait until ``count`` workers have become ready since the start; return the pids of all of them."""

        def pids() -> list[int]:
            found = [int(pid) for pid in re.findall(r"worker \d+ \(pid (\d+)\) serves$", self.output, re.MULTILINE)]
            return found if len(found) >= count else []

        try:
            return list(wait_until(pids, f"{count} workers"))
        except AssertionError as error:
            raise AssertionError(self.output) from error


def answering_pid(address: Any, family: int = socket.AF_INET) -> int:
    """Connect, and return the pid of the worker that accepted the connection."""
    with socket.socket(family, socket.SOCK_STREAM) as peer:
        peer.settimeout(DEADLINE)
        peer.connect(address)
        received = b""
        while data := peer.recv(100):
            received += data
        assert received.endswith(b"\n"), f"cut off after {received!r}"
        return int(received)


class RepeatedCalls:
    """Calls ``once`` repeatedly in threads until the context ends; collects results and exceptions."""

    def __init__(self, once: Callable[[], Any], threads: int = 4) -> None:
        self._once = once
        self._stopped = threading.Event()
        self.results: list[Any] = []
        self.failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.results.append(self._once())
            except Exception as failure:
                self.failures.append(failure)

    def __enter__(self) -> RepeatedCalls:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(DEADLINE)
