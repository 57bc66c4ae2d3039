"""Who takes part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from bench.certificate import Certificate, make_certificate
from bench.compiler import TLS
from bench.failure import Unavailable
from bench.loader import Loader
from bench.peers.contestant import Contestant, Transport
from bench.peers.hub import GoHub, GoHubFrames, NodeHub, PythonHub
from bench.peers.nats import Nats
from bench.peers.nchan import Nchan
from bench.peers.own import OwnGateway
from bench.report import Report, Row


class Kind(Protocol):
    """A kind of server, which can be started in a folder of its own."""

    name: str

    def __call__(self, folder: Path, loader: Loader, certificate: Certificate | None) -> Contestant:
        """Start it.

        Raises:
            Unavailable: it is not installed.
        """


GATEWAY: Kind = OwnGateway
NATS: Kind = Nats
GO: Kind = GoHub
GO_FRAMES: Kind = GoHubFrames
NCHAN: Kind = Nchan
PEERS: Sequence[Kind] = (Nats, GoHub, GoHubFrames, Nchan, NodeHub, PythonHub)
EVERYBODY: Sequence[Kind] = (OwnGateway, *PEERS)


@contextmanager
def start(
    folder: Path, loader: Loader, transport: Transport, report: Report, kinds: Iterable[Kind] = EVERYBODY
) -> Iterator[Sequence[Contestant]]:
    """Start whoever is installed, in the order of the roster; for the others the report gets a row that says so.

    Args:
        folder: which does not exist yet.
    """
    folder.mkdir()
    if transport is Transport.TLS and TLS.package in loader.missing:
        report.rows.append(Row(str(transport), unavailable=f"{TLS.package} is not installed; bench/setup installs it"))
        yield []
        return
    certificate = make_certificate(folder) if transport is Transport.TLS else None
    started: list[Contestant] = []
    with ExitStack() as stack:
        for place, kind in enumerate(kinds):
            try:
                one = kind(folder / f"{place}", loader, certificate)
            except Unavailable as reason:
                report.rows.append(Row(f"{kind.name} | {transport}", unavailable=str(reason)))
            else:
                stack.callback(one.close)
                started.append(one)
        yield started
