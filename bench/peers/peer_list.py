"""The list of measured servers, and the start of those that are installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from bench.certificate import Certificate, make_certificate
from bench.compiler import TLS
from bench.failure import Unavailable
from bench.loader import Loader
from bench.peers.gateway_server import GatewayServer
from bench.peers.hub import GoHub, GoHubFrames, NodeHub, PythonHub
from bench.peers.nats import Nats
from bench.peers.nchan import Nchan
from bench.peers.server import Server, Transport
from bench.report import Report, Row


class ServerKind(Protocol):
    """A kind of server."""

    name: str

    def __call__(self, folder: Path, loader: Loader, certificate: Certificate | None) -> Server:
        """Start a server in a new folder, with TLS if there is a certificate.

        Raises:
            Unavailable: if the server is not installed.
        """


GATEWAY: ServerKind = GatewayServer
NATS: ServerKind = Nats
GO: ServerKind = GoHub
GO_FRAMES: ServerKind = GoHubFrames
NCHAN: ServerKind = Nchan
PEERS: Sequence[ServerKind] = (Nats, GoHub, GoHubFrames, Nchan, NodeHub, PythonHub)
ALL_SERVERS: Sequence[ServerKind] = (GatewayServer, *PEERS)


@contextmanager
def start(
    folder: Path, loader: Loader, transport: Transport, report: Report, kinds: Iterable[ServerKind] = ALL_SERVERS
) -> Iterator[Sequence[Server]]:
    """Start the servers that are installed, in order, and end them afterwards; report the others as unavailable.

    Args:
        folder: a folder that does not exist yet.
    """
    folder.mkdir()
    if transport is Transport.TLS and TLS.package in loader.missing:
        report.rows.append(Row(str(transport), unavailable=f"{TLS.package} is not installed; bench/setup installs it"))
        yield []
        return
    certificate = make_certificate(folder) if transport is Transport.TLS else None
    started: list[Server] = []
    with ExitStack() as stack:
        for index, kind in enumerate(kinds):
            try:
                server = kind(folder / f"{index}", loader, certificate)
            except Unavailable as reason:
                report.rows.append(Row(f"{kind.name} | {transport}", unavailable=str(reason)))
            else:
                stack.callback(server.close)
                started.append(server)
        yield started
