"""Sockets that systemd has opened: which are used, and what is said of the others."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from twisted.internet.endpoints import _SystemdParser
from twisted.python.systemd import ListenFDs

from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.systemd_sockets import systemd_socket

BY_NAME, BY_INDEX = "systemd:domain=INET:name=web", "systemd:domain=INET:index=0"


@pytest.fixture
def passed_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[socket.socket], None]]:
    kept: list[socket.socket] = []

    def pass_on(one: socket.socket) -> None:
        kept.append(one)
        monkeypatch.setattr(_SystemdParser, "_sddaemon", ListenFDs([one.fileno()], ["web"]))

    yield pass_on
    for one in kept:
        one.close()


@pytest.mark.parametrize("text", [BY_NAME, BY_INDEX, f"haproxy:{BY_NAME}"])
def test_a_listening_socket_has_a_descriptor_of_its_own(passed_on: Callable[[socket.socket], None], text: str) -> None:
    opened = socket.create_server(("127.0.0.1", 0))
    passed_on(opened)
    with systemd_socket(EndpointDescription.parse(text)) as found:
        assert found.getsockname() == opened.getsockname()
        assert found.fileno() != opened.fileno()
        assert not found.getblocking()


@pytest.mark.parametrize("text", ["systemd:domain=INET:name=amp", "systemd:domain=INET:index=1"])
def test_a_socket_that_was_not_passed_on(passed_on: Callable[[socket.socket], None], text: str) -> None:
    passed_on(socket.create_server(("127.0.0.1", 0)))
    with pytest.raises(LookupError, match=r"^systemd has passed on no such socket to this process$"):
        systemd_socket(EndpointDescription.parse(text))


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_that_does_not_listen(passed_on: Callable[[socket.socket], None], kind: socket.SocketKind) -> None:
    passed_on(socket.socket(socket.AF_INET, kind))
    with pytest.raises(LookupError, match="does not listen: its unit needs ListenStream="):
        systemd_socket(EndpointDescription.parse(BY_NAME))
