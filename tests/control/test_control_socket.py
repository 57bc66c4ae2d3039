"""The control socket: which processes may use it, its file, and its bounds; on real sockets."""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.application.service import Service
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher

from callcenter_ws.config.changes import ReloadReport
from callcenter_ws.control import server, socket_file
from callcenter_ws.control.control_client import NoAnswer, NoGateway, ask
from callcenter_ws.control.messages import (
    MAX_PROBLEMS,
    Failed,
    NodeStatus,
    Outcome,
    Refused,
    Reloaded,
    ReloadRequest,
    StatusRequest,
    bounded,
)
from callcenter_ws.control.server import MAX_CONNECTIONS, ControlledService

DEADLINE = 30.0
STATUS = NodeStatus(pid=1, version="0", reasons=("no Redis",), workers=(), draining=False, last_reload=None)


class Operations:
    """Operations with a prepared outcome."""

    def __init__(self) -> None:
        self.outcome: Outcome = Reloaded(ReloadReport(applied=("web.allowed_origins",)))
        self.wait: Deferred[None] | None = None
        self.reloads = 0

    async def reload(self) -> Outcome:
        self.reloads += 1
        if self.wait is not None:
            await self.wait
        return self.outcome

    def node_status(self) -> NodeStatus:
        return STATUS


class Gateway:
    """A service with a control socket."""

    def __init__(self, path: Path | None) -> None:
        self.operations = Operations()
        self.service = ControlledService(reactor, Service(), self.operations, path)
        self.service.startService()


StartGateway = Callable[[Path], Gateway]


@pytest.fixture
def start() -> Iterator[StartGateway]:
    """Starts gateways, which are stopped at the end."""
    started: list[Gateway] = []

    def start_gateway(path: Path) -> Gateway:
        started.append(Gateway(path))
        return started[-1]

    yield start_gateway
    for gateway in started:
        pytest_twisted.blockon(gateway.service.stopService())


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The warnings that are logged during the test."""
    lines: list[str] = []

    def observe(event: LogEvent) -> None:
        if event.get("log_level") is LogLevel.warn:
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def asked(path: Path, request: Any, timeout: float = DEADLINE) -> Deferred[Any]:
    """Ask as the command line does, in a thread: the server is in this process."""
    return deferToThread(ask, path, request, timeout)


@pytest_twisted.ensureDeferred
async def test_requests_are_answered(start: StartGateway, tmp_path: Path) -> None:
    path = tmp_path / "control"
    gateway = start(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (await asked(path, StatusRequest())) == STATUS
    assert (await asked(path, ReloadRequest())) == gateway.operations.outcome
    gateway.operations.outcome = Refused(bounded([f"problem {number} {'x' * 900}" for number in range(1_000)]))
    answer = await asked(path, ReloadRequest())
    assert answer == gateway.operations.outcome
    assert len(answer.problems) == MAX_PROBLEMS + 1
    assert answer.problems[-1] == "and 500 more problems"


def test_the_file_has_its_mode_from_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, modes = tmp_path / "control", []

    class Socket(socket.socket):
        def bind(self, address: Any) -> None:
            super().bind(address)
            modes.append(stat.S_IMODE(path.stat().st_mode))

    monkeypatch.setattr(socket_file.socket, "socket", Socket)
    before = os.umask(0)
    try:
        opened = socket_file.open_socket(path)
    finally:
        os.umask(before)
    opened.socket.close()
    opened.remove()
    assert modes == [0o600]


@pytest_twisted.ensureDeferred
async def test_the_socket_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "control"
    gateway = Gateway(path)
    await gateway.service.stopService()
    assert not path.exists()
    with pytest.raises(NoGateway, match="no gateway runs there: there is no socket"):
        ask(path, StatusRequest(), DEADLINE)


@pytest_twisted.ensureDeferred
async def test_a_path_may_be_longer_than_the_address_of_a_socket(start: StartGateway, tmp_path: Path) -> None:
    path = tmp_path / ("d" * 100) / ("e" * 100) / "control"
    path.parent.mkdir(parents=True)
    gateway = start(path)
    assert path.is_socket()
    assert (await asked(path, StatusRequest())) == STATUS
    await gateway.service.stopService()
    assert not path.exists()


@pytest_twisted.ensureDeferred
async def test_a_socket_that_was_left_is_replaced(start: StartGateway, tmp_path: Path) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()
    with pytest.raises(NoGateway, match=r"the one that made .* has ended"):
        ask(path, StatusRequest(), DEADLINE)
    start(path)
    assert (await asked(path, StatusRequest())) == STATUS


@pytest_twisted.ensureDeferred
async def test_a_second_gateway_leaves_the_socket_to_the_first(
    start: StartGateway, tmp_path: Path, logged: list[str]
) -> None:
    path = tmp_path / "control"
    start(path)
    second = start(path)
    (line,) = [line for line in logged if "cannot open" in line]
    assert line == (
        "callcenter-ws reload and status will not work: cannot open the control socket "
        f"{path}: another process listens there. Set control.socket to a path in a folder that this user may write "
        'to, or to "" for none'
    )
    await second.service.stopService()
    assert (await asked(path, StatusRequest())) == STATUS


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing/control", "the folder .*missing cannot be used: No such file or directory"),
        ("file", "the file exists, and is not a socket"),
        ("n" * 90, "the name of the file has more than 80 bytes"),
        ("/proc/control", "cannot open the control socket /proc/control: "),
    ],
)
def test_a_gateway_without_its_socket_starts_with_a_warning(
    start: StartGateway, tmp_path: Path, name: str, reason: str, logged: list[str]
) -> None:
    (tmp_path / "file").touch()
    start(tmp_path / name)
    (line,) = [line for line in logged if "control socket" in line]
    assert re.search(reason, line)
    assert (tmp_path / "file").is_file()


def test_without_a_path_there_is_no_socket(start: StartGateway, logged: list[str]) -> None:
    Gateway(None)
    assert logged == []


@pytest_twisted.ensureDeferred
async def test_another_user_is_refused(start: StartGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "control"
    start(path)
    monkeypatch.setattr(server, "peer_user", lambda peer: os.geteuid() + 4711)
    answer = await asked(path, StatusRequest())
    assert answer == Failed(f"the user {os.geteuid() + 4711} may not use this socket")


def test_the_user_of_a_peer_is_known() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert server.peer_user(one) == os.geteuid()


@pytest_twisted.ensureDeferred
async def test_connections_are_bounded(start: StartGateway, tmp_path: Path) -> None:
    path = tmp_path / "control"
    start(path)
    peers = [socket.socket(socket.AF_UNIX) for _ in range(MAX_CONNECTIONS)]
    for peer in peers:
        await deferToThread(peer.connect, str(path))
    answer = await asked(path, StatusRequest())
    assert answer == Failed(f"{MAX_CONNECTIONS} requests are being answered; try again later")
    for peer in peers:
        peer.close()
    while await asked(path, StatusRequest()) != STATUS:
        pass


@pytest_twisted.ensureDeferred
async def test_nonsense_and_long_lines_are_refused(start: StartGateway, tmp_path: Path) -> None:
    path = tmp_path / "control"
    start(path)

    def send(line: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(DEADLINE)
            peer.connect(str(path))
            try:
                peer.sendall(line)
                return peer.recv(65_536)
            except ConnectionError:
                return b""

    assert b"does not know the request" in (await deferToThread(send, b'{"request":"dance"}\n'))
    assert b"does not know the request" in (await deferToThread(send, b"\xff\n"))
    assert (await deferToThread(send, b"x" * 10_000)) == b""


@pytest_twisted.ensureDeferred
async def test_a_command_does_not_wait_forever(start: StartGateway, tmp_path: Path) -> None:
    path = tmp_path / "control"
    gateway = start(path)
    gateway.operations.wait = Deferred()
    with pytest.raises(NoAnswer, match=r"no answer from .* within 0\.2 s"):
        await asked(path, ReloadRequest(), 0.2)
    gateway.operations.wait.callback(None)
    gateway.operations.wait = None
    assert (await asked(path, StatusRequest())) == STATUS
