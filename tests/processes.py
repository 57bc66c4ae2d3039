"""Processes of the tests, whose output is awaited line by line: the demo, the command line, a daemon."""

from __future__ import annotations

import json
import os
import queue
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DEADLINE = 30.0
TWISTD = Path(sys.executable).with_name("twistd")
REMOTE_DAEMON = Path(__file__).parent / "integration" / "remote_daemon.py"

_SCRIPT = Path(sys.executable).with_name("callcenter-ws")
CALLCENTER_WS = (
    [str(_SCRIPT)]
    if _SCRIPT.exists()
    else [sys.executable, "-c", "import sys; from callcenter_ws.cli.main import main; sys.exit(main())"]
)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_gone(pid: int, deadline: float = DEADLINE) -> bool:
    """Wait for the end of any process, not only of a child; whether it came before the deadline."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], deadline)[0])
    finally:
        os.close(handle)


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run ``callcenter-ws`` to its end."""
    environment = {**os.environ, **options.pop("environment", {})}
    return subprocess.run(
        [*CALLCENTER_WS, *arguments],
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        **options,
    )


class Process:
    """A process that runs while the test looks at what it prints."""

    def __init__(self, command: list[str], environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            command,
            cwd="/",
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._unread: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        """All that was printed so far."""
        return "".join(self.lines)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.lines.append(line)
                self._unread.put(line)
        self._unread.put(None)

    def next_line(self) -> str:
        """The next line, without its end."""
        try:
            line = self._unread.get(timeout=DEADLINE)
        except queue.Empty:
            raise AssertionError(f"nothing was printed for {DEADLINE:g} s after:\n{self.output}") from None
        assert line is not None, f"the process ended:\n{self.output}"
        return line.rstrip("\n")

    def expect(self, pattern: str) -> re.Match[str]:
        """Read on to the next line that holds ``pattern``."""
        while True:
            found = re.search(pattern, self.next_line())
            if found:
                return found

    def write(self, text: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal if it still runs, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end, and return its exit status."""
        assert self.process.stdin is not None
        if not self.process.stdin.closed:
            self.process.stdin.close()
        try:
            status = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join(DEADLINE)
        return status


class RemoteDaemon(Process):
    """A daemon: ``callcenter_ws.remote.EventBroadcaster`` in a process of its own, which says what it is told to."""

    def __init__(self, endpoint: str, token_file: Path | None = None, spool: Path | None = None) -> None:
        given = {"--token-file": token_file, "--spool": spool}
        more = [text for name, path in given.items() if path is not None for text in (name, str(path))]
        super().__init__([sys.executable, str(REMOTE_DAEMON), endpoint, *more])
        self._told = 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._heard: list[dict[str, Any]] = []

    def tell(self, method: str, *arguments: Any, **fields: Any) -> int:
        """Have a method called, and return the number under which its answer will come."""
        self._told += 1
        self.write(json.dumps([self._told, method, arguments, fields]))
        return self._told

    def answer(self, number: int) -> dict[str, Any]:
        """What came of a call: its ``result``, or ``refused`` and ``message``."""
        while number not in self._answers:
            self._take(json.loads(self.next_line()))
        return self._answers.pop(number)

    def ask(self, method: str, *arguments: Any, **fields: Any) -> Any:
        """Have a method called, and return its result."""
        answer = self.answer(self.tell(method, *arguments, **fields))
        assert "result" in answer, answer
        return answer["result"]

    def heard(self) -> dict[str, Any]:
        """The next message that the gateway passed on."""
        while not self._heard:
            self._take(json.loads(self.next_line()))
        return self._heard.pop(0)

    def _take(self, said: dict[str, Any]) -> None:
        if "heard" in said:
            self._heard.append(said["heard"])
        else:
            self._answers[said["answers"]] = said


class Demo(Process):
    """``twistd callcenter-ws --demo``, ready to serve."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.environment = {"CALLCENTER_WS_DEMO_DIR": str(folder)}
        listen = f"web.listen=tcp:{port}:interface=127.0.0.1"
        command = [str(TWISTD), "-n", "--pidfile=", "callcenter-ws", "--demo", "--set", listen]
        super().__init__(command, self.environment)
        self.announcement = ""
        try:
            self.expect("simulating a call center")
        except BaseException:
            self.process.kill()
            raise
        self.announcement = self.output

    @property
    def tokens(self) -> dict[str, str]:
        """The ready-made tokens that it printed, by role."""
        return dict(re.findall(r"^ +(\w+) +(eyJ\S+)$", self.announcement, re.MULTILINE))

    def url(self, path: str = "/", scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def get(self, path: str) -> tuple[Mapping[str, str], bytes]:
        """Headers and body of an HTTP resource."""
        with urllib.request.urlopen(self.url(path), timeout=DEADLINE) as answer:
            return dict(answer.headers), answer.read()

    def simulator_pid(self) -> int:
        """The process that plays the call center."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        (pid,) = (
            int(child)
            for child in children
            if b"callcenter_ws.demo.simulator" in Path(f"/proc/{child}/cmdline").read_bytes()
        )
        return pid


class Deadline:
    """Seconds that are left of ``DEADLINE``, for what is waited for in several steps."""

    def __init__(self) -> None:
        self._end = time.monotonic() + DEADLINE

    def left(self) -> float:
        left = self._end - time.monotonic()
        assert left > 0, "it took too long"
        return left
