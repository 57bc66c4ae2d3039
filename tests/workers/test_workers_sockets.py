"""Sockets: opened once, inherited, and the same for all."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tls_material
from tiny_node import TinyNode, wait_until, who_answers

from callcenter_ws.workers.handoff import Endpoint, WorkerHandoff
from callcenter_ws.workers.sockets import Sockets, open_socket

StartNode = Callable[..., TinyNode]
AS_SYSTEMD = Path(__file__).with_name("as_systemd.py")


def all_answer(pids: list[int], address: object, family: int = socket.AF_INET) -> bool:
    """Whether each worker takes connections there."""
    seen: set[int] = set()
    return bool(wait_until(lambda: seen.add(who_answers(address, family)) or seen == set(pids), "an answer of each"))


def test_a_unix_socket(start_node: StartNode, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    node = start_node(2, f"unix:{path}:mode=600")
    assert all_answer(node.serving(2), str(path), socket.AF_UNIX)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    # A worker that drains must not take the file away from the others.
    node.process.send_signal(1)
    node.expect("all workers have been replaced")
    assert all_answer(node.serving(4)[2:], str(path), socket.AF_UNIX)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_ipv6(start_node: StartNode) -> None:
    node = start_node(2, r"tcp:0:interface=\:\:1")
    pids = node.serving(2)
    port = int(node.output.partition("('::1', ")[2].partition(",")[0])
    assert all_answer(pids, ("::1", port), socket.AF_INET6)


def test_tls(start_node: StartNode, tmp_path: Path) -> None:
    certificate, key = tls_material.make_certificate(tmp_path)
    node = start_node(2, f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}")
    pids = node.serving(2)
    port = int(node.output.partition("('127.0.0.1', ")[2].partition(")")[0])
    context = ssl.create_default_context(cafile=str(certificate))

    def answer() -> int:
        peer = socket.create_connection(("127.0.0.1", port))
        with context.wrap_socket(peer, server_hostname="127.0.0.1") as tls:
            return int(tls.recv(100))

    seen: set[int] = set()
    wait_until(lambda: seen.add(answer()) or seen == set(pids), "an answer of each")


def test_sockets_of_systemd(start_node: StartNode, tmp_path: Path) -> None:
    path = tmp_path / "local.sock"
    node = start_node(
        2,
        "systemd:domain=INET:name=web",
        "systemd:domain=UNIX:index=1",
        before=[sys.executable, str(AS_SYSTEMD), str(path)],
    )
    pids = node.serving(2)
    port = int(node.output.partition("systemd's port is ")[2].splitlines()[0])
    assert all_answer(pids, ("127.0.0.1", port))
    assert all_answer(pids, str(path), socket.AF_UNIX)
    assert node.stop() == 0
    # They are systemd's: file and mode stay.
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_many_sockets_keep_their_places(start_node: StartNode, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.sock" for number in range(8)]
    node = start_node(2, *(f"unix:{path}" for path in paths))
    pids = node.serving(2)
    assert all(who_answers(str(path), socket.AF_UNIX) in pids for path in paths)


@pytest.mark.logs_errors
def test_a_socket_that_is_missing_ends_the_start(tmp_path: Path) -> None:
    good, bad = f"unix:{tmp_path}/good.sock", "systemd:domain=INET:name=nowhere"
    sockets = Sockets([Endpoint("web.listen", good), Endpoint("web.listen", bad)])
    with pytest.raises(SystemExit):
        sockets.open()
    assert sockets.descriptors == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.logs_errors
def test_a_unix_socket_in_use_is_left_alone(tmp_path: Path) -> None:
    first = open_socket(f"unix:{tmp_path}/a.sock")
    second = Sockets([Endpoint("amp.listen", f"unix:{tmp_path}/a.sock")])
    with pytest.raises(SystemExit):
        second.open()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(f"{tmp_path}/a.sock")
    first.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_supervisor_left_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    path.with_name("a.sock.lock").symlink_to(str(os.getpid()))
    open_socket(f"unix:{path}").close()
    assert list(tmp_path.iterdir()) == []


def test_sockets_do_not_reach_other_programs() -> None:
    opened = open_socket("tcp:0:127.0.0.1")
    assert not opened.socket.get_inheritable()
    assert not opened.socket.getblocking()
    assert opened.socket.getsockname()[0] == "127.0.0.1"
    opened.close()


def test_an_inheritance_is_taken_once() -> None:
    left = WorkerHandoff(2, 4, 7, True, "/run/x", {"web.listen tcp:0": 4})
    environ = left.written()
    assert WorkerHandoff.take(environ) == left
    assert environ == {}
    assert WorkerHandoff.take(environ) is None
    assert left.descriptor("web.listen", "tcp:0") == 4
