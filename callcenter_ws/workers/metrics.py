"""The metrics of all workers as one exposition: whichever worker is asked asks the others."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.runtime.shared_port import adopt
from callcenter_ws.workers.handoff import WorkerHandoff

_log = Logger()

ANSWER_SECONDS = 1.0
"""A worker that takes longer to answer is left out."""

_BACKLOG = 64


class NodeMetrics:
    """What all workers count.

    Of two processes with one number, as there are while one replaces the other, the older speaks until it drains: a
    counter must not go back and forth.

    Args:
        inheritance: of this worker.
        render: this worker's own exposition, without a label that says whose it is.
    """

    def __init__(self, reactor: Any, handoff: WorkerHandoff, render: Callable[[], bytes]) -> None:
        self._reactor = reactor
        self._handoff = handoff
        self._render = render
        self._port: Any = None  # an IListeningPort

    def open(self) -> None:
        """Answer the others from now on."""
        path = self._handoff.private_socket
        factory: Any = Factory.forProtocol(lambda: _Answer(self._render))
        factory.noisy = False
        listening = socket.socket(socket.AF_UNIX)
        try:
            listening.bind(str(path))
            listening.listen(_BACKLOG)
            listening.setblocking(False)
        except OSError as error:
            listening.close()
            _log.error("the metrics of this worker are missing from the others' answers: {why}", why=error)
            return
        self._port = adopt(self._reactor, listening.detach(), factory)

    async def close(self) -> None:
        """Answer nobody any more: this worker is about to go."""
        port, self._port = self._port, None
        if port is not None:
            self._handoff.private_socket.unlink(missing_ok=True)
            await port.stopListening()

    async def text(self) -> bytes:
        """Return the exposition of all workers that answer."""
        mine = self._handoff.private_socket
        others = [path for path in self._sockets() if path != mine]
        asked = [Deferred.fromCoroutine(self._ask(path)).addTimeout(ANSWER_SECONDS, self._reactor) for path in others]
        found = await gatherResults(asked)
        texts = dict(zip(others, found, strict=True))
        if self._port is not None:
            texts[mine] = self._render().decode()
        return merged(_oldest(texts), self._handoff.of)

    def _sockets(self) -> list[Path]:
        return list(Path(self._handoff.folder).glob("*.sock"))

    async def _ask(self, path: Path) -> str:
        """The exposition of another worker; empty when it does not answer."""
        try:
            question: Any = await UNIXClientEndpoint(self._reactor, str(path)).connect(_QUESTIONS)
            return (await question.answer).decode(errors="replace")  # type: ignore[no-any-return]  # it is bytes
        except (ConnectError, ConnectingCancelledError, CancelledError):
            return ""


def _oldest(texts: Mapping[Path, str]) -> dict[int, str]:
    """The answers by the worker's number."""
    answers: dict[int, str] = {}
    for path in sorted(texts, key=lambda path: int(path.stem.partition("-")[2])):
        if texts[path]:
            answers.setdefault(int(path.stem.partition("-")[0]), texts[path])
    return answers


def merged(texts: Mapping[int, str], wanted: int) -> bytes:
    """Return one exposition of several, each sample with the number of its worker.

    Args:
        texts: the expositions, by the worker's number.
        wanted: how many workers there should be.
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
        GaugeMetricFamily("callcenter_ws_workers_wanted", "Workers that there should be.", value=wanted),
    ]
    return generate_latest(_Families([*families.values(), *counts]))


class _Families(Collector):
    """What was collected before."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


class _Answer(Protocol):
    """Writes the exposition to whoever connects."""

    def __init__(self, render: Callable[[], bytes]) -> None:
        self._render = render

    transport: Any

    def connectionMade(self) -> None:
        self.transport.write(self._render())
        self.transport.loseConnection()


class _Question(Protocol):
    """Reads an exposition to its end."""

    transport: Any

    def __init__(self) -> None:
        self.answer: Deferred[bytes] = Deferred(lambda _: self.transport.abortConnection())
        self._parts: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self._parts.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answer.called:
            self.answer.callback(b"".join(self._parts))


_QUESTIONS = Factory.forProtocol(_Question)
_QUESTIONS.noisy = False
