"""A real gateway as systemd runs it: notifications, watchdog and sockets that were opened for it."""

from __future__ import annotations

import socket
import stat
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import amp_line
import pytest
from processes import DEADLINE, TWISTD, Process, free_port, wait_until
from redis_server import RedisServer


class NotifyReceiver:
    """The service manager's end: records every message."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.messages: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        while data := self._socket.recv(65_536):
            self.messages.append(dict(line.split("=", 1) for line in data.decode().split("\n")))

    def sent(self, name: str) -> list[str]:
        """Return the values of a field so far."""
        return [message[name] for message in list(self.messages) if name in message]

    def wait_for(self, name: str, text: str = "") -> None:
        """Wait for a field with a text in its value."""
        wait_until(lambda: any(text in value for value in self.sent(name)), f"{name} with {text!r}: {self.messages}")

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.sendto(b"", str(self.path))
        self._thread.join(DEADLINE)
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[NotifyReceiver]:
    receiver = NotifyReceiver(tmp_path / "notify")
    yield receiver
    receiver.close()


@pytest.fixture
def start(tmp_path: Path, manager: NotifyReceiver) -> Iterator[Callable[..., Process]]:
    """Starts gateways with a store in a file; they end with the test."""
    (tmp_path / "secret").write_text("0123456789" * 4)
    (tmp_path / "secret").chmod(0o600)
    started: list[Process] = []

    def start(
        settings: str, *arguments: str, before: tuple[str, ...] = (), store: str = "sqlite:store", **more: str
    ) -> Process:
        config = tmp_path / "callcenter-ws.toml"
        config.write_text(f'{settings}\n[jwt]\nsecret_file = "secret"\n[store]\nurl = "{store}"\n')
        command = [*before, str(TWISTD), "-n", "--pidfile=", "callcenter-ws", "--config", str(config), *arguments]
        started.append(Process(command, {"NOTIFY_SOCKET": str(manager.path), **more}))
        return started[-1]

    yield start
    for process in started:
        process.stop()
        assert "Traceback" not in process.output, process.output


NO_PORTS = '[web]\nlisten = ["tcp:0:interface=127.0.0.1"]\n[amp]\nlisten = []'


def test_a_gateway_reports_its_life(start: Callable[..., Process], manager: NotifyReceiver) -> None:
    gateway = start(NO_PORTS, WATCHDOG_USEC="400000")
    manager.wait_for("READY", "1")
    wait_until(lambda: len(manager.sent("WATCHDOG")) > 5, "signs of life")
    assert manager.sent("STATUS")[-1] == "serves; clients: 0, daemons: 0"
    assert not manager.sent("STOPPING")
    gateway.stop()
    assert manager.sent("STOPPING") == ["1"]
    assert manager.sent("EXTEND_TIMEOUT_USEC")
    assert manager.sent("READY") == ["1"]


def test_a_gateway_that_cannot_start_is_not_ready(start: Callable[..., Process], manager: NotifyReceiver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        port = used.getsockname()[1]
        gateway = start(f'[web]\nlisten = ["tcp:{port}:interface=127.0.0.1"]\n[amp]\nlisten = []')
        assert gateway.process.wait(DEADLINE) == 1
    assert not manager.sent("READY")


def test_workers_do_not_notify(start: Callable[..., Process], manager: NotifyReceiver, server: RedisServer) -> None:
    node = start(NO_PORTS, "--workers", "2", store=server.url, WATCHDOG_USEC="400000")
    manager.wait_for("READY", "1")
    manager.wait_for("STATUS", "2 of 2 workers serve")
    wait_until(lambda: len(manager.sent("WATCHDOG")) > 5, "signs of life")
    assert manager.sent("READY") == ["1"]
    assert all("workers" in status for status in manager.sent("STATUS"))
    for pid in [int(found) for found in node_pids(node)]:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"NOTIFY_SOCKET" not in environment
        assert b"WATCHDOG_USEC" not in environment
    node.stop()
    assert manager.sent("STATUS")[-1].startswith("stops: ")


def test_the_status_says_why_no_worker_serves(start: Callable[..., Process], manager: NotifyReceiver) -> None:
    start(NO_PORTS, "--workers", "1", store=f"redis://127.0.0.1:{free_port()}/0")
    manager.wait_for("STATUS", "0 of 1 workers serve; not connected to Redis yet")


def node_pids(node: Process) -> list[str]:
    return [line.split("(pid ")[1].split(")")[0] for line in node.lines if line.rstrip().endswith("is started")]


SOCKETS = """
[web]
listen = ["systemd:domain=INET:name=web"]
[amp]
listen = ["systemd:domain=UNIX:name=amp"]
"""


def activated(*addresses: str, names: str, notify: Path) -> tuple[str, ...]:
    """Return the command that opens sockets as systemd does, and executes a program at the first connection."""
    variables = (f"NOTIFY_SOCKET={notify}", "PYTHONUNBUFFERED=1")
    options = [*(f"--listen={address}" for address in addresses), *(f"--setenv={variable}" for variable in variables)]
    return ("systemd-socket-activate", *options, f"--fdname={names}")


@pytest.mark.parametrize("workers", [0, 2])
def test_socket_activation(
    start: Callable[..., Process], manager: NotifyReceiver, tmp_path: Path, server: RedisServer, workers: int
) -> None:
    port, path = free_port(), tmp_path / "amp.sock"
    before = activated(f"127.0.0.1:{port}", str(path), names="web:amp", notify=manager.path)
    options = {"store": server.url} if workers else {}
    arguments = ["--workers", str(workers)] if workers else []
    gateway = start(SOCKETS, *arguments, before=before, **options)
    wait_until(path.is_socket, "the sockets")
    path.chmod(0o600)
    assert not manager.messages
    # The connection that starts the gateway waits until it is answered.
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=DEADLINE) as answer:
        assert answer.status == 200
    manager.wait_for("READY", "1")
    assert b"server_time_ms" in amp_line.call(path, b"Ping")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    gateway.stop()
    # The file is systemd's, which has the socket open for the next start.
    assert path.is_socket()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_socket_that_systemd_did_not_open(start: Callable[..., Process], manager: NotifyReceiver) -> None:
    gateway = start(SOCKETS)
    assert gateway.wait() == 1
    assert "callcenter-ws-web.socket" in gateway.output
    assert "cannot listen on systemd:domain=INET:name=web (web.listen)" in gateway.output
    assert not manager.sent("READY")
