"""Processes for tests, whose output is read line by line: the demo, the command line, a daemon."""

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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jwt

DEADLINE = 30.0
"""Seconds after which a test that waits fails."""

TWISTD = Path(sys.executable).with_name("twistd")
REMOTE_DAEMON = Path(__file__).parent / "integration" / "remote_daemon.py"

_SCRIPT = Path(sys.executable).with_name("callcenter-ws")
CALLCENTER_WS = (
    [str(_SCRIPT)]
    if _SCRIPT.exists()
    else [sys.executable, "-c", "import sys; from callcenter_ws.cli.main import main; sys.exit(main())"]
)


def free_port() -> int:
    """Return an unused TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def has_ended(pid: int, deadline: float = DEADLINE) -> bool:
    """Wait until a process, which need not be a child, has ended; return whether it did within ``deadline`` seconds."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], deadline)[0])
    finally:
        os.close(handle)


def wait_until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Return what ``condition`` returns once it is true; fail after ``deadline`` seconds."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        time.sleep(0.02)
    raise AssertionError(f"waited {deadline:g} s for: {what}")


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run ``callcenter-ws`` and return its outcome."""
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
    """A process whose output a test reads while it runs."""

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
        """The output so far."""
        return "".join(self.lines)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.lines.append(line)
                self._unread.put(line)
        self._unread.put(None)

    def next_line(self) -> str:
        """Return the next line, without its newline."""
        try:
            line = self._unread.get(timeout=DEADLINE)
        except queue.Empty:
            raise AssertionError(f"nothing was printed for {DEADLINE:g} s after:\n{self.output}") from None
        assert line is not None, f"the process ended:\n{self.output}"
        return line.rstrip("\n")

    def expect(self, pattern: str) -> re.Match[str]:
        """Read up to the next line that contains ``pattern``."""
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
        """Send a signal if the process runs, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Close its standard input, wait for its end, and return its exit status."""
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
    """A daemon: ``callcenter_ws.remote.EventBroadcaster`` in a separate process, whose methods the test calls."""

    def __init__(
        self, endpoint: str, token_file: Path | None = None, spool: Path | None = None, source: str | None = None
    ) -> None:
        given = {"--token-file": token_file, "--spool": spool, "--source": source}
        more = [text for name, path in given.items() if path is not None for text in (name, str(path))]
        super().__init__([sys.executable, str(REMOTE_DAEMON), endpoint, *more])
        self._last_call = 0
        self._responses: dict[int, dict[str, Any]] = {}
        self._messages: list[dict[str, Any]] = []

    def start_call(self, method: str, *arguments: Any, **fields: Any) -> int:
        """Call a method; return the number of the call, for ``response``."""
        self._last_call += 1
        self.write(json.dumps([self._last_call, method, arguments, fields]))
        return self._last_call

    def response(self, number: int) -> dict[str, Any]:
        """Return the response to a call: its ``result``, or ``refused`` (the code) and ``reason``."""
        while number not in self._responses:
            self._read_output()
        return self._responses.pop(number)

    def call(self, method: str, *arguments: Any, **fields: Any) -> Any:
        """Call a method and return its result."""
        response = self.response(self.start_call(method, *arguments, **fields))
        assert "result" in response, response
        return response["result"]

    def next_message(self) -> dict[str, Any]:
        """Return the next message that the daemon received for its subscription."""
        while not self._messages:
            self._read_output()
        return self._messages.pop(0)

    def _read_output(self) -> None:
        output = json.loads(self.next_line())
        if "message" in output:
            self._messages.append(output["message"])
        else:
            self._responses[output["call"]] = output


class Demo(Process):
    """``twistd callcenter-ws --demo``, once its simulator has started; or with ``--exchange``, once its bridge has."""

    def __init__(
        self, folder: Path, port: int, *, exchange: bool = False, config: Path | None = None, twistd: Path = TWISTD
    ) -> None:
        self.folder = folder
        self.port = port
        self.environment = {"CALLCENTER_WS_DEMO_DIR": str(folder)}
        listen = f"web.listen=tcp:{port}:interface=127.0.0.1"
        command = [str(twistd), "-n", "--pidfile=", "callcenter-ws", "--demo", "--set", listen]
        command += ["--exchange"] if exchange else []
        command += [] if config is None else ["--config", str(config)]
        self._module = b"callcenter_ws.demo.exchange" if exchange else b"callcenter_ws.demo.simulator"
        super().__init__(command, self.environment)
        self.announcement = ""
        try:
            self.expect("playing a shift" if exchange else "simulating a call center")
        except BaseException:
            self.process.kill()
            raise
        self.announcement = self.output

    @property
    def tokens(self) -> dict[str, str]:
        """The ready-made tokens in its announcement, by role."""
        return dict(re.findall(r"^ +(\w+) +(eyJ\S+)$", self.announcement, re.MULTILINE))

    def url(self, path: str = "/", scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def get(self, path: str) -> tuple[Mapping[str, str], bytes]:
        """Return the headers and the body of an HTTP resource."""
        with urllib.request.urlopen(self.url(path), timeout=DEADLINE) as answer:
            return dict(answer.headers), answer.read()

    def publish(self, type_: str, payload: Mapping[str, Any]) -> None:
        """Publish an event over HTTP, which takes less time than ``callcenter-ws emit``."""
        claims = {"sub": "test", "role": "service", "tenant_id": "demo", "exp": int(time.time()) + 60}
        token = jwt.encode(claims, (self.folder / "secret").read_text(), "HS256")
        body = json.dumps({"type": type_, "payload": payload}).encode()
        request = urllib.request.Request(self.url("/ws/events"), body, {"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            assert json.loads(answer.read())["seq"] > 0

    def simulator_pid(self) -> int:
        """Return the pid of the simulator, or of the exchange and its bridge."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        (pid,) = (int(child) for child in children if self._module in Path(f"/proc/{child}/cmdline").read_bytes())
        return pid


class Deadline:
    """The remaining seconds of ``DEADLINE``, for waiting in several steps."""

    def __init__(self) -> None:
        self._end = time.monotonic() + DEADLINE

    def remaining(self) -> float:
        remaining = self._end - time.monotonic()
        assert remaining > 0, f"waited {DEADLINE:g} s"
        return remaining
