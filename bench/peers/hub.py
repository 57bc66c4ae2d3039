"""Hubs written for this benchmark around a WebSocket library: they send each line of a unix socket to all clients."""

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
from bench.peers.peer import Peer
from bench.peers.server import Transport
from bench.peers.server_process import Process, find_program, not_installed

_HERE = Path(__file__).parent
_GO_PACKAGES = Path("/usr/share/gocode")
_NODE_PACKAGES = Path("/usr/share/nodejs")
"""The folders of Debian's packages."""


def node_environment() -> dict[str, str]:
    """Return the environment with which any Node finds Debian's packages."""
    paths = os.environ.get("NODE_PATH", "")
    return {"NODE_PATH": os.pathsep.join(filter(None, [paths, str(_NODE_PACKAGES)]))}


class Hub(Peer):
    """A running hub."""

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
        """Make the folder; return the command line to run in it, and additions to its environment.

        Raises:
            Unavailable: if something is not installed.
        """

    def feed(self, messages: Sequence[bytes]) -> None:
        """Send messages, one a line, in one write."""
        self._feed.sendall(b"".join([message + b"\n" for message in messages]))

    def dropped(self) -> int:
        """Return the hub's own count."""
        self._feed.sendall(b"?\n")
        answer = b""
        while not answer.endswith(b"\n"):
            answer += self._feed.recv(100)
        return int(answer)

    def close(self) -> None:
        """Close the feed, and end the hub."""
        self._feed.close()
        super().close()


class GoHub(Hub):
    """A hub in Go with gorilla/websocket: ``hub.go``."""

    name = "Go hub"
    options: tuple[str, ...] = ("lines",)

    def command(self, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        """Build the hub."""
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
    """The hub in Go with a frame for each message, as the gateway sends them."""

    name = "Go hub, frames"
    options = ()

    def command(self, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        """Build the hub, and add ``-frames``."""
        command, environment = super().command(folder)
        return [*command, "-frames"], environment


class NodeHub(Hub):
    """A hub with Node's ws: ``hub.js``."""

    name = "Node ws"

    def command(self, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        """Check that Node finds ws."""
        program = find_program("node")
        environment = node_environment()
        check = [program, "-e", "require('ws')"]
        checked = subprocess.run(check, capture_output=True, env={**os.environ, **environment}, check=False)  # noqa: S603 - node
        if checked.returncode:
            raise not_installed("ws for Node")
        folder.mkdir()
        return [program, str(_HERE / "hub.js")], environment


class PythonHub(Hub):
    """A hub with Python's websockets: ``websockets_hub.py``."""

    name = "Python websockets"

    def command(self, folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
        """Check that websockets is installed."""
        if importlib.util.find_spec("websockets") is None:
            raise not_installed("Python's websockets")
        folder.mkdir()
        return [sys.executable, str(_HERE / "websockets_hub.py")], {}
