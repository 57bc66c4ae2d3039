"""A node of tiny workers, and those who connect to it."""

from __future__ import annotations

import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from processes import DEADLINE, Process

TINY_SUPERVISOR = Path(__file__).with_name("tiny_supervisor.py")


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Return what ``condition`` returns once it is true."""
    end = time.monotonic() + DEADLINE
    pause = threading.Event()
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        pause.wait(0.02)
    raise AssertionError(f"waited {DEADLINE:g} s in vain for: {what}")


class TinyNode(Process):
    """A supervisor with its workers; ``before`` is what it is started by."""

    def __init__(
        self, folder: Path, count: int, *endpoints: str, patience: float = 20.0, before: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        command = [*before, sys.executable, str(TINY_SUPERVISOR), str(folder), str(count), str(patience), *endpoints]
        super().__init__(command, {"TMPDIR": str(folder)})
        self.endpoints = endpoints

    def mood(self, mood: str) -> None:
        """What workers do that start from now on."""
        (self.folder / "mood").write_text(mood)

    @property
    def port(self) -> int:
        """The first TCP port."""
        found = re.search(r"the workers will listen on tcp.*?, (\d+)\)", self.output)
        assert found, self.output
        return int(found[1])

    def pid_of(self, number: int) -> int:
        """The worker of that number that got ready last."""
        return int(re.findall(rf"worker {number} \(pid (\d+)\) serves$", self.output, re.MULTILINE)[-1])

    def serving(self, count: int) -> list[int]:
        """Wait until so many workers have got ready since the start, and return the pids of all of them."""

        def pids() -> list[int]:
            found = [int(pid) for pid in re.findall(r"worker \d+ \(pid (\d+)\) serves$", self.output, re.MULTILINE)]
            return found if len(found) >= count else []

        try:
            return list(wait_until(pids, f"{count} workers"))
        except AssertionError as error:
            raise AssertionError(self.output) from error


def who_answers(address: Any, family: int = socket.AF_INET) -> int:
    """Connect, and return the pid of the worker that took the connection."""
    with socket.socket(family, socket.SOCK_STREAM) as peer:
        peer.settimeout(DEADLINE)
        peer.connect(address)
        said = b""
        while data := peer.recv(100):
            said += data
        assert said.endswith(b"\n"), f"cut off after {said!r}"
        return int(said)


class Stream:
    """Calls ``once`` again and again in threads, until it is stopped; remembers what went wrong."""

    def __init__(self, once: Callable[[], Any], threads: int = 4) -> None:
        self._once = once
        self._over = threading.Event()
        self.results: list[Any] = []
        self.failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self.results.append(self._once())
            except Exception as failure:
                self.failures.append(failure)

    def __enter__(self) -> Stream:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(DEADLINE)
