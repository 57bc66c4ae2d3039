"""Broadcasters of our own around a library: they take events from a unix socket and send each to everybody."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.certificate import Certificate
from bench.gateway import DEADLINE
from bench.loader import Loader
from bench.peers.contestant import Transport
from bench.peers.peer import Peer
from bench.peers.process import Process, find_program, not_installed

_HERE = Path(__file__).parent
_GO_PACKAGES = Path("/usr/share/gocode")
_NODE_PACKAGES = Path("/usr/share/nodejs")
"""Where Debian puts them."""


def node_environment() -> dict[str, str]:
    """What Node needs to find Debian's packages, whatever Node it is."""
    paths = os.environ.get("NODE_PATH", "")
    return {"NODE_PATH": os.pathsep.join(filter(None, [paths, str(_NODE_PACKAGES)]))}


class Hub(Peer):
    """A broadcaster that runs."""

    options: tuple[str, ...] = ()

    def __init__(self, folder: Path, loader: Loader, certificate: Certificate | None) -> None:
        command, environment = self.command(folder)
        feed = folder / "feed.sock"
        files = [str(file) for file in certificate or ()]
        process = Process([*command, str(feed), *files], folder, environment)
        port = process.await_port()
        transport = Transport.TLS if certificate else Transport.PLAIN
        super().__init__(process, loader, transport, port, "/ws", *self.options)
        self._feed = socket.socket(socket.AF_UNIX)
        self._feed.settimeout(DEADLINE)
        self._feed.connect(str(feed))

    @abstractmethod
    def command(self, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        """Make the folder; return what is started in it, and what is added to its environment.

        Raises:
            Unavailable: something is not installed.
        """

    def feed(self, messages: Sequence[bytes]) -> None:
        """One a line, all in one write."""
        self._feed.sendall(b"".join([message + b"\n" for message in messages]))

    def dropped(self) -> int:
        """What it says itself."""
        self._feed.sendall(b"?\n")
        answer = b""
        while not answer.endswith(b"\n"):
            answer += self._feed.recv(100)
        return int(answer)

    def close(self) -> None:
        """Hang up, and end it."""
        self._feed.close()
        super().close()


class GoHub(Hub):
    """Go with gorilla/websocket: ``hub.go``."""

    name = "Go hub"
    options: tuple[str, ...] = ("lines",)

    def command(self, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        """Build it."""
        compiler = find_program("go")
        if not (_GO_PACKAGES / "src/github.com/gorilla/websocket").is_dir():
            raise not_installed("gorilla/websocket")
        folder.mkdir()
        program, cache = folder / "hub", folder.parent / "go-cache"
        modules = {"GO111MODULE": "off", "GOPATH": str(_GO_PACKAGES), "GOCACHE": str(cache), "GOFLAGS": ""}
        build = [compiler, "build", "-o", str(program), str(_HERE / "hub.go")]
        subprocess.run(build, check=True, env={**os.environ, **modules})  # noqa: S603 - Debian's compiler
        return [str(program)], {}


class GoHubFrames(GoHub):
    """The same, with a frame for each message, as the gateway has it."""

    name = "Go hub, frames"
    options = ()

    def command(self, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        """Build it, and have it join nothing."""
        command, environment = super().command(folder)
        return [*command, "-frames"], environment


class NodeHub(Hub):
    """Node's ws: ``hub.js``."""

    name = "Node ws"

    def command(self, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        """Look whether it finds ws."""
        program = find_program("node")
        environment = node_environment()
        look = [program, "-e", "require('ws')"]
        looked = subprocess.run(look, capture_output=True, env={**os.environ, **environment}, check=False)  # noqa: S603 - node
        if looked.returncode:
            raise not_installed("ws for Node")
        folder.mkdir()
        return [program, str(_HERE / "hub.js")], environment


class PythonHub(Hub):
    """Python's websockets: ``websockets_hub.py``."""

    name = "Python websockets"

    def command(self, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        """Look whether it is there."""
        if importlib.util.find_spec("websockets") is None:
            raise not_installed("Python's websockets")
        folder.mkdir()
        return [sys.executable, str(_HERE / "websockets_hub.py")], {}
