"""Listeners on unix sockets, and the stale files of a killed process."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import formatEvent

from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.listener import MAX_ACCEPTS_PER_TURN, Listener, _limit_accepts


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "amp.sock"


def listener(path: Path) -> Listener:
    factory = Factory.forProtocol(Protocol)
    factory.noisy = False
    return Listener(reactor, EndpointDescription.parse(f"unix:{path}:mode=660"), factory)


def make_stale_socket(path: Path, pid: int) -> None:
    """Make the socket and the lock of a process that was killed."""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    path.with_name(path.name + ".lock").symlink_to(str(pid))


async def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(path))
    return True


@pytest.mark.parametrize("pid", [os.getpid(), 1, 2**22], ids=["own", "of another", "of none"])
@pytest_twisted.ensureDeferred
async def test_a_stale_socket_is_replaced(path: Path, pid: int) -> None:
    make_stale_socket(path, pid)
    service = listener(path)
    service.startService()
    assert await listens(path)
    await service.stopService()


@pytest_twisted.ensureDeferred
async def test_a_stale_lock_without_a_socket_is_replaced(path: Path) -> None:
    path.with_name(path.name + ".lock").symlink_to(str(os.getpid()))
    service = listener(path)
    service.startService()
    assert await listens(path)
    await service.stopService()


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_a_socket_in_use_is_left_alone(path: Path) -> None:
    first, second = listener(path), listener(path)
    first.startService()
    with pytest.raises(SystemExit):
        second.startService()
    assert await listens(path)
    await first.stopService()


@pytest.mark.logs_errors
def test_another_file_at_the_path_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(SystemExit):
        listener(path).startService()
    assert path.read_text() == "precious"


@pytest.mark.logs_errors
def test_a_folder_that_cannot_be_reached_is_reported(tmp_path: Path, error_log: Any) -> None:
    with pytest.raises(SystemExit):
        listener(tmp_path / ("x" * 300) / "amp.sock").startService()
    (event,) = error_log.events
    assert "cannot listen on unix:" in formatEvent(event)
    assert "File name too long" in formatEvent(event)


def test_a_port_accepts_few_connections_in_a_turn() -> None:
    class Port:
        numberAccepts = 100  # noqa: N815 - Twisted's name

        def __init__(self) -> None:
            self.accepted: list[int] = []

        def doRead(self) -> None:  # noqa: N802 - Twisted's name
            self.accepted.append(self.numberAccepts)
            self.numberAccepts += 20

    port = Port()
    _limit_accepts(port)
    for _ in range(3):
        port.doRead()
    port.numberAccepts = 1
    port.doRead()
    assert port.accepted == [MAX_ACCEPTS_PER_TURN] * 3 + [1]
