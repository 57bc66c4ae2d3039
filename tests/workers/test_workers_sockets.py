"""Listening sockets: opened once by the supervisor and inherited by all workers."""

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
from processes import wait_until
from tiny_node import TinyNode, answering_pid

from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.workers.handoff import ListenEndpoint, WorkerHandoff
from callcenter_ws.workers.sockets import ListeningSockets, open_listening_socket

StartNode = Callable[..., TinyNode]
AS_SYSTEMD = Path(__file__).with_name("as_systemd.py")


def listen_endpoint(setting: str, description: str) -> ListenEndpoint:
    return ListenEndpoint(setting, EndpointDescription.parse(description))


def all_answer(pids: list[int], address: object, family: int = socket.AF_INET) -> bool:
    """Return True once each worker has answered a connection to the address."""
    seen: set[int] = set()
    return bool(
        wait_until(lambda: seen.add(answering_pid(address, family)) or seen == set(pids), "an answer of each worker")
    )


def test_a_unix_socket(start_node: StartNode, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    node = start_node(2, f"unix:{path}:mode=600")
    assert all_answer(node.serving(2), str(path), socket.AF_UNIX)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    # A worker that drains must not remove the file, which the others still need.
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
    wait_until(lambda: seen.add(answer()) or seen == set(pids), "an answer of each worker")


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
    # The file and its mode belong to systemd and are not changed.
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_many_sockets_keep_their_order(start_node: StartNode, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.sock" for number in range(8)]
    node = start_node(2, *(f"unix:{path}" for path in paths))
    pids = node.serving(2)
    assert all(answering_pid(str(path), socket.AF_UNIX) in pids for path in paths)


@pytest.mark.logs_errors
def test_a_socket_that_is_missing_ends_the_start(tmp_path: Path) -> None:
    good, bad = f"unix:{tmp_path}/good.sock", "systemd:domain=INET:name=nowhere"
    sockets = ListeningSockets([listen_endpoint("web.listen", good), listen_endpoint("web.listen", bad)])
    with pytest.raises(SystemExit):
        sockets.open()
    assert sockets.descriptors == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.logs_errors
def test_a_unix_socket_in_use_is_left_alone(tmp_path: Path) -> None:
    first = open_listening_socket(EndpointDescription.parse(f"unix:{tmp_path}/a.sock"))
    second = ListeningSockets([listen_endpoint("amp.listen", f"unix:{tmp_path}/a.sock")])
    with pytest.raises(SystemExit):
        second.open()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(f"{tmp_path}/a.sock")
    first.close()
    assert list(tmp_path.iterdir()) == []


def test_stale_files_of_a_killed_supervisor_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    path.with_name("a.sock.lock").symlink_to(str(os.getpid()))
    open_listening_socket(EndpointDescription.parse(f"unix:{path}")).close()
    assert list(tmp_path.iterdir()) == []


def test_sockets_are_not_inherited_by_other_programs() -> None:
    opened = open_listening_socket(EndpointDescription.parse("tcp:0:127.0.0.1"))
    assert not opened.socket.get_inheritable()
    assert not opened.socket.getblocking()
    assert opened.socket.getsockname()[0] == "127.0.0.1"
    opened.close()


def test_a_handoff_is_removed_from_the_environment() -> None:
    handoff = WorkerHandoff(2, 4, 7, True, "/run/x", {"web.listen tcp:0": 4})
    environ = handoff.environment()
    assert WorkerHandoff.pop(environ) == handoff
    assert environ == {}
    assert WorkerHandoff.pop(environ) is None
    assert handoff.descriptor("web.listen", EndpointDescription.parse("tcp:0")) == 4
