"""Senders of events from which figures are derived, and clients that are sent live figures."""

from __future__ import annotations

import itertools
import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from figure_events import Fields, FigureEvents, orderly_events
from processes import DEADLINE
from restartable import RestartableGateway, until
from senders import PART_BYTES, packed
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

TENANTS = ("acme", "globex")
ORDERLY = "orderly"
"""The tenant whose figures are also those of a second implementation."""

TIMEOUT_SECONDS = 3.0
"""Time after which a node is given up that does not answer; it may be stopped."""


class FigureSender(threading.Thread):
    """Publishes batches over AMP to random nodes; what is not answered is sent again with the same ids."""

    def __init__(self, nodes: Sequence[RestartableGateway], events: Iterator[Fields], rng: random.Random) -> None:
        super().__init__(daemon=True)
        self.accepted = self.resent = 0
        self.ends = threading.Event()
        self.holds = threading.Event()
        self.is_idle = threading.Event()
        self._nodes = nodes
        self._events = events
        self._rng = rng
        self._pause = threading.Event()
        self._socket: socket.socket | None = None
        self._file: BinaryIO | None = None
        self._numbers = itertools.count(1)

    def run(self) -> None:
        """Publish until ``ends`` is set, and what is under way then; nothing while ``holds`` is set."""
        while not self.ends.is_set():
            if self.holds.is_set():
                self.is_idle.set()
                self._pause.wait(0.02)
                continue
            # Sometimes many at once, so that the fold has to catch up.
            for _ in range(8 if self._rng.random() < 0.02 else 1):
                self._publish(list(itertools.islice(self._events, self._rng.choice((1, 1, 5, 20, 60)))))
            self._pause.wait(self._rng.uniform(0, 0.4))
        self._close()

    def _publish(self, batch: list[Fields]) -> None:
        while batch := self._unanswered(batch):
            self.resent += len(batch)
            self._close()
            self._pause.wait(self._rng.uniform(0, 0.2))

    def _unanswered(self, batch: list[Fields]) -> list[Fields]:
        """Publish events; return those that are to be sent again."""
        try:
            answer = self._call({b"_command": b"PublishBatch", **_in_parts(b"events", json.dumps(batch).encode())})
        except OSError:
            return batch
        # A node that cannot reach Redis refuses some or all of them.
        results = json.loads(_joined(answer, b"results")) if b"results" in answer else [None] * len(batch)
        rest = [event for event, result in zip(batch, results, strict=True) if type(result) is not int]
        self.accepted += len(batch) - len(rest)
        return rest

    def _call(self, box: dict[bytes, bytes]) -> dict[bytes, bytes]:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(TIMEOUT_SECONDS)
            self._socket.connect(str(self._rng.choice(self._nodes).amp_path))
            self._file = self._socket.makefile("rb")
        self._socket.sendall(packed({b"_ask": b"%d" % next(self._numbers), **box}))
        answer: dict[bytes, bytes] = {}
        while key := self._text():
            answer[key] = self._text()
        return answer

    def _text(self) -> bytes:
        return self._read(int.from_bytes(self._read(2), "big"))

    def _read(self, size: int) -> bytes:
        assert self._file is not None
        data = self._file.read(size)
        if len(data) != size:
            raise OSError("the connection ended")
        return data

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._socket is not None:
            self._socket.close()
        self._socket = self._file = None


def _in_parts(name: bytes, text: bytes) -> dict[bytes, bytes]:
    starts = enumerate(range(0, len(text), PART_BYTES))
    return {b"%b.%d" % (name, part) if part else name: text[start : start + PART_BYTES] for part, start in starts}


def _joined(box: dict[bytes, bytes], name: bytes) -> bytes:
    names = itertools.chain([name], (b"%b.%d" % (name, part) for part in itertools.count(1)))
    return b"".join(box[one] for one in itertools.takewhile(box.__contains__, names))


class FigureLoad:
    """The senders of a run."""

    def __init__(self, nodes: Sequence[RestartableGateway], rng: random.Random) -> None:
        streams = [iter(FigureEvents(f"s{number}", TENANTS, random.Random(rng.random()))) for number in range(3)]
        # One sender, and one batch at a time: what is sent again keeps its place.
        streams.append(orderly_events(ORDERLY, random.Random(rng.random())))
        self.senders = [FigureSender(nodes, events, random.Random(rng.random())) for events in streams]

    def start(self) -> None:
        """Start all senders."""
        for sender in self.senders:
            sender.start()

    @property
    def accepted(self) -> int:
        """The events that were answered."""
        return sum(sender.accepted for sender in self.senders)

    @property
    def resent(self) -> int:
        """The events that were sent again."""
        return sum(sender.resent for sender in self.senders)

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more events are accepted."""
        target = self.accepted + count
        until(lambda: self.accepted >= target, f"{count} more events are accepted", 2 * DEADLINE)

    def hold(self) -> None:
        """Have the senders publish what is under way, and then nothing."""
        for sender in self.senders:
            sender.is_idle.clear()
            sender.holds.set()
        for sender in self.senders:
            assert sender.is_idle.wait(2 * DEADLINE), "the events are not accepted"

    def resume(self) -> None:
        """Have the senders publish again."""
        for sender in self.senders:
            sender.holds.clear()


class FigureViewer(threading.Thread):
    """A client of one node, which keeps the newest figure of each kind; it reconnects when its connection ends.

    Attributes:
        figures: the newest payload by type and name.
        received: how many figures it was sent.
        older: figures that were older than those sent before.
    """

    def __init__(self, node: RestartableGateway, tenant: str) -> None:
        super().__init__(daemon=True)
        self.figures: dict[tuple[str, str], dict[str, Any]] = {}
        self.received: Counter[str] = Counter()
        self.older: list[str] = []
        self.ends = threading.Event()
        self._node = node
        self._tenant = tenant
        self._epochs: list[str] = []

    def run(self) -> None:
        """Receive figures until ``ends`` is set."""
        while not self.ends.is_set():
            try:
                self._connection()
            except (OSError, WebSocketException):
                self.ends.wait(0.1)

    def _connection(self) -> None:
        headers = {"Authorization": f"Bearer {self._node.token('admin', tenant_id=self._tenant)}"}
        address = f"ws://127.0.0.1:{self._node.port}/ws"
        with connect(
            address, additional_headers=headers, open_timeout=TIMEOUT_SECONDS, close_timeout=TIMEOUT_SECONDS
        ) as connection:
            while not self.ends.is_set():
                try:
                    message = json.loads(connection.recv(timeout=0.2))
                except TimeoutError:
                    continue
                if message["type"].endswith(".stats") and "seq" not in message:
                    self._take(message["type"], message["payload"])

    def _take(self, type_: str, payload: dict[str, Any]) -> None:
        self.received[type_] += 1
        key = (type_, payload.get("queue_name") or payload.get("user_id") or "")
        before = self.figures.get(key)
        if before is not None and self._age(payload) < self._age(before):
            self.older.append(f"{key}: {self._age(payload)} after {self._age(before)}")
        self.figures[key] = payload

    def _age(self, payload: dict[str, Any]) -> tuple[int, int, str]:
        if payload["epoch"] not in self._epochs:
            self._epochs.append(payload["epoch"])
        return self._epochs.index(payload["epoch"]), payload["as_of_seq"], payload["generated_at"]
