"""The metrics of all workers as one exposition: the worker that is scraped fetches those of the others."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import IListeningPort, ITransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.shared_port import listen_on_inherited
from callcenter_ws.runtime.transports import TwistedTransport
from callcenter_ws.workers.handoff import WorkerHandoff

_log = Logger()

ANSWER_TIMEOUT_SECONDS = 1.0
"""A worker that has not answered within this time is left out of the exposition."""

_BACKLOG = 64


class NodeMetrics:
    """Collects the expositions of all workers of the node.

    While a worker is being replaced, two processes have its number. The older one is used until it drains, because a
    counter must not jump back and forth between two values.

    Args:
        render: returns this worker's own exposition, without the ``worker`` label.
    """

    def __init__(self, reactor: Reactor, handoff: WorkerHandoff, render: Callable[[], bytes]) -> None:
        self._reactor = reactor
        self._handoff = handoff
        self._render = render
        self._port: IListeningPort | None = None

    def open(self) -> None:
        """Start to serve this worker's exposition to the other workers."""
        path = self._handoff.private_socket
        factory = Factory.forProtocol(lambda: _ExpositionServer(self._render))
        factory.noisy = False
        listening = socket.socket(socket.AF_UNIX)
        try:
            listening.bind(str(path))
            listening.listen(_BACKLOG)
            listening.setblocking(False)
        except OSError as error:
            listening.close()
            _log.error("the metrics of this worker are missing from the others' answers: {reason}", reason=error)
            return
        self._port = listen_on_inherited(self._reactor, listening.detach(), factory)

    async def close(self) -> None:
        """Stop to serve this worker's exposition: the worker is about to end."""
        port, self._port = self._port, None
        if port is not None:
            self._handoff.private_socket.unlink(missing_ok=True)
            stopped = port.stopListening()
            if stopped is not None:
                await stopped

    async def text(self) -> bytes:
        """Return the exposition of all workers that answer."""
        own = self._handoff.private_socket
        others = [path for path in self._private_sockets() if path != own]
        fetches = [
            Deferred.fromCoroutine(self._fetch(path)).addTimeout(ANSWER_TIMEOUT_SECONDS, self._reactor)
            for path in others
        ]
        texts = dict(zip(others, await gatherResults(fetches), strict=True))
        if self._port is not None:
            texts[own] = self._render().decode()
        return merged(_oldest(texts), self._handoff.of)

    def _private_sockets(self) -> list[Path]:
        return list(Path(self._handoff.folder).glob("*.sock"))

    async def _fetch(self, path: Path) -> str:
        """Return the exposition of another worker; empty if it does not answer."""
        try:
            client: _ExpositionClient = await UNIXClientEndpoint(self._reactor, str(path)).connect(_EXPOSITION_CLIENTS)
            return (await client.exposition).decode(errors="replace")
        except (ConnectError, ConnectingCancelledError, CancelledError):
            return ""


def _oldest(texts: Mapping[Path, str]) -> dict[int, str]:
    """Return the expositions by worker number: of several processes with one number, that of the oldest."""
    by_number: dict[int, str] = {}
    for path in sorted(texts, key=_generation):
        if texts[path]:
            by_number.setdefault(int(path.stem.partition("-")[0]), texts[path])
    return by_number


def _generation(private_socket: Path) -> int:
    return int(private_socket.stem.partition("-")[2])


def merged(texts: Mapping[int, str], worker_count: int) -> bytes:
    """Merge expositions into one, in which each sample has a label ``worker`` with the number of its worker.

    Args:
        texts: the expositions, by worker number.
        worker_count: the number of workers that the node should have.
    """
    families: dict[str, Metric] = {}
    for number in sorted(texts):
        for family in text_string_to_metric_families(texts[number]):
            labelled = [sample._replace(labels={**sample.labels, "worker": str(number)}) for sample in family.samples]
            family.samples = labelled
            if family.name in families:
                families[family.name].samples += labelled
            else:
                families[family.name] = family
    counts = [
        GaugeMetricFamily("callcenter_ws_workers", "Workers whose metrics are in this answer.", value=len(texts)),
        GaugeMetricFamily("callcenter_ws_workers_wanted", "Workers that there should be.", value=worker_count),
    ]
    return generate_latest(_Families([*families.values(), *counts]))


class _Families(Collector):
    """Returns families that were collected before."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class _ExpositionServer(Protocol):
    """Writes the exposition and closes the connection."""

    transport: ITransport

    def __init__(self, render: Callable[[], bytes]) -> None:
        self._render = render

    def connectionMade(self) -> None:
        self.transport.write(self._render())
        self.transport.loseConnection()


class _ExpositionClient(Protocol):
    """Reads an exposition to its end."""

    transport: TwistedTransport

    def __init__(self) -> None:
        self.exposition: Deferred[bytes] = Deferred(lambda _: self.transport.abortConnection())
        self._parts: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self._parts.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.exposition.called:
            self.exposition.callback(b"".join(self._parts))


_EXPOSITION_CLIENTS = Factory.forProtocol(_ExpositionClient)
_EXPOSITION_CLIENTS.noisy = False
