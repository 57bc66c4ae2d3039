"""Ports, and what a process that was killed leaves of them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol

from callcenter_ws.runtime.listener import Listener


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "amp.sock"


def listener(path: Path) -> Listener:
    factory = Factory.forProtocol(Protocol)
    factory.noisy = False
    return Listener(reactor, f"unix:{path}:mode=660", factory)


def leave_behind(path: Path, pid: int) -> None:
    """A socket and a lock, as of a process that was killed."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    path.with_name(path.name + ".lock").symlink_to(str(pid))


async def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(path))
    return True


@pytest.mark.parametrize("pid", [os.getpid(), 1, 2**22])
@pytest_twisted.ensureDeferred
async def test_what_a_killed_process_left_is_no_obstacle(path: Path, pid: int) -> None:
    leave_behind(path, pid)
    service = listener(path)
    service.startService()
    assert await listens(path)
    await service.stopService()


@pytest_twisted.ensureDeferred
async def test_nor_is_a_lock_alone(path: Path) -> None:
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
def test_a_file_in_its_place_is_left_alone(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(SystemExit):
        listener(path).startService()
    assert path.read_text() == "precious"
